"""What bench/quality.py asks of the defaults beside low losses: scales, orders, cuts, calibration.

Each question adds claims to the report.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from adagrad import datasets
from adagrad.ctr import Examples, HashingEncoder, LogisticRegression
from bench.clicks import Clicks, logloss
from bench.harness import Report
from bench.quality_learners import against, margins_of, ours
from bench.results import Claim, table

CLICK_RATES = (0.001, 0.03, 0.3)
KEPT = 0.1  # share of the negatives that down-sampling keeps


def auto() -> LogisticRegression:
    return LogisticRegression("auto")


def progressive(of: Clicks) -> float:
    """Return the progressive logloss of one pass with defaults."""
    loss = ours(auto, of, None).mean()
    assert loss is not None
    return loss


def scaled(of: Clicks, factor: Callable[[int], Any]) -> Clicks:
    """Return examples whose columns are multiplied, each by its own factor."""
    matrix = of.x.to_csr().astype(np.float64)
    by = np.broadcast_to(np.asarray(factor(matrix.shape[1]), np.float64), matrix.shape[1])
    matrix.data *= by[matrix.indices]
    return Clicks(of.name, Examples.from_csr(matrix.astype(np.float32)), of.y)


def scales(report: Report, of: Clicks) -> None:
    """Claim that the unit of a column does not matter."""
    random = np.random.default_rng(0)
    factors: dict[str, Callable[[int], Any]] = {
        "columns times 1000": lambda _: 1000.0,
        "columns times lognormal(3)": lambda n: random.lognormal(0.0, 3.0, n),
    }
    plain = progressive(of)
    for name, factor in factors.items():
        off = abs(progressive(scaled(of, factor)) / plain - 1)
        report.claims.append(Claim(f"{of.name}, {name}: logloss off by", 100 * off, "<=", 0.1, "%"))


def sorted_log(report: Report, of: Clicks, test: Clicks) -> None:
    """Claim that a log with all negatives first is not worse than a shuffled one by much."""
    negatives_first = np.argsort(of.y, kind="stable")
    shuffled = np.random.default_rng(0).permutation(len(of))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the labels are ordered
        in_order = auto().fit(of.x[negatives_first], of.y[negatives_first])
    fixed = LogisticRegression(0.1).fit(of.x[shuffled], of.y[shuffled])
    found = [logloss(model.decision_function(test.x), test.y) for model in (in_order, fixed)]
    text = f"{of.name}, negatives first: held-out logloss over a fixed rate, shuffled"
    report.claims.append(Claim(text, float(found[0] / found[1]), "<=", 1.1))


def one_by_one(report: Report, of: Clicks, most: float) -> None:
    """Claim how little it costs to learn a log in one call, not in one call an example."""

    def feed(model: LogisticRegression, of: Clicks) -> None:
        for i in range(len(of)):
            model.partial_fit(of.x[i : i + 1], of.y[i : i + 1], classes=[0.0, 1.0])
        assert model.progressive_  # which decides on a rate, if none was known

    alone = logloss(margins_of(auto(), of, feed), of.y)
    over = 100 * (progressive(of) / alone - 1)
    text = f"{of.name}: logloss of one call, over one call an example"
    report.claims.append(Claim(text, over, "<=", most, "%"))


def calibration(report: Report, rows: int) -> None:
    """Claim that predictions are right on average, also after negatives were left out."""
    lines = []
    for rate in CLICK_RATES:
        log = datasets.synthetic_clicks(rows, seed=1, click_rate=rate).read_all()
        y = log.column("click").to_numpy().astype(np.float32)
        x = HashingEncoder(22).transform(log.drop_columns(["click"]))
        kept = (y > 0) | (np.random.default_rng(0).random(rows) < KEPT)
        part = Clicks("", x[kept], y[kept])
        margins = margins_of(auto(), part)
        # Leaving negatives out raises all log-odds by the same amount.
        corrected = probability(margins + np.log(KEPT))
        stand_for = np.where(part.y > 0, 1.0, 1.0 / KEPT)
        found = {
            "all rows": auto().fit(x, y).progressive_["calibration"],
            "a tenth of the negatives": float((stand_for * corrected).sum() / y.sum()),
        }
        error = float(np.sqrt((1 - y.mean()) / y.sum()))  # of the number of clicks, by chance
        lines.append([f"{100 * rate:g} %", *(f"{value:.4f}" for value in found.values())])
        lines[-1].append(f"{error:.4f}")
        for name, value in found.items():
            text = f"{100 * rate:g} % clicks, {name}: predicted clicks off by (standard error"
            text += f" {100 * error:.1f} %)"
            report.claims.append(Claim(text, 100 * abs(value - 1), "<=", 2, "%"))
    head = ["clicks", "all rows", "a tenth of the negatives, corrected", "error"]
    table(f"Progressive calibration on {rows:,} synthetic rows", head, lines)


def probability(margins: np.ndarray) -> np.ndarray:
    """Return the probabilities of log-odds."""
    probabilities: np.ndarray = 1.0 / (1.0 + np.exp(-margins.astype(np.float64)))
    return probabilities


def interactions(report: Report, of: Clicks, linear: Any, others: dict[str, Any]) -> None:
    """Claim that factorization machines learn the planted interactions of the synthetic log."""
    for name, losses in others.items():
        gained, error = against(losses.progressive, linear.progressive)
        text = f"{of.name}: logloss of {name} below LR's (standard error {1e5 * error:.0f})"
        report.claims.append(Claim(text, -1e5 * gained, ">=", 20, "e-5 nats"))
