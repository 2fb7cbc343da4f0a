"""Training on a log: batches in, a model file out, from which training can resume.

``adagrad train`` runs it; parsing of options and printing belong there. The model file is also the
checkpoint: it holds the learner and, in its `extra`, how far training has come.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pyarrow as pa

from adagrad._atomic import move, resolved
from adagrad._text import broken_rows, counted, listed
from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.looks import LOOK
from adagrad.ctr.learners import files
from adagrad.ctr.learners.progressive import Progressive
from adagrad.ctr.logs.log import Log
from adagrad.ctr.logs.rows import LogError
from adagrad.ctr.training.columns import feature_columns, schema_from_text, schema_to_text
from adagrad.ctr.training.curve import batch_cuts, extended_curve
from adagrad.ctr.training.digest import hash_of
from adagrad.ctr.training.encoders import Encoder, SlotEncoder, encoder_of
from adagrad.ctr.training.evaluation import Look, best_of, evaluate
from adagrad.ctr.training.history import scores_between
from adagrad.ctr.training.identity import log_identity
from adagrad.ctr.training.options import Options
from adagrad.ctr.training.pipeline import Encoded, HashOf, encoded
from adagrad.ctr.training.resume import (
    FirstPass,
    ResumeError,
    check_same_start,
    check_same_training,
)
from adagrad.ctr.training.rounds import up_to_the_last_round
from adagrad.ctr.training.sample import relearned
from adagrad.ctr.training.start import Start
from adagrad.ctr.training.state import saved_training, trained_with
from adagrad.ctr.training.stop import Interrupted, Stop

__all__ = ["Training", "checkpoint_of"]


def checkpoint_of(model: Path) -> Path:
    """Return the file or directory beside a model file that its training resumes from."""
    model = resolved(model)
    return model.with_name(f"{model.name}.checkpoint")


class Training:
    """The training of one model on one log.

    Parameters
    ----------
    log : Log
        Opened with a label.
    options : Options
        Options of the model.
    path : str or PathLike
        The model file.
    passes : int, default 1
        Passes over the log.
    checkpoint_every : int, default 10_000_000
        Examples between two checkpoints, rounded up to whole batches of the log.
    early_stop : int, optional
        Stop after this many passes in a row without a lower validation logloss. From the first
        validation on, the file holds the best model, and training resumes from it.
    start : Start, optional
        The model to begin from. By default, a new one.

    Attributes
    ----------
    estimator : ClickLearner
        The learner.
    log_identity : list of list
        Identity of the log; see `log_identity`.
    pass_number : int
        The current pass, from 0; equal to `passes` when all are done.
    rows : int
        Rows of the current pass that are learned.
    curve : list of list of float
        Learning curve of the first pass; see `extended_curve`.
    skipped : dict of str to int
        Broken rows skipped in the current pass, by kind.
    validation : list of dict
        Metrics on the held-out log, one dict per pass.
    ordered : dict or None
        What `relearned` has found after the first pass, if the labels are ordered. If the model is
        that of a sample, no pass follows, which would undo it.
    board : Progressive or None
        Scores of the last validation; with `early_stop`, of the best one.
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
        start: Start | None = None,
    ) -> None:
        self.log, self.options, self.path = log, options, Path(path)
        self.start = start
        is_same = start is not None and start.is_file(self.path)
        self._file = checkpoint_of(self.path) if is_same else self.path
        self.log_identity = log_identity(log)
        self.passes, self.checkpoint_every = passes, checkpoint_every
        self.early_stop = early_stop
        self.encoder: Encoder
        if start is not None:
            self.estimator, self.encoder = start.estimator, start.encoder
            self._is_prepared = True
        else:
            self.estimator = options.estimator(log.schema)
            self.encoder = self.estimator.encoder or SlotEncoder(1 << options.bits)
            self._is_prepared = self.estimator.encoder is None
        self.pass_number = self.rows = 0
        self.curve: list[list[float]] = []
        self.skipped: dict[str, int] = {}
        self.validation: list[dict[str, float]] = []
        self.ordered: dict[str, int] | None = None
        self.board: Progressive | None = None
        self.sample: pa.RecordBatch | None = None
        self.bytes_read = 0
        self._look: Look | None = None
        self._first_pass = FirstPass()
        self._saved = self.learned_before

    @property
    def features(self) -> pa.Schema:
        """The feature columns, with types that a log of any format can be read as."""
        if self.start is not None:
            return self.start.features
        others = {*filter(None, self.options.targets.values()), *self.options.ignore}
        if isinstance(self.encoder, HashingEncoder):  # it leaves moments out
            others.update(set(self.log.schema.names).difference(self.encoder.fields_))
        return feature_columns(self.log.schema, sorted(others))

    @property
    def saved_in(self) -> Path:
        """What an interrupted training resumes from: the model file, or a checkpoint beside it.

        The file of `start` is replaced only at the end, by the checkpoint.
        """
        return self._file

    @property
    def identity(self) -> dict[str, Any]:
        """What must agree to resume: options, feature columns and log, as JSON."""
        return {
            "options": self.options.to_json(),
            "schema": schema_to_text(self.features),
            "log": self.log_identity,
        }

    @property
    def learned_before(self) -> int:
        """Examples that the model had learned when the training began."""
        return 0 if self.start is None else self.start.examples

    @property
    def examples(self) -> int:
        """Examples learned in all passes, also by a model that one of a sample has replaced."""
        if not hasattr(self.estimator, "classes_"):
            return 0
        return int(self.curve[-1][0]) if self._is_of_sample else self.estimator._model.examples

    @property
    def learned(self) -> int:
        """Examples of this log that are learned, in all passes."""
        return self.examples - self.learned_before

    @property
    def scores(self) -> list[float]:
        """What `scores_between` returns of the first pass over this log."""
        before = None if self.start is None else self.start.progressive
        return scores_between(before, self.estimator._model.progressive)

    @property
    def progressive(self) -> Progressive | None:
        """Progressive scores of all first passes; None before there are any."""
        return self.estimator._model.progressive if hasattr(self.estimator, "classes_") else None

    def prepare(self) -> None:
        """Decide by the first rows which integers are ids; not for a model that has learned."""
        if not self._is_prepared:
            self.estimator = self.options.estimator(self.log.schema, self.log.head(LOOK))
            assert self.estimator.encoder is not None
            self.encoder, self._is_prepared = self.estimator.encoder, True

    def _keep_types(self, encoder: Any) -> None:
        """Use the encoder of a training by version 0.1, which looked at types alone."""
        if isinstance(encoder, HashingEncoder) and encoder.kinds == "types":
            self.estimator.encoder = self.encoder = encoder
            self._is_prepared = True

    def resume(self) -> None:
        """Continue from the file that the training is saved in.

        A model that has learned exactly this log in its last run is complete.

        Raises
        ------
        ResumeError
            The file was trained with other options, on another log or from another model.
        """
        path = self._file
        if self.start is not None and not path.exists():
            if not self.start.has_learned(self.log_identity):
                return
            path = self.path
        estimator, extra = files.read(path)
        state = saved_training(path, extra)
        if state is None:
            raise ResumeError(
                f"{path} was not written by adagrad train but saved from Python, so training"
                " cannot resume from it: learn on in Python, with load and partial_fit, or choose"
                " another --model"
            )
        if path == self._file:
            check_same_start(path, state, self.start)
        in_first_pass = state["pass"] == 0 and "learned" in state
        types = self.log.schema
        if self.start is None:
            self._keep_types(estimator.encoder)
        # A row that is repaired or added may change what the samples say.
        if in_first_pass and self.start is None:
            if state["rows"] < LOOK:
                self.prepare()
            self.log.keep_types(schema_from_text(state["schema"]))
        check_same_training(
            path, state, self.identity, same_log=not in_first_pass, same_faults=False
        )
        if state["pass"] == state["rows"] == 0:
            return  # version 0.1 had not chosen a learning rate yet
        if in_first_pass and isinstance(self.encoder, HashingEncoder) and state["rows"] < LOOK:
            assert estimator.encoder is not None
            if self.encoder.fields_ != estimator.encoder.fields_:
                self.log.keep_types(types)
                return  # what is repaired has changed what the first rows say
            # With the same reasons as a training of all rows.
            estimator.encoder = estimator.encoder_ = self.encoder
        self._first_pass.resume(path, state)
        self._is_prepared = True
        self.estimator = estimator
        self.encoder = trained_with(path, estimator, extra).encoder
        self.pass_number, self.rows = state["pass"], state["rows"]
        self.curve, self.validation = state["curve"], state["validation"]
        self.skipped, self.ordered = state["skipped"], state.get("ordered")
        self._saved = self.examples

    def run(
        self,
        show: Callable[[Training], None] = lambda training: None,
        *,
        validate: Callable[[], Log] | None = None,
        stop: Stop | None = None,
        look: Look | None = None,
    ) -> None:
        """Train to the end and write the model file.

        Parameters
        ----------
        show : callable
            Called after each point of the curve and after each batch.
        validate : callable, optional
            Opens the held-out log, once after each pass.
        stop : Stop, optional
            Checked before each batch.
        look : callable, optional
            Called with the first batch that was read, before it is learned.

        Raises
        ------
        Interrupted
            A signal arrived. The file is written, unless nothing is learned yet.
        LogError
            A row is broken. The file holds what was learned before it.
        ResumeError
            The rows that the model file has learned are not those of the log.
        """
        stop = stop or Stop()
        self._look = look
        self.prepare()
        while not self.is_complete:
            batches = self._batches()
            try:
                of_rounds = up_to_the_last_round(
                    batches, self.log.rows, lambda: self.examples, stop
                )
                for batch, is_whole in of_rounds:
                    self._learn(batch, show, is_whole)
                    due = self.examples - self._saved >= self.checkpoint_every
                    if due and not self.best_pass:
                        self.save()
            except Interrupted:
                if self.best_pass:
                    self._load_best()
                else:
                    self.save()
                raise
            except LogError as error:
                if self.best_pass or self._is_checking or self.learned <= 0:
                    raise
                self.save()
                way_on = (
                    f"; {counted(self.learned, 'example')} before it are saved in {self.saved_in}:"
                    " repair it or give --skip-bad, and continue with --resume"
                )
                raise LogError(error.path, error.line, error.reason + way_on, error.label) from None
            finally:
                batches.close()
            self._end_pass(validate)
            if self.best_pass in (0, self.pass_number):
                self.save()
            show(self)
        if self.best_pass not in (0, self.pass_number):
            self._load_best()
        if self._file != self.path and self._file.exists():
            move(self._file, self.path)

    def _batches(self) -> Generator[Encoded, None, None]:
        """Return the rest of the pass."""
        if self._is_checking:
            return self._first_pass.rest(self._encoded(), self.log_identity)
        return self._encoded(self.rows, None if self.pass_number else hash_of)

    def _encoded(self, start: int = 0, of: HashOf | None = None) -> Generator[Encoded, None, None]:
        return encoded(self.log, self.encoder, start, of, self.estimator.negative_rate)

    @property
    def _is_checking(self) -> bool:
        return self.pass_number == 0 and self._first_pass.is_checking

    @property
    def best_pass(self) -> int:
        """The pass, from 1, whose model the file keeps as the best; 0 without early stopping."""
        if self.early_stop is None or not self.validation:
            return 0
        return best_of(self.validation)

    @property
    def is_complete(self) -> bool:
        """Whether no pass is left."""
        return self.pass_number >= self.passes or self._is_of_sample or self._stops_early()

    @property
    def _is_of_sample(self) -> bool:
        return self.ordered is not None and self.ordered["sample"] > 0

    def _stops_early(self) -> bool:
        best = self.best_pass
        return bool(best) and len(self.validation) - best >= (self.early_stop or 0)

    def _load_best(self) -> None:
        self.estimator, _ = files.read(self._file)
        self.encoder = encoder_of(self.estimator)

    def _learn(
        self, batch: Encoded, show: Callable[[Training], None], is_whole: bool = True
    ) -> None:
        """Learn a batch, cut where the curve has a point; one is at the end of a whole batch."""
        if not len(batch.x):
            return
        if self.sample is None:
            self.sample = batch.batch
            if self._look is not None:
                self._look(self.sample)
        examples, start = batch.labeled(self._of_classes), 0
        has_point = is_whole or len(batch.x) in batch_cuts(self.examples, len(batch.x) + 1)[:-1]
        if self.pass_number == 0:
            self._first_pass.add(batch)
        for end in batch_cuts(self.examples, len(batch.x)):
            part = examples[start:end]
            if hasattr(self.estimator, "classes_"):
                part = self.estimator._weighted(part)
                count = self.pass_number == 0
                self.estimator._model.learn(part.x, part.y, part.weights, count=count)
            else:
                self.estimator.partial_fit(part.x, part.y, [0, 1], part.weights)
            start = end
            if end < len(batch.x):
                self._add_point(show)
        self.rows = batch.position.rows
        self.bytes_read, self.skipped = batch.position.bytes_read, batch.skipped
        if has_point:
            self._add_point(show)

    @property
    def _of_classes(self) -> tuple[float, float] | None:
        """The weights of both classes in a log of another rate than the model began with."""
        now, then = self.options.negative_rate, self.estimator.negative_rate
        return (then / now, 1.0) if isinstance(now, float) and now != then else None

    def _add_point(self, show: Callable[[Training], None]) -> None:
        last = self.curve[-1][0] if self.curve else 0.0
        if self.pass_number == 0 and self.examples > last:
            model = self.estimator._model
            self.curve = extended_curve(
                self.curve, model.progressive, model.examples, model.mixture
            )
        show(self)

    def _end_pass(self, validate: Callable[[], Log] | None) -> None:
        if self.pass_number == 0 and self.learned <= 0:
            why = broken_rows(self.log.skipped) if self.log.skipped else "the log has no rows"
            raise ValueError(f"{listed(self.log.paths, 3)}: no examples: {why}")
        self.skipped = self.log.skipped
        if self.pass_number == 0:
            sample, seed = self._first_pass.sample, self.options.seed
            fresh = None if self.start is None else self.start.model
            self.ordered = relearned(self.estimator, sample, seed, fresh)
        self.pass_number += 1
        self.rows = 0
        self.estimator.n_passes_ = self.pass_number
        if validate is not None:
            with validate() as log:
                rate = self.options.negative_rate
                # Rows of the same log that are held out lack the same share of negatives.
                is_same = log.paths == self.log.paths
                share = rate if isinstance(rate, float) and is_same else 1.0
                board = evaluate(self.estimator, log, negative_rate=share)
            self.validation.append(board.metrics())
            if self.best_pass in (0, self.pass_number):
                self.board = board

    def save(self, *, tables: files.Tables | None = None) -> None:
        """Replace the file that the training is saved in. Do nothing before the first example.

        Nor while the file is what a training that resumes would write.

        Parameters
        ----------
        tables : files.Tables, optional
            Tables of a model that is not in this process; see `files.write`.
        """
        if self.learned <= 0 or self._is_checking:
            return
        state = {
            **self.identity,
            "pass": self.pass_number,
            "rows": self.rows,
            "curve": self.curve,
            "validation": self.validation,
            "skipped": self.skipped,
        }
        if self.ordered is not None:
            state["ordered"] = self.ordered
        if learned := self._first_pass.learned:
            state["learned"] = learned
        if self.start is not None:
            state["init"] = {
                "model": self.start.identity,
                "examples": self.start.examples,
                "changed": self.start.changed,
                "scores": self.scores,
                "history": self.start.history,
            }
        files.write(self._file, self.estimator, {"training": state}, tables)
        self._saved = self.examples
