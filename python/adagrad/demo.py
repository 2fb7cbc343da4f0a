"""The comparison behind ``adagrad demo``: AdaGrad and two kinds of SGD on one click log.

AdaGrad (the model of ``adagrad.ctr``), SGD at a constant rate and SGD at a decaying global rate
train the same logistic regression, each at the best of some rates. The mixture of ``adagrad.ctr``
has no rate. Printing belongs to the command and drawing to ``plotting``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

import adagrad._core as _core
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
from adagrad.datasets import Log
from adagrad.metrics import Metrics, entropy, measure
from adagrad.rule import Rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "AdaGrad",
    "Comparison",
    "ConstantRate",
    "GlobalRate",
    "LearnerRun",
    "Mixture",
    "compare",
    "progressive",
]

EPS = 1e-6
SWEEP_EXAMPLES = 5_000
SWEEP_RATES = 5
# Ten decades of the 1-2-5 series, which is enough for raw counts and for scaled features.
MAX_RATES = 30
REPORT_EVERY = 200
CHUNK = 64 * REPORT_EVERY

Progress = Callable[[str, int, int], None]
"""Called with the title of a learner, its examples done and its examples planned so far."""


class AdaGrad:
    """Logistic regression with AdaGrad: every row has its own rate, ``lr / sqrt(s + eps)``.

    It uses the model of ``adagrad.ctr``, which learns in rounds of up to 64 examples. A row that
    occurs twice in an example takes two steps.

    Parameters
    ----------
    table_rows : int
        Rows of the table, bias included.
    lr : float
        Learning rate, above 0.
    """

    title: ClassVar[str] = "AdaGrad"
    first_rate: ClassVar[int] = -5  # 0.02; an index of the 1-2-5 series, see `_series`

    def __init__(self, table_rows: int, lr: float) -> None:
        self.lr = lr
        rule = Rule(lr=lr, eps=EPS)
        self._model = Model(Settings("lr", table_rows, rule, intercept=False))

    @property
    def s(self) -> NDArray[np.float32]:
        """The accumulators, float32 [table_rows], as a view."""
        return self._model.tables["linear"].state

    def learn_all(
        self, log: Log, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """Predict each example, then learn from it; see :func:`progressive`."""
        return _learn_all(self._model, log, progress)


class Mixture:
    """The default of ``adagrad.ctr``, ``lr="auto"``: five learners at once, mixed."""

    title: ClassVar[str] = "AdaGrad, lr='auto'"
    lr: ClassVar[float] = math.nan  # it has none

    def learn_all(
        self, log: Log, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """Predict each example, then learn from it; see :func:`progressive`."""
        # The ids of a log may be sparse, and 64 bytes each would be many pages to touch.
        ids, rows = np.unique(log.rows, return_inverse=True)
        small = replace(log, rows=rows, table_rows=len(ids))
        return _learn_all(Model(Settings("lr", len(ids), None, intercept=False)), small, progress)


class ConstantRate:
    """Logistic regression with ``w -= lr * g``; parameters as for :class:`AdaGrad`."""

    title: ClassVar[str] = "constant-rate SGD"
    first_rate: ClassVar[int] = -7  # 0.005

    def __init__(self, table_rows: int, lr: float) -> None:
        self.lr = lr
        self.w = np.zeros(table_rows, np.float32)

    def learn(self, rows: NDArray[np.int64], g: NDArray[np.float32]) -> None:
        """Take one step; a row that occurs twice takes both gradients."""
        np.subtract.at(self.w, rows, np.float32(self.lr) * g)


class GlobalRate:
    """Logistic regression with ``w -= lr / sqrt(t) * g`` at example ``t`` = 1, 2, ..."""

    title: ClassVar[str] = "global-rate SGD"
    first_rate: ClassVar[int] = -3  # 0.1

    def __init__(self, table_rows: int, lr: float) -> None:
        self.lr = lr
        self.w = np.zeros(table_rows, np.float32)
        self.t = 0

    def learn(self, rows: NDArray[np.int64], g: NDArray[np.float32]) -> None:
        """Take one step; a row that occurs twice takes both gradients."""
        self.t += 1
        np.subtract.at(self.w, rows, np.float32(self.lr / math.sqrt(self.t)) * g)


Learner = AdaGrad | ConstantRate | GlobalRate


@dataclass(frozen=True)
class LearnerRun:
    """One pass of a learner over the whole log.

    Attributes
    ----------
    learner : AdaGrad, ConstantRate, GlobalRate or Mixture
        The learner after its last step.
    tried : dict of float to float
        Progressive logloss of every rate in the sweep, by rate; empty if the rate was given.
    predictions : numpy.ndarray of float64, shape [examples]
        Probability of a positive, predicted before learning from the example.
    metrics : Metrics
        Quality of these predictions.
    seconds : float
        Wall-clock time of the pass.
    """

    learner: Learner | Mixture
    tried: dict[float, float]
    predictions: NDArray[np.float64]
    metrics: Metrics
    seconds: float


@dataclass(frozen=True)
class Comparison:
    r"""The result of :func:`compare`.

    Attributes
    ----------
    log : Log
        The examples.
    sweep_examples : int
        Number of examples, from the first, on which the rates were chosen.
    runs : tuple of LearnerRun
        AdaGrad, constant-rate SGD, global-rate SGD.
    mixture : LearnerRun
        The mixture, which has no rate to choose.
    base_rate : float
        Share of positives in the log, in (0, 1).
    base_logloss : float
        Logloss of always predicting ``base_rate``: its entropy, in nats.
    counts : numpy.ndarray of int64, shape [features]
        Occurrences of each row of the log whose accumulator is above 0.
    effective_rates : numpy.ndarray of float64, shape [features]
        Effective rate :math:`\eta / \sqrt{s + \epsilon}` of AdaGrad for these rows, after the last
        example.
    met_positive : numpy.ndarray of bool, shape [features]
        Whether each of these rows occurred in a positive example.
    """

    log: Log
    sweep_examples: int
    runs: tuple[LearnerRun, ...]
    mixture: LearnerRun
    base_rate: float
    base_logloss: float
    counts: NDArray[np.int64]
    effective_rates: NDArray[np.float64]
    met_positive: NDArray[np.bool_]


def progressive(
    log: Log, learner: Learner | Mixture, progress: Callable[[int], None] | None = None
) -> NDArray[np.float64]:
    """Pass once over ``log``: predict each example, then learn from it.

    Parameters
    ----------
    log : Log
        The examples. The table of the learner has at least ``log.table_rows`` rows.
    learner : AdaGrad, ConstantRate, GlobalRate or Mixture
        Changed in place.
    progress : callable, optional
        Called from time to time with the number of examples done.

    Returns
    -------
    numpy.ndarray of float64, shape [examples]
        Probabilities of a positive; NaN from the example at which a learner diverged.
    """
    if isinstance(learner, (AdaGrad, Mixture)):
        return learner.learn_all(log, progress)
    predictions = np.full(len(log), np.nan)
    starts = log.indptr.tolist()
    labels = log.labels.tolist()
    with np.errstate(over="ignore", invalid="ignore"):
        for i, label in enumerate(labels):
            rows = log.rows[starts[i] : starts[i + 1]]
            values = log.values[starts[i] : starts[i + 1]]
            p = _sigmoid(float(np.dot(learner.w[rows], values)))
            predictions[i] = p
            if math.isnan(p):
                break
            learner.learn(rows, (p - label) * values)
            if progress is not None and i % REPORT_EVERY == 0:
                progress(i)
    if progress is not None:
        progress(len(log))
    return predictions


def compare(log: Log, lr: float | None = None, progress: Progress | None = None) -> Comparison:
    """Train the learners on ``log``, all but the mixture at the best rate of its own short sweep.

    A sweep tries rates of the series 1, 2, 5, 10, ... on the first 5,000 examples (on half of the
    log if it is shorter than 10,000) and takes the rate with the lowest progressive logloss. It
    starts with five rates. It continues while the best rate is the lowest or the highest one tried,
    or is worse than not learning, so that every learner gets a rate that suits it.

    Parameters
    ----------
    log : Log
        Examples of both classes.
    lr : float, optional
        Learning rate of AdaGrad; by default it has a sweep like the others.
    progress : callable, optional
        See :data:`Progress`.

    Returns
    -------
    Comparison
        Equal for equal arguments, except for the times.
    """
    with_bias = _with_bias(log)
    part = with_bias.first(min(SWEEP_EXAMPLES, (len(log) + 1) // 2))
    runs = []
    for kind in (AdaGrad, ConstantRate, GlobalRate):
        given = lr if kind is AdaGrad else None
        runs.append(_run(kind, with_bias, part, given, progress))

    def report(done: int) -> None:
        if progress is not None:
            progress(Mixture.title, done, len(log))

    mixture = _last_run(Mixture(), {}, with_bias, report)
    base_rate = float(log.labels.mean(dtype=np.float64))
    rows, counts = np.unique(log.rows, return_counts=True)
    positive = np.repeat(log.labels > 0, np.diff(log.indptr))
    met_positive = np.isin(rows, log.rows[positive])
    adagrad = runs[0].learner
    assert isinstance(adagrad, AdaGrad)
    s = adagrad.s[rows].astype(np.float64)
    return Comparison(
        log=log,
        sweep_examples=len(part),
        runs=tuple(runs),
        mixture=mixture,
        base_rate=base_rate,
        base_logloss=entropy(base_rate),
        counts=counts[s > 0],
        effective_rates=Rule(lr=adagrad.lr, eps=EPS).rate(s[s > 0]),
        met_positive=met_positive[s > 0],
    )


def _run(
    kind: type[Learner], log: Log, part: Log, lr: float | None, progress: Progress | None
) -> LearnerRun:
    """Choose a rate on ``part`` unless one is given, then pass over ``log``."""
    done = 0
    planned = len(log) + (SWEEP_RATES * len(part) if lr is None else 0)

    def report(examples: int) -> None:
        if progress is not None:
            progress(kind.title, done + examples, planned)

    tried: dict[float, float] = {}

    def loss(place: int) -> float:
        nonlocal done, planned
        rate = _series(place)
        planned += len(part) if len(tried) >= SWEEP_RATES else 0
        predictions = progressive(part, kind(log.table_rows, rate), report)
        done += len(part)
        logloss = measure(part.labels, predictions).logloss
        tried[rate] = math.inf if math.isnan(logloss) else logloss
        return tried[rate]

    if lr is None:
        lowest, highest = kind.first_rate, kind.first_rate + SWEEP_RATES - 1
        losses = [loss(place) for place in range(lowest, highest + 1)]
        while len(tried) < MAX_RATES:
            # Of several rates that are far too large, one is still the best. A logloss above log 2,
            # that of a learner that never moves, shows that the useful rates are lower.
            if min(losses) == losses[0] or min(losses) > math.log(2):
                lowest -= 1
                losses.insert(0, loss(lowest))
            elif min(losses) == losses[-1]:
                highest += 1
                losses.append(loss(highest))
            else:
                break
        lr = min(tried, key=lambda rate: (tried[rate], rate))
    return _last_run(kind(log.table_rows, lr), tried, log, report)


def _last_run(
    learner: Learner | Mixture,
    tried: dict[float, float],
    log: Log,
    report: Callable[[int], None],
) -> LearnerRun:
    start = time.perf_counter()
    predictions = progressive(log, learner, report)
    seconds = time.perf_counter() - start
    return LearnerRun(learner, tried, predictions, measure(log.labels, predictions), seconds)


def _learn_all(
    model: Model, log: Log, progress: Callable[[int], None] | None
) -> NDArray[np.float64]:
    x = Examples.from_csr(log.to_csr())
    margins = np.empty(len(log), np.float32)
    for start in range(0, len(log), CHUNK):
        part = slice(start, start + CHUNK)
        margins[part] = model.learn(x[part], log.labels[part])
        if progress is not None:
            progress(min(start + CHUNK, len(log)))
    predictions = _core.probabilities(margins)[:, 1]
    predictions[np.maximum.accumulate(~np.isfinite(margins))] = np.nan
    return predictions


def _with_bias(log: Log) -> Log:
    """Append a row with the value 1, the bias, to every example."""
    ends = log.indptr[1:]
    return Log(
        name=log.name,
        indptr=log.indptr + np.arange(len(log.indptr)),
        rows=np.insert(log.rows, ends, log.table_rows),
        values=np.insert(log.values, ends, np.float32(1)),
        labels=log.labels,
        table_rows=log.table_rows + 1,
        hashed=log.hashed,
    )


def _series(place: int) -> float:
    """Return 1, 2, 5, 10, 20, ... for 0, 1, 2, 3, 4, ... and 0.5, 0.2, 0.1, ... for -1, -2, ..."""
    return float(f"{(1, 2, 5)[place % 3]}e{place // 3}")


def _sigmoid(margin: float) -> float:
    if margin >= 0:
        return 1 / (1 + math.exp(-margin))
    return math.exp(margin) / (1 + math.exp(margin))
