"""What must be the same for a training to resume: its options, its columns and what it has learned.

In the first pass, a training recognizes the examples that it has learned by their hash, so that
what comes after them may have changed. Later, it recognizes the files of the log.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator
from pathlib import Path
from typing import Any

from adagrad._text import counted
from adagrad.ctr.training.columns import schema_from_text
from adagrad.ctr.training.digest import Digest
from adagrad.ctr.training.identity import changed_files, describe_identity
from adagrad.ctr.training.options import Options, as_typed
from adagrad.ctr.training.pipeline import Encoded
from adagrad.ctr.training.sample import Sample
from adagrad.ctr.training.start import Start

__all__ = ["FirstPass", "ResumeError", "check_same_start", "check_same_training"]


class ResumeError(ValueError):
    """A training cannot resume from a model file with these options or this log."""


def check_same_training(
    path: Path,
    saved: dict[str, Any],
    identity: dict[str, Any],
    *,
    same_log: bool = True,
    same_faults: bool = True,
) -> None:
    """Raise if a saved training had other options, another log or other columns.

    Parameters
    ----------
    path : Path
        Where it is saved, for the error message.
    saved : dict
        Its identity.
    identity : dict
        See `Training.identity`.
    same_log : bool, default True
        Whether the files of the log must be the same.
    same_faults : bool, default True
        Whether broken rows must be treated the same.

    Raises
    ------
    ResumeError
        They are not the same.
    """
    first = Options.from_json(saved["options"]).to_json()
    free = set() if same_faults else {"skip_bad"}
    if saved["schema"] == identity["schema"]:
        free |= {"columns", "ignore"}  # what else the log has, and who leaves it out, is no matter
    for name, value in identity["options"].items():
        if first[name] != value and name not in free:
            raise ResumeError(
                f"{path} was trained {as_typed(name, first[name])}, not {as_typed(name, value)}:"
                " repeat the options of the first run, or choose another --model"
            )
    if same_log and saved["log"] != identity["log"]:
        raise ResumeError(
            f"{path} was trained on another log: {describe_identity(saved['log'])}, not"
            f" {describe_identity(identity['log'])}: give --overwrite instead of --resume to train"
            " from the first row"
        )
    if saved["schema"] != identity["schema"]:
        raise ResumeError(
            f"{path} was trained on a log with other columns or types"
            f"{_difference(saved['schema'], identity['schema'])}"
        )


def check_same_start(path: Path, saved: dict[str, Any], start: Start | None) -> None:
    """Raise ResumeError if a saved training began from another model, or from none."""
    before = saved.get("init")
    if start is None:
        if before is not None:
            raise ResumeError(
                f"{path} began from another model: repeat the --init of the first run, or give"
                f" --init {path} to begin from this one"
            )
        return
    if before is None or before["model"] != start.identity:
        what = "no other model" if before is None else "another model"
        raise ResumeError(
            f"{path} holds a training that began from {what}, not from {start.path} as it is: give"
            " --overwrite instead of --resume to begin from that, or choose another --model"
        )


def _difference(saved: str, now: str) -> str:
    """Return how the first column differs that does, for an error message."""
    for one, other in itertools.zip_longest(schema_from_text(saved), schema_from_text(now)):
        if one is None or other is None or one.name != other.name:
            was, is_ = ("none" if x is None else repr(x.name) for x in (one, other))
            return f": column {was} was in the place of {is_}"
        if one.type != other.type:
            return f": column {one.name!r} was {one.type} and is {other.type}"
    return ""


class FirstPass:
    """The examples that a training has learned in its first pass, known by their hash.

    Attributes
    ----------
    sample : Sample
        Of these examples. A training that resumes reads them all again.
    """

    def __init__(self) -> None:
        self.sample = Sample()
        self._digest: Digest | None = Digest()  # None if a file does not say what was learned
        self._learned: str | None = None  # what a model file says
        self._rows = 0  # that the model file has learned
        self._path = Path()
        self._log: list[list[Any]] = []  # identity of the log that they were in

    @property
    def learned(self) -> str | None:
        """Their hash, for the model file; None if it is not known."""
        if self._digest is None:
            return self._learned
        return self._digest.text() if self._digest.rows else None

    @property
    def is_checking(self) -> bool:
        """Whether the examples that the model file has learned are still to be read again."""
        return self._digest is not None and self._digest.rows < self._rows

    def resume(self, path: Path, saved: dict[str, Any]) -> None:
        """Take over what a model file says; in the first pass, its examples are expected again."""
        self._learned = saved.get("learned")
        if saved["pass"] or self._learned is None:
            self._digest = None
        self._path, self._rows, self._log = path, saved["rows"], saved["log"]

    def add(self, batch: Encoded) -> None:
        """Add the examples of a batch that is learned."""
        if self._digest is not None:
            examples = batch.labeled()
            self._digest.add(examples, batch.hash)
            self.sample.add(examples)

    def rest(
        self, batches: Generator[Encoded, None, None], log: list[list[Any]]
    ) -> Generator[Encoded, None, None]:
        """Yield what follows the examples that the model file has learned, once they are checked.

        Parameters
        ----------
        batches : generator of Encoded
            The log, from its first row.
        log : list of list
            Its identity, for the error message.

        Raises
        ------
        ResumeError
            The log begins with other examples.
        """
        digest, self.sample = Digest(), Sample()
        self._digest = digest
        with contextlib.closing(batches):
            for batch in batches:
                if self.is_checking:
                    expected = min(self._rows - digest.rows, len(batch.x))
                    self.add(batch.before(expected))
                    if not self.is_checking and digest.text() != self._learned:
                        raise self._other_rows("have changed", log)
                    batch = batch.after(expected)
                if len(batch.x):
                    yield batch
        if self.is_checking:
            raise self._other_rows(f"are now only {digest.rows:,}", log)

    def _other_rows(self, what: str, log: list[list[Any]]) -> ResumeError:
        changed = changed_files(self._log, log)
        return ResumeError(
            f"{self._path} has learned {counted(self._rows, 'row')} of this log, which {what}"
            f"{': ' if changed else ''}{changed}: train from the first row into another --model"
        )
