"""Click learners: from logs to a calibrated model, in one pass, on every core."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from adagrad.ctr.encoder import HashingEncoder
from adagrad.ctr.examples import Examples
from adagrad.ctr.factorization import FactorizationMachine, FieldAwareFactorizationMachine
from adagrad.ctr.logistic import LogisticRegression

if TYPE_CHECKING:
    from adagrad.ctr._estimator import ClickLearner

__all__ = [
    "Examples",
    "FactorizationMachine",
    "FieldAwareFactorizationMachine",
    "HashingEncoder",
    "LogisticRegression",
    "load",
]


def load(path: str | os.PathLike[str]) -> ClickLearner:
    """Read a learner from a file that its `save` wrote.

    Parameters
    ----------
    path : str or PathLike

    Returns
    -------
    ClickLearner
        Of the class that was saved; it predicts and learns on with the same bits.

    Raises
    ------
    adagrad.TableFileError
        Where the file is foreign, newer, truncated or corrupted.
    OSError
        Where it cannot be read.
    """
    from adagrad.ctr import files

    return files.read(path)[0]
