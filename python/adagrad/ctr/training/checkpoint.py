"""The file that a training is saved in and resumes from: its model file, or one beside it.

A training that begins from a model and is to replace its file writes checkpoints beside it. The
last of them takes the place of the model. So at any moment, either the model that the training
began from or the complete new one is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adagrad._atomic import move, resolved
from adagrad.ctr.learners import files
from adagrad.ctr.training.encoders import Encoder
from adagrad.ctr.training.identity import is_recognized
from adagrad.ctr.training.resume import ResumeError, check_same_start
from adagrad.ctr.training.start import Start
from adagrad.ctr.training.state import saved_training, trained_with

if TYPE_CHECKING:
    from adagrad.ctr.learners.estimator import ClickLearner

__all__ = ["Checkpoint", "Saved", "checkpoint_of"]


def checkpoint_of(model: Path) -> Path:
    """Return the file or directory beside a model file that its training resumes from."""
    model = resolved(model)
    return model.with_name(f"{model.name}.checkpoint")


class Saved(NamedTuple):
    """A training as it is saved.

    Attributes
    ----------
    path : Path
        The file.
    estimator : ClickLearner
        The learner.
    encoder : HashingEncoder or SlotEncoder
        Encodes the log.
    state : dict
        What `saved_training` returns.
    is_other : bool
        Whether it is not this training, but one before it that has learned the same log.
    """

    path: Path
    estimator: ClickLearner
    encoder: Encoder
    state: dict[str, Any]
    is_other: bool = False


class Checkpoint:
    """Where a training is saved.

    Parameters
    ----------
    model : Path
        The model file.
    start : Start, optional
        The model that the training begins from.

    Attributes
    ----------
    path : Path
        The file.
    """

    def __init__(self, model: Path, start: Start | None) -> None:
        self._model, self._start = model, start
        replaces_start = start is not None and start.is_file(model)
        self.path = checkpoint_of(model) if replaces_start else model

    def read(self, log: list[list[Any]]) -> Saved | None:
        """Return the training that is saved; None if there is none.

        A model whose last run has learned exactly this log is the training that is asked for.

        Parameters
        ----------
        log : list of list
            Identity of the log.

        Raises
        ------
        ResumeError
            The file was saved from Python, or its training began from another model.
        """
        path, start = self.path, self._start
        is_other = start is not None and not path.exists() and path != self._model
        if is_other:
            path = self._model
        elif start is not None and not path.exists():
            return None
        estimator, extra = files.read(path)
        state = saved_training(path, extra)
        if is_other and (state is None or state["log"] != log or not is_recognized(log)):
            return None
        if state is None:
            raise ResumeError(
                f"{path} was not written by adagrad train but saved from Python, so training"
                " cannot resume from it: give --init to begin from it, or choose another --model"
            )
        if not is_other:
            check_same_start(path, state, start)
        return Saved(path, estimator, trained_with(path, estimator, extra).encoder, state, is_other)

    def write(
        self,
        estimator: ClickLearner,
        state: dict[str, Any],
        scores: list[float],
        tables: files.Tables | None,
    ) -> None:
        """Replace the file, atomically.

        Parameters
        ----------
        estimator : ClickLearner
            The learner.
        state : dict
            What `saved_training` will return, but for the model that the training began from.
        scores : list of float
            Those of the log; see `adagrad.ctr.training.history.scores_between`.
        tables : files.Tables, optional
            Tables of a model that is not in this process; see `files.write`.
        """
        if (start := self._start) is not None:
            init = {"model": start.identity, "examples": start.examples, "scores": scores}
            init |= {"changed": start.changed, "history": start.history}
            state = {**state, "init": init}
        files.write(self.path, estimator, {"training": state}, tables)

    def publish(self) -> None:
        """Let a complete training take the place of the model that it began from.

        Raises
        ------
        ResumeError
            Another model has taken that place since. The checkpoint is removed: what it began from
            is gone.
        """
        if self.path != self._model and self.path.exists():
            if self._start is not None and not self._start.is_current():
                self.path.unlink()
                raise ResumeError(
                    f"{self._model} was replaced while this training went on, and keeps what"
                    " replaced it; what was learned here is dropped: begin again from the new"
                    " model, and let one training at a time replace a model"
                )
            move(self.path, self._model)
