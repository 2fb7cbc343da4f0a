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

from adagrad._text import broken_rows, counted, listed
from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.looks import LOOK
from adagrad.ctr.learners import files
from adagrad.ctr.learners.progressive import Progressive
from adagrad.ctr.logs.log import Log
from adagrad.ctr.logs.rows import LogError
from adagrad.ctr.training.checkpoint import Checkpoint
from adagrad.ctr.training.columns import feature_columns, schema_from_text, schema_to_text
from adagrad.ctr.training.curve import batch_cuts, extended_curve
from adagrad.ctr.training.digest import hash_of
from adagrad.ctr.training.encoders import Encoder, SlotEncoder, encoder_of
from adagrad.ctr.training.evaluation import Look, best_of, evaluate
from adagrad.ctr.training.history import scores_between
from adagrad.ctr.training.identity import log_identity
from adagrad.ctr.training.options import Options
from adagrad.ctr.training.pipeline import Encoded, HashOf, encoded
from adagrad.ctr.training.resume import FirstPass, check_same_training
from adagrad.ctr.training.rounds import Part, rechunked, up_to_the_last_round
from adagrad.ctr.training.sample import relearned
from adagrad.ctr.training.start import Start
from adagrad.ctr.training.stop import Interrupted, Stop
from adagrad.ctr.training.unfinished import Unfinished, round_start

__all__ = ["Training"]


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
        self._checkpoint = Checkpoint(self.path, start)
        self.log_identity = log_identity(log)
        self.passes, self.checkpoint_every = passes, checkpoint_every
        self.early_stop = early_stop
        self.encoder: Encoder
        self._to_finish: Unfinished | None = None  # the round that the run before ended in
        self._unfinished: Unfinished | None = None  # that in which this one ends
        if start is not None:
            self.estimator, self.encoder = start.estimator, start.encoder
            self._is_prepared, self._to_finish = True, start.unfinished
        else:
            self.estimator = options.estimator(log.schema)
            self.encoder = self.estimator.encoder or SlotEncoder(1 << options.bits)
            self._is_prepared = self.estimator.encoder is None
        self.pass_number = self.rows = 0
        of_start = None if start is None else start.state
        self.curve: list[list[float]] = [] if of_start is None else of_start["curve"]
        # The examples that the progressive metrics are of.
        self._counted_before = int(self.curve[-1][0]) if self.curve else self.learned_before
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
        return self._checkpoint.path

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
        if self._is_of_sample:
            return self.learned_before + self.learned_in_first_pass
        return self.estimator._model.examples

    @property
    def learned(self) -> int:
        """Examples of this log that are learned, in all passes."""
        return self.examples - self.learned_before

    @property
    def learned_in_first_pass(self) -> int:
        """Examples of the first pass over this log."""
        counted = int(self.curve[-1][0]) if self.curve else 0
        return counted - self._counted_before

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
        saved = self._checkpoint.read(self.log_identity)
        if saved is None:
            return
        path, estimator, encoder, state, is_other = saved
        in_first_pass = state["pass"] == 0 and "learned" in state
        types = self.log.schema
        if self.start is None:
            self._keep_types(estimator.encoder)
        if in_first_pass and self.start is None:
            # A row that is repaired or added may change what the samples say.
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
        self._is_prepared, self._to_finish = True, None
        self.estimator, self.encoder = estimator, encoder
        self.pass_number, self.rows = state["pass"], state["rows"]
        self.curve, self.validation = state["curve"], state["validation"]
        self.skipped, self.ordered = state["skipped"], state.get("ordered")
        self._saved = self.examples
        if is_other:  # which is complete
            self.start, self.passes = None, self.pass_number

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
                for part in up_to_the_last_round(
                    batches, self.log.rows, lambda: self._learned_or_held, stop
                ):
                    self._learn(part, show)
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
        self._checkpoint.publish()

    def _batches(self) -> Generator[Encoded, None, None]:
        """Return the rest of the pass."""
        if self._is_checking:
            batches = self._first_pass.rest(self._encoded(), self.log_identity)
        else:
            batches = self._encoded(self.rows, None if self.pass_number else hash_of)
        if self.start is None or self.pass_number:
            return batches
        return rechunked(batches, self.log.rows, self._learned_or_held)

    def _encoded(self, start: int = 0, of: HashOf | None = None) -> Generator[Encoded, None, None]:
        return encoded(self.log, self.encoder, start, of, self.estimator.negative_rate)

    @property
    def _learned_or_held(self) -> int:
        return self.examples + (0 if self._to_finish is None else len(self._to_finish.examples))

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
        self.estimator, _ = files.read(self._checkpoint.path)
        self.encoder = encoder_of(self.estimator)

    def _learn(self, part: Part, show: Callable[[Training], None]) -> None:
        """Learn a batch, cut where the curve has a point; one is at the end of a whole batch."""
        batch = part.batch
        if not len(batch.x):
            return
        if self.sample is None:
            self.sample = batch.batch
            if self._look is not None:
                self._look(self.sample)
        if self.pass_number == 0:
            self._first_pass.add(batch)
        examples, start = batch.labeled(self._of_classes), 0
        if self._to_finish is not None:
            examples, self._to_finish = self._to_finish.followed_by(examples), None
        seen, rows = self.examples, len(examples)
        points = batch_cuts(seen, rows)
        last_round = rows
        if part.is_last and self.passes == 1:
            last_round = round_start(seen + rows) - seen
        has_point = part.is_whole or rows in batch_cuts(seen, rows + 1)[:-1]
        for end in sorted({*points, *([last_round] if last_round > 0 else [])}):
            some = examples[start:end]
            if start == last_round:
                self._unfinished = Unfinished.before(self.estimator._model, some)
            if hasattr(self.estimator, "classes_"):
                some = self.estimator._weighted(some)
                count = self.pass_number == 0
                self.estimator._model.learn(some.x, some.y, some.weights, count=count)
            else:
                self.estimator.partial_fit(some.x, some.y, [0, 1], some.weights)
            start = end
            if end < rows and end in points:
                self._add_point(show)
        if self.examples < seen + rows:  # some have the weight 0, so rounds end elsewhere
            self._unfinished = None
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
        counted = self._counted_before + self.learned
        if self.pass_number == 0 and counted > last:
            model = self.estimator._model
            self.curve = extended_curve(self.curve, model.progressive, counted, model.mixture)
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
        if self._unfinished is not None and self.passes == 1 and not self._is_of_sample:
            state["unfinished"] = self._unfinished.to_json(self.estimator._model)
        self._checkpoint.write(self.estimator, state, self.scores, tables)
        self._saved = self.examples
