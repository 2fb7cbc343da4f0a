"""Training on a log: batches in, a model file out that training can go on from.

What ``adagrad train`` runs; options come from there, and printing stays there. The model file is
the checkpoint: it holds the learner and, as its `extra`, how far training has come.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.learners import files
from adagrad.ctr.learners.estimator import ClickLearner
from adagrad.ctr.learners.labeled import LabeledExamples
from adagrad.ctr.learners.progressive import Progressive, measured
from adagrad.ctr.logs.log import Log
from adagrad.ctr.training.options import Options, packed, plain
from adagrad.ctr.training.pipeline import (
    Encoded,
    Encoder,
    encoded,
    encoder_of,
    identity,
    portable,
)
from adagrad.ctr.training.stop import Interrupted, Stop

__all__ = ["Resumed", "Training", "score", "with_point"]

ROUND = 64
"""The learners' rounds of examples end at multiples of this."""

FIRST_LOOK = 1024
"""Examples at the first point of the learning curve; the next ones lie at its doubles."""

MAX_POINTS = 512


class Resumed(ValueError):
    """A model file does not go on with these options or this log."""


class Training:
    """One model in the making.

    Parameters
    ----------
    log : Log
        With a label.
    options : Options
        Of a new model.
    path : str or PathLike
        The model file.
    passes : int, default 1
        Over the log.
    checkpoint_every : int, default 10_000_000
        Examples between two replacements of the file, rounded up to whole batches of the log.
    early_stop : int, optional
        End after so many passes in a row without a lower validation logloss. The file holds the
        best model from the first validation on, and training goes on from that where it is resumed.

    Attributes
    ----------
    estimator : ClickLearner
        The learner.
    log_identity : list of list
        By which the log is known again when the training is resumed.
    pass_number : int
        The pass under way, from 0; as many as `passes` when all are done.
    rows : int
        Rows of this pass that are learned.
    curve : list of list of float
        After so many examples of the first pass, so many positive, summed loss and predictions,
        AUC: ``[examples, positive, loss, predicted, auc]``.
    skipped : dict of str to int
        Broken rows left out in this pass, by kind.
    validation : list of dict
        Metrics on held-out logs, after each pass.
    board : Progressive or None
        Of the last validation, or with `early_stop` the best.
    sample : pyarrow.RecordBatch or None
        The first batch that was read, for a report.
    """

    def __init__(
        self,
        log: Log,
        options: Options,
        path: str | os.PathLike[str],
        *,
        passes: int = 1,
        checkpoint_every: int = 10_000_000,
        early_stop: int | None = None,
    ) -> None:
        self.log, self.options, self.path = log, options, Path(path)
        self.log_identity = identity(log)
        self.passes, self.checkpoint_every = passes, checkpoint_every
        self.early_stop = early_stop
        self.estimator = options.estimator(log.schema)
        self.encoder: Encoder = self.estimator.encoder or _slots(options.bits)
        self.pass_number = self.rows = 0
        self.curve: list[list[float]] = []
        self.skipped: dict[str, int] = {}
        self.validation: list[dict[str, float]] = []
        self.board: Progressive | None = None
        self.sample: pa.RecordBatch | None = None
        self.bytes_read = 0
        self._saved = -1

    @property
    def features(self) -> pa.Schema:
        """The columns that are features, with the types that any format can be read as."""
        ignored = (self.options.label, *self.options.ignore)
        return portable(self.log.schema, ignored)

    @property
    def saved_in(self) -> Path:
        """Where a training that is interrupted goes on from."""
        return self.path

    @property
    def identity(self) -> dict[str, Any]:
        """What has to agree where a file goes on; JSON."""
        return {
            "options": plain(self.options),
            "schema": packed(self.features),
            "log": self.log_identity,
        }

    @property
    def examples(self) -> int:
        """How many are learned, in all passes."""
        return self.estimator._trainer.examples if hasattr(self.estimator, "classes_") else 0

    @property
    def progressive(self) -> Progressive | None:
        """Of the first pass; None before there is something to tell."""
        if not hasattr(self.estimator, "classes_") or not self.estimator._trainer.has_rate:
            return None
        return self.estimator._model.progressive

    def resume(self) -> None:
        """Take up what the model file holds.

        Raises
        ------
        Resumed
            Where it was trained with other options or on another log.
        """
        estimator, extra = files.read(self.path)
        state = (extra or {}).get("training") if isinstance(extra, dict) else None
        if state is None:
            raise Resumed(f"{self.path} was not written by adagrad train: there is no way to go on")
        self._compare(self.path, state)
        if state["pass"] == state["rows"] == 0:
            return  # the rate was not chosen yet
        self.estimator, self.encoder = estimator, encoder_of(estimator)
        self.pass_number, self.rows = state["pass"], state["rows"]
        self.curve, self.validation = state["curve"], state["validation"]
        self.skipped = state["skipped"]
        self._saved = self.examples

    def _compare(self, path: Path, state: dict[str, Any]) -> None:
        """Raise where what a file holds was trained in another way than this, or on another log."""
        for name, value in plain(self.options).items():
            if state["options"].get(name) != value:
                option = "--" + name.replace("_", "-")
                raise Resumed(
                    f"{path} was trained with {option} {state['options'].get(name)}, not"
                    f" {value}: give the same options, or another --model"
                )
        if state["log"] != self.log_identity:
            raise Resumed(
                f"{path} was trained on another log: {_shown(state['log'])}, not"
                f" {_shown(self.log_identity)}"
            )
        if state["schema"] != packed(self.features):
            raise Resumed(f"{path} was trained on a log with other columns or types")

    def run(
        self,
        show: Callable[[Training], None] = lambda training: None,
        *,
        validate: Callable[[], Log] | None = None,
        stop: Stop | None = None,
    ) -> None:
        """Train to the end, and write the model file.

        Parameters
        ----------
        show : callable
            Called after each point of the curve and each batch.
        validate : callable, optional
            Opens the log to measure on after each pass.
        stop : Stop, optional
            Asked before each batch.

        Raises
        ------
        Interrupted
            At a signal; the file is written, unless nothing is learned yet.
        LogError
            A broken row; the file is as it was at the last checkpoint.
        """
        stop = stop or Stop()
        while self.pass_number < self.passes and not self._has_stopped():
            batches = encoded(self.log, self.encoder, self.rows)
            try:
                while (batch := stop.wait(batches)) is not None:
                    self._learn(_whole_rounds(batch, self.examples) if stop.signal else batch, show)
                    due = self.examples - max(self._saved, 0) >= self.checkpoint_every
                    if due and not self.best_pass:
                        self.save()
            except Interrupted:
                if self.best_pass:
                    self._take_best()
                else:
                    self.save(undecided=True)
                raise
            finally:
                batches.close()
            self._end_pass(validate)
            if self.best_pass in (0, self.pass_number):
                self.save()
            show(self)
        if self.best_pass not in (0, self.pass_number):
            self._take_best()

    @property
    def best_pass(self) -> int:
        """The pass, from 1, whose model the file holds as the best; 0 where none is kept."""
        if self.early_stop is None or not self.validation:
            return 0
        losses = [metrics["logloss"] for metrics in self.validation]
        return 1 + min(range(len(losses)), key=lambda k: (math.isnan(losses[k]), losses[k], k))

    def _has_stopped(self) -> bool:
        best = self.best_pass
        return bool(best) and len(self.validation) - best >= (self.early_stop or 0)

    def _take_best(self) -> None:
        self.estimator, _ = files.read(self.path)
        self.encoder = encoder_of(self.estimator)

    def _learn(self, batch: Encoded, show: Callable[[Training], None]) -> None:
        """Learn a batch as a whole or not at all; only the curve sees its parts."""
        if not len(batch.x):
            return
        if self.sample is None:
            self.sample = batch.batch
        assert batch.y is not None
        start = 0
        for end in _cuts(self.examples, len(batch.x)):
            x, y = batch.x[start:end], batch.y[start:end]
            if hasattr(self.estimator, "classes_"):
                self.estimator._trainer.learn(LabeledExamples(x, y), count=self.pass_number == 0)
            else:
                self.estimator.partial_fit(x, y, classes=[0, 1])
            start = end
            if end < len(batch.x):
                self._point(show)
        self.rows = batch.position.rows
        self.bytes_read, self.skipped = batch.position.bytes_read, batch.skipped
        self._point(show)

    def _point(self, show: Callable[[Training], None]) -> None:
        board = self.progressive
        if self.pass_number == 0 and board is not None:
            self.curve = with_point(self.curve, board)
        show(self)

    def _end_pass(self, validate: Callable[[], Log] | None) -> None:
        if not hasattr(self.estimator, "classes_"):
            raise ValueError(f"{', '.join(self.log.paths[:3])}: no examples")
        unsettled = self.progressive is None
        if self.pass_number == 0:
            self.estimator._trainer.choose_rate()
        if unsettled:
            self._point(lambda training: None)
        self.skipped = self.log.skipped
        self.pass_number += 1
        self.rows = 0
        self.estimator.n_passes_ = self.pass_number
        if validate is not None:
            with validate() as log:
                board = score(self.estimator, log)
            self.validation.append(board.metrics())
            if self.best_pass in (0, self.pass_number):
                self.board = board

    def save(self, *, undecided: bool = False, tables: files.Tables | None = None) -> None:
        """Replace the model file, unless nothing is learned.

        `tables` are those of a model that is elsewhere; see `files.write`.

        While ``lr="auto"`` has not chosen, a model cannot go on with the same bits. It is written
        where it is asked for, and begins anew when it is resumed.
        """
        is_decided = self.progressive is not None
        if not is_decided and not (undecided and self.examples):
            return
        state = {
            **self.identity,
            "pass": self.pass_number,
            "rows": self.rows if is_decided else 0,
            "curve": self.curve,
            "validation": self.validation,
            "skipped": self.skipped,
        }
        files.write(self.path, self.estimator, {"training": state}, tables)
        self._saved = self.examples


