"""Forgetting: what a half-life gains on a log that drifts, and costs on one that does not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from adagrad import datasets
from adagrad.ctr import Examples, HashingEncoder, LogisticRegression
from bench.harness import Report
from bench.results import Claim, table

BITS = 18
PERIODS, PERIOD = 6, 50_000
HALF_LIVES = (None, 400_000, 100_000, 50_000, 25_000, 12_500, 6_250)
CHOSEN = 12_500  # a quarter of a period


def clicks(seeds: range, rows: int) -> tuple[Examples, np.ndarray]:
    """Return logs of different weights, one after another."""
    logs = [datasets.synthetic_clicks(rows, seed).read_all() for seed in seeds]
    whole = pa.concat_tables(logs)
    y = whole.column("click").to_numpy().astype(np.float32)
    return HashingEncoder(BITS).transform(whole.drop_columns(["click"])), y


def drift(report: Report) -> None:
    """Compare half-lives where all weights are redrawn every 50,000 rows, and where none is."""
    period = 500 if report.smoke else PERIOD
    logs = {
        "drifts": clicks(range(1, PERIODS + 1), period),
        "stays": clicks(range(1, 2), PERIODS * period),
    }
    found = {}
    for name, (x, y) in logs.items():
        for half_life in HALF_LIVES:
            learner = LogisticRegression(half_life=half_life).fit(x, y)
            found[name, half_life] = learner.progressive_["logloss"]
    lines = [
        [f"{half_life:,}" if half_life else "none", *(f"{found[k, half_life]:.5f}" for k in logs)]
        for half_life in HALF_LIVES
    ]
    table("Progressive logloss by half-life", ["half-life", *logs], lines)
    gained, lost = (100 * (found[name, CHOSEN] / found[name, None] - 1) for name in logs)
    report.claims += [
        Claim("half-life 12,500, weights redrawn every 50,000 rows", gained, "<=", -0.5, "%"),
        Claim("half-life 12,500, no weight redrawn", lost, "<=", 1, "%"),
    ]
