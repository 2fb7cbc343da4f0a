"""Successive halving over configurations of a model, on the rows of a log in their order.

Every configuration learns the last rows before the rows held out and is scored on the predictions
that it makes before it learns: each row of a log in the order of time is a test of what came before
it. The better third learns three times as many rows, up to all. The rows held out are read at the
end, by the default and the best alone.

scikit-learn's halving draws the rows at random, which breaks their order, and drops the default;
Optuna's pruner decides by what has finished so far, so that the result depends on the number of
processes. The loop itself is short.
"""

from __future__ import annotations

import math
import operator
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.looks import LOOK
from adagrad.ctr.learners.model import Model
from adagrad.ctr.logs.log import Log
from adagrad.ctr.logs.opening import open_log
from adagrad.ctr.training.contribution import contributions
from adagrad.ctr.training.encoders import Encoder, SlotEncoder
from adagrad.ctr.training.options import Options
from adagrad.ctr.training.pipeline import encoded
from adagrad.ctr.training.processes import Run
from adagrad.ctr.training.run import Training
from adagrad.ctr.training.space import candidate_pairs, changes, merged

__all__ = [
    "Rows",
    "Score",
    "Tuning",
    "extent",
    "gain",
    "rungs",
    "store",
    "strongest_pairs",
]

ETA = 3
FEWEST = 10_000
"""Rows of the first rung, at least."""

RUNGS = 4
BLOCKS = 4096
"""Differences are compared by sums over so many blocks of rows, which bounds the memory."""

SURE = 2.0
"""Standard errors by which a configuration must beat the default."""

MOST_COLUMNS = 6
"""Columns whose pairs are candidates for crosses."""

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]


