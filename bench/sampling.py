"""Negatives that a log leaves out: how calibrated a model of the others is where none is left out.

The log is made up, and says with which probability each click was drawn. Of each block of rows, all
are predicted, then those that were kept are learned. Calibration is the sum of the predictions over
that of the probabilities, and the logloss is beside that of a model that learns every row. One
model is off by several percent at any moment, with and without all negatives, because its bias
follows the last labels; what is measured is the mean over the log, and the deviation of blocks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adagrad import datasets
from adagrad.ctr import (
    Examples,
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    HashingEncoder,
    LogisticRegression,
)
from adagrad.ctr.learners.estimator import ClickLearner
from bench.harness import Report
from bench.results import Claim, table

BITS = 18
ROWS, BLOCK = 1_000_000, 2_048
RATES = (0.1, 0.01)
LEARNERS: dict[str, Callable[..., ClickLearner]] = {
    "lr": LogisticRegression,
    "fm": FactorizationMachine,
    "ffm": FieldAwareFactorizationMachine,
}
STEPS: tuple[float | str, ...] = ("auto", 0.1)


class Log:
    """A log, and which of its negatives are kept at a rate, or at two of them, by turns.

    Attributes
    ----------
    x : Examples
    y : ndarray of float32
        Labels.
    p : ndarray of float64
        Probabilities of a click.
    """

    def __init__(self, rows: int) -> None:
        log = datasets.synthetic_clicks(rows, 1, dictionary=True, probability=True).read_all()
        self.y, self.p = (log.column(name).to_numpy() for name in ("click", "probability"))
        features = log.drop_columns(["click", "probability"])
        self.x: Examples = HashingEncoder(BITS).transform(features)
        random = np.random.default_rng(0)
        self._keys, self._turns = random.random(rows), random.random(rows) < 0.5

    def rates(self, rate: float, *, differ: bool) -> np.ndarray:
        """Return the rate of each row."""
        other = rate / 2 if differ else rate
        return np.where(self._turns, rate, other)

    def measured(self, model: ClickLearner, rates: np.ndarray, usual: float) -> list[float]:
        """Return the rows learned, calibration, its deviation from block to block, and logloss.

        The second half of the log tells the deviation.
        """
        kept, sums = (self.y > 0) | (self._keys < rates), []
        weights = np.where(self.y > 0, 1.0, usual / rates)
        for start in range(0, len(self.y), BLOCK):
            part = slice(start, start + BLOCK)
            y, p = self.y[part], self.p[part]
            if start:
                found = model.predict_proba(self.x[part])[:, 1]
                loss = -np.log(np.where(y > 0, found, 1 - found)).sum()
                sums.append([found.sum(), p.sum(), loss, len(y)])
            some = start + np.flatnonzero(kept[part])
            model.partial_fit(self.x.take(some), self.y[some], [0, 1], weights[some])
        predicted, truth, loss, rows = np.sum(sums, axis=0)
        of_blocks = np.array(sums)[len(sums) // 2 :]
        spread = np.log(of_blocks[:, 0] / of_blocks[:, 1]).std()
        return [kept.sum(), predicted / truth, spread, loss / rows]


def run(report: Report) -> None:
    """Print calibration and logloss by rate, and claim the largest deviation."""
    log = Log(8_192 if report.smoke else ROWS)
    lines, worst = [], dict.fromkeys(RATES, 0.0)
    for name, learner in LEARNERS.items():
        for lr in STEPS:
            least = 0.0
            ways = [(1.0, False), *((rate, differ) for rate in RATES for differ in (False, True))]
            for rate, differ in ways:
                rates = log.rates(rate, differ=differ)
                model = learner(lr=lr, negative_rate=rate)
                rows, ratio, spread, loss = log.measured(model, rates, rate)
                least = least or loss
                if lr == "auto" and rate != 1.0 and not differ:
                    worst[rate] = max(worst[rate], 100 * abs(ratio - 1))
                kept = f"{rate:g} and {rate / 2:g}" if differ else f"{rate:g}"
                shown = f"{int(rows):,}", f"{ratio:.4f}", f"{100 * spread:.1f} %", f"{loss:.5f}"
                lines.append([name, str(lr), kept, *shown, f"{100 * (loss / least - 1):+.2f} %"])
    title = f"Predictions of all {len(log.y):,} rows, {log.p.mean():.2%} of them clicks"
    head = ["learner", "lr", "negatives kept", "learned", "calibration", "of blocks"]
    table(title, [*head, "logloss", "more"], lines)
    for rate, most in worst.items():
        text = f"lr auto, negatives kept at {rate:g}: the largest deviation of calibration from 1"
        report.claims.append(Claim(text, most, "<=", 2, "%"))
