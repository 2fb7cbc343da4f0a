"""How few weights l1 leaves at equal loss, on a log with rare features.

The log is made up: five columns of ids whose tails are like those of a log of ad clicks on phones.
Addresses are nearly flat, and half of them are seen once; apps, channels, devices and systems are
steep. 0.2 % of the rows are positive, by weights planted on the values.
"""

from __future__ import annotations

import numpy as np

from adagrad.ctr import Examples, HashingEncoder, LogisticRegression
from bench.harness import Report
from bench.results import Claim, table

ROWS = 400_000
BITS = 22
LR = 0.5
STRENGTHS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
# Per column: the number of values, the slope of log frequency on log rank, the ranks before the
# slope begins, and the standard deviation of the planted weights.
COLUMNS = {
    "ip": (400_000, 0.6, 2, 0.7),
    "app": (500, 3.1, 7, 2.0),
    "channel": (200, 2.8, 31, 1.0),
    "device": (2_000, 3.0, 1, 1.0),
    "os": (300, 2.5, 5, 0.5),
}
POSITIVE = 0.002


def log(rows: int, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return columns of ids, and the labels."""
    random = np.random.default_rng(seed)
    columns, logits = {}, np.zeros(rows)
    for name, (count, slope, before, deviation) in COLUMNS.items():
        share = (np.arange(count) + before) ** -slope
        ids = np.searchsorted(np.cumsum(share / share.sum()), random.random(rows))
        columns[name] = random.permutation(count)[ids]
        logits += deviation * random.standard_normal(count)[ids]
    low, high = -30.0, 30.0  # of the bias that gives the share of positives
    for _ in range(60):
        bias = (low + high) / 2
        mean = (1 / (1 + np.exp(-(logits + bias)))).mean()
        low, high = (bias, high) if mean < POSITIVE else (low, bias)
    y = random.random(rows) < 1 / (1 + np.exp(-(logits + bias)))
    return columns, y.astype(np.float32)


def encoded(rows: int, seed: int = 0) -> tuple[Examples, np.ndarray]:
    """Return the log as examples."""
    columns, y = log(rows, seed)
    return HashingEncoder(BITS, numeric="categorical").transform(columns), y


def run(report: Report) -> None:
    """Print weights and progressive logloss by strength, and claim the best trade."""
    x, y = encoded(20_000 if report.smoke else ROWS)
    lines, kept = [], []
    for l1 in STRENGTHS:
        model = LogisticRegression(LR, l1=l1).fit(x, y)
        weights, loss = int(np.count_nonzero(model.coef_)), model.progressive_["logloss"]
        if l1 == 0.0:
            all_weights, least = weights, loss
        share, more = 100 * weights / all_weights, 100 * (loss / least - 1)
        lines.append([f"{l1:g}", f"{weights:,}", f"{share:.2f} %", f"{loss:.6f}", f"{more:+.2f} %"])
        if more <= 0.5:
            kept.append(share)
    title = f"Weights and progressive logloss of {len(y)} rows, {y.mean():.2%} positive, lr {LR}"
    table(title, ["l1", "weights", "left", "logloss", "more"], lines)
    text = "weights that l1 leaves at 0.5 % more logloss"
    report.claims.append(Claim(text, min(kept), "<=", 5, "%"))
