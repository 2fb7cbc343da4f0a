"""The state of a training: what it has learned of its log, and how it is saved and resumed.

The model file is also the checkpoint: it holds the learner and, in its `extra`, how far training
has come. `adagrad.ctr.training.run` has the loop.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.looks import LOOK
from adagrad.ctr.learners import files
from adagrad.ctr.learners.progressive import Progressive
from adagrad.ctr.logs.log import Log
from adagrad.ctr.training.checkpoint import Checkpoint
from adagrad.ctr.training.columns import feature_columns, schema_from_text, schema_to_text
from adagrad.ctr.training.encoders import Encoder, SlotEncoder
from adagrad.ctr.training.evaluation import Look, best_of
from adagrad.ctr.training.history import scores_between
from adagrad.ctr.training.identity import log_identity
from adagrad.ctr.training.options import Options
from adagrad.ctr.training.resume import FirstPass, check_same_training
from adagrad.ctr.training.start import Start
from adagrad.ctr.training.unfinished import Unfinished

__all__ = ["ResumableTraining"]


class ResumableTraining:
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