class Rows(NamedTuple):
    """A log that is stored as an Arrow stream, which every process maps.

    Attributes
    ----------
    path : str
    rows : int
        All rows.
    learned : int
        Rows before those held out.
    """

    path: str
    rows: int
    learned: int

    def first(self, rows: int) -> pa.Table:
        """Return the first rows, which decide what columns are."""
        return pa.Table.from_batches([*self.between(0, rows)], self.schema())

    def schema(self) -> pa.Schema:
        """Return the schema of all batches."""
        with pa.memory_map(self.path) as file:
            return pa.ipc.open_stream(file).schema

    def between(self, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from `begin` to `end`; the pages of the others are not read."""
        at = 0
        with pa.memory_map(self.path) as file:
            for batch in pa.ipc.open_stream(file):
                some = batch.slice(max(0, begin - at), max(0, end - max(at, begin)))
                if some.num_rows:
                    yield some
                at += batch.num_rows
                if at >= end:
                    return


class Score(NamedTuple):
    """How well a configuration predicted some rows.

    Attributes
    ----------
    options : Options
    rows : int
        Rows learned; the last half of them is scored.
    scored : int
        Number of scored rows.
    weight : float
        Sum of their weights, which are 1 if the log has none.
    losses : ndarray of float64
        Sums of the weighted loss over blocks of rows, the same blocks for all configurations.
    """

    options: Options
    rows: int
    scored: int
    weight: float
    losses: Floats

    @property
    def logloss(self) -> float:
        """Mean loss in nats."""
        return float(self.losses.sum()) / self.weight


def gain(score: Score, default: Score) -> tuple[float, float]:
    """Return the logloss of a score minus that of the default, and its standard error.

    The error is that of paired differences: both have predicted the same rows.
    """
    differences = score.losses - default.losses
    count = len(differences)
    error = float(differences.std(ddof=1)) * math.sqrt(count) if count > 1 else math.nan
    return float(differences.sum()) / score.weight, error / score.weight


def rungs(rows: int) -> list[int]:
    """Return how many rows each rung learns: thirds of thirds of all, and all at last."""
    sizes = [rows // ETA**power for power in range(RUNGS - 1, 0, -1)]
    return [*(size for size in sizes if size >= FEWEST), rows]


def store(log: Log, path: Path, take: Callable[[Iterator[Any]], Any]) -> int:
    """Write a log as an Arrow stream; return its number of rows.

    Parameters
    ----------
    log : Log
    path : Path
    take : callable
        Returns the next item of an iterator, None at the end.

    Raises
    ------
    ValueError
        All examples have the same label.
    """
    batches, rows, labels = log.batches(), 0, set()
    with pa.OSFile(os.fsencode(path), "wb") as file, pa.ipc.new_stream(file, log.schema) as writer:
        while (batch := take(batches)) is not None:
            writer.write_batch(batch)
            rows += batch.num_rows
            labels.update(pc.unique(batch.column(0)).to_pylist())
    if len(labels) == 1:
        raise ValueError(
            f"the label {log.label!r} is {labels.pop():.0f} in all rows: every model that has"
            " learned it is right"
        )
    return rows


def _encoder(options: Options, rows: Rows) -> tuple[Any, Encoder]:
    """Return an untrained learner and its encoder, as `Training` has them."""
    estimator = options.estimator(rows.schema(), rows.first(min(LOOK, rows.learned)))
    return estimator, estimator.encoder or SlotEncoder(1 << options.bits)


def _losses(margins: Float32s, y: Float32s) -> Floats:
    signed = np.where(y > 0, -margins, margins)
    return np.logaddexp(0.0, signed.astype(np.float64))


def _score(options: Options, rows: int, losses: list[Floats], weights: list[Float32s]) -> Score:
    """Return the score of rows; there are no weights if the log has none."""
    every = np.concatenate(losses)
    factors = np.concatenate(weights).astype(np.float64) if weights else np.ones_like(every)
    size = -(-len(every) // BLOCKS)
    in_blocks = np.add.reduceat(every * factors, np.arange(0, len(every), size))
    return Score(options, rows, len(every), float(factors.sum()), in_blocks)


def _labels(options: Options, rows: pa.RecordBatch | pa.Table) -> tuple[Any, Any]:
    """Return the labels and the weights of rows, None without weights."""
    weight = None if options.weight is None else rows.column(options.weight).to_numpy()
    return rows.column(options.label).to_numpy(), weight


def score(options: Options, rows: Rows, count: int) -> Score:
    """Learn the last `count` rows before those held out, and score the last half of them."""
    estimator, encoder = _encoder(options, rows)
    model, found, weights = None, [], []
    left = count - count // 2  # rows that are not scored
    for batch in rows.between(rows.learned - count, rows.learned):
        x, (y, weight) = encoder.transform(batch), _labels(options, batch)
        if model is None:
            model = Model(estimator._settings(x, estimator._rule(), estimator._seed(begins=True)))
        losses = _losses(model.learn(x, y, weight), y)
        skipped = min(left, len(losses))
        found.append(losses[skipped:])
        if weight is not None:
            weights.append(weight[skipped:])
        left -= skipped
    return _score(options, count, found, weights)


def held_out(options: Options, rows: Rows) -> Score:
    """Train as ``adagrad train --holdout-last`` does, and score the rows held out."""

    def opened() -> Log:
        return open_log(rows.path, **options.targets, schema=rows.schema(), format="arrow")

    found, weights = [], []
    with tempfile.TemporaryDirectory(prefix="adagrad-tune-") as folder, opened() as log:
        log.limit(0, rows.learned)
        training = Training(log, options, Path(folder) / "model")
        training.run()
        estimator, encoder = training.estimator, training.encoder
        with opened() as rest:
            rest.limit(rows.learned)
            for batch in encoded(rest, encoder):
                assert batch.y is not None
                found.append(_losses(estimator.decision_function(batch.x), batch.y))
                if batch.weights is not None:
                    weights.append(batch.weights)
    return _score(options, rows.learned, found, weights)


class Tuning:
    """A race of configurations.

    Parameters
    ----------
    field : list of Options
        The default first.
    rows : Rows
        The log.
    run : callable
        Calls a function with each of some arguments, perhaps in other processes, and yields the
        results in order; see `workers`.

    Attributes
    ----------
    scores : dict of Options to list of Score
        What is known of each configuration, rung by rung.
    winner : Options
        The default, until another one has won.
    final : list of Score
        Those of the default and of the best one, if that is another, on the rows held out.
    """

    def __init__(self, field: Sequence[Options], rows: Rows, run: Run) -> None:
        self.default, self._field, self._rows, self._run = field[0], list(field), rows, run
        self.scores: dict[Options, list[Score]] = {options: [] for options in field}
        self.final: list[Score] = []
        self.winner = self.default

    def race(self, show: Callable[[Score, int, int], None]) -> None:
        """Run all rungs, and compare the best with the default on the rows held out.

        Parameters
        ----------
        show : callable
            Called with each score, and with the position and the number of those of its rung.
        """
        sizes = rungs(self._rows.learned)
        field = self._field
        for rung, size in enumerate(sizes):
            tasks: list[tuple[Any, ...]]
            tasks = [(score, options, self._rows, size) for options in field]
            found = []
            for number, one in enumerate(self._run(tasks), start=1):
                self.scores[one.options].append(one)
                found.append(one)
                show(one, number, len(tasks))
            ranked = sorted(found, key=lambda one: (math.isnan(one.logloss), one.logloss))
            if rung + 1 < len(sizes):
                field = self._next([one.options for one in ranked])
        best = self._simplest(ranked)
        difference, error = gain(best, self.scores[self.default][-1])
        finalists = [self.default]
        if best.options != self.default and difference + SURE * error < 0:
            finalists.append(best.options)
        tasks = [(held_out, options, self._rows) for options in finalists]
        for number, one in enumerate(self._run(tasks), start=1):
            self.final.append(one)
            show(one, number, len(tasks))
        if len(self.final) > 1 and self.final[1].logloss <= self.final[0].logloss:
            self.winner = self.final[1].options

    def _simplest(self, ranked: list[Score]) -> Score:
        """Return what is within a standard error of the best and has the fewest changes."""
        close = [one for one in ranked if operator.le(*gain(one, ranked[0]))]
        return min(close or ranked, key=lambda one: changes(one.options, self.default))

    def _next(self, ranked: list[Options]) -> list[Options]:
        """Return the better third, the default, and the best two in one."""
        kept = ranked[: max(2, -(-len(ranked) // ETA))]
        both = merged(self.default, *kept[:2])
        if both not in self.scores:
            self.scores[both] = []
            kept.append(both)
        return kept if self.default in kept else [*kept, self.default]

    def ranked(self) -> list[Score]:
        """Return the last score of each configuration: more rows first, then the lower logloss."""
        last = [scores[-1] for scores in self.scores.values() if scores]
        return sorted(last, key=lambda one: (-one.rows, math.isnan(one.logloss), one.logloss))

    def against_default(self, score: Score) -> tuple[float, float]:
        """Return `gain` of a score over the default at the same number of rows."""
        of_default = {one.rows: one for one in self.scores[self.default]}
        if score.rows not in of_default:
            return math.nan, math.nan
        return gain(score, of_default[score.rows])


def extent(options: Options, rows: Rows) -> tuple[int, int]:
    """Return about how many distinct features the rows have, and the number of fields."""
    _, encoder = _encoder(options, rows)
    x = encoder.transform(rows.first(min(LOOK, rows.learned)))
    return len(np.unique(x.slots)) * rows.learned // len(x), x.n_fields


def strongest_pairs(options: Options, rows: Rows) -> tuple[tuple[str, ...], ...]:
    """Return pairs of the columns that contribute most in the first rows.

    Those are columns without which the logloss of a sample rises most; see `contributions`.
    """
    estimator, encoder = _encoder(options, rows)
    if not isinstance(encoder, HashingEncoder) or len(encoder.fields_) < 2:
        return ()
    first = rows.first(min(LOOK, rows.learned))
    x, (y, weight) = encoder.transform(first), _labels(options, first)
    estimator.partial_fit(x, y, classes=[0, 1], sample_weight=weight)
    found = contributions(encoder, x, y, estimator.coef_[0])
    names = list(encoder.fields_) if found is None else [one.column for one in found.columns]
    crossed = [name for name in names if encoder.fields_[name] in ("categorical", "numeric")]
    return candidate_pairs(crossed[:MOST_COLUMNS])
