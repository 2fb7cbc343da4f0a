"""Learners from files and to files: what `adagrad.ctr.load` and the commands call.

The layout of a file is in `file_format`.
"""

from __future__ import annotations

from typing import Any

from adagrad.ctr.learners import file_format
from adagrad.ctr.learners.estimator import ClickLearner
from adagrad.ctr.learners.factorization import FactorizationMachine, FieldAwareFactorizationMachine
from adagrad.ctr.learners.file_format import StrPath, Tables
from adagrad.ctr.learners.logistic import LogisticRegression
from adagrad.tables.tensors import TableFileError

__all__ = ["CLASSES", "Tables", "read", "write"]

CLASSES: dict[str, type[ClickLearner]] = {
    "lr": LogisticRegression,
    "fm": FactorizationMachine,
    "ffm": FieldAwareFactorizationMachine,
}
"""The class of each kind of model."""


def write(
    path: StrPath, estimator: ClickLearner, extra: Any = None, tables: Tables | None = None
) -> None:
    """Write a learner to a file, or replace one as a whole.

    Parameters
    ----------
    path : str or PathLike
    estimator : ClickLearner
        Fitted; see `ClickLearner.save`.
    extra : object, optional
        Anything that JSON can hold. `read` returns it.
    tables : Tables, optional
        See `file_format.write`.

    Raises
    ------
    TypeError
        If JSON cannot hold a parameter, a class or `extra`.
    OSError
        If the file cannot be written. The old file is untouched then.
    """
    file_format.write(path, estimator._saved(extra), tables)


def read(path: StrPath) -> tuple[ClickLearner, Any]:
    """Read what `write` wrote.

    Parameters
    ----------
    path : str or PathLike

    Returns
    -------
    estimator : ClickLearner
        Learns on with the bits of the one that was written.
    extra : object
        As given to `write`.

    Raises
    ------
    adagrad.TableFileError
        If the file is foreign, newer, truncated or corrupted.
    OSError
        If it cannot be read.
    """
    saved = file_format.read(path)
    try:
        kind = saved.model.settings.kind
        if saved.class_name != CLASSES[kind].__name__:
            raise ValueError(f"no {saved.class_name!r:.60} is of kind {kind}")
        estimator = CLASSES[kind]._restored(path, saved)
    except TableFileError:
        raise
    except file_format.INVALID as error:
        raise file_format.corrupted(path, error) from error
    return estimator, saved.extra