def score(estimator: ClickLearner, log: Log) -> Progressive:
    """Return how good an estimator's predictions are on a log with a label."""

    def batches() -> Iterator[tuple[Examples, Any]]:
        for batch in encoded(log, encoder_of(estimator)):
            yield batch.x, batch.y

    return measured(estimator.decision_function, batches())


def with_point(curve: list[list[float]], board: Progressive) -> list[list[float]]:
    """Return a learning curve with one more point, in constant memory."""
    curve = [*curve, [*map(float, board.sums), board.metrics()["auc"]]]
    if len(curve) > MAX_POINTS:  # every other one of the older ones
        curve = curve[: MAX_POINTS // 2 : 2] + curve[MAX_POINTS // 2 :]
    return curve


def _cuts(seen: int, rows: int) -> list[int]:
    """Return where a batch is cut so that the curve has points at the powers of two."""
    cuts, at = [], FIRST_LOOK
    while at < seen + rows:
        if at > seen:
            cuts.append(at - seen)
        at *= 2
    return [*(cut for cut in cuts if cut % 64 == 0), rows]


def _whole_rounds(batch: Encoded, seen: int) -> Encoded:
    """Return the rows of a last batch that end a round, so that going on has the same bits."""
    rows = max(0, len(batch.x) - (seen + len(batch.x)) % ROUND)
    position = dataclasses.replace(batch.position, rows=batch.position.rows - len(batch.x) + rows)
    y = None if batch.y is None else batch.y[:rows]
    return Encoded(batch.x[:rows], y, batch.batch.slice(0, rows), position, batch.skipped)


def _slots(bits: int) -> Encoder:
    from adagrad.ctr.training.pipeline import SlotEncoder

    return SlotEncoder(1 << bits)


def _shown(log: list[list[Any]]) -> str:
    first = ", ".join(f"{name} ({size} bytes, ends {ends})" for name, size, ends in log[:3])
    return first + (f" and {len(log) - 3} more" if len(log) > 3 else "")
