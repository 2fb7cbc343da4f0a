"""Click learners: from logs to a calibrated model in one pass, on every core.

The public names come from the rooms below: ``logs`` reads, ``encoding`` hashes, ``learners`` learn,
``training`` runs over logs and ``diagnosis`` judges a log in advance.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adagrad.ctr.encoding.encoder import HashingEncoder
    from adagrad.ctr.encoding.examples import Examples
    from adagrad.ctr.learners.estimator import ClickLearner
    from adagrad.ctr.learners.factorization import (
        FactorizationMachine,
        FieldAwareFactorizationMachine,
    )
    from adagrad.ctr.learners.logistic import LogisticRegression

__all__ = [
    "Examples",
    "FactorizationMachine",
    "FieldAwareFactorizationMachine",
    "HashingEncoder",
    "LogisticRegression",
    "load",
]

# Imported on first use: reading logs and holding a shard of a model do not need scikit-learn, which
# takes a second or more to import.
_HOMES = {
    "Examples": "encoding.examples",
    "FactorizationMachine": "learners.factorization",
    "FieldAwareFactorizationMachine": "learners.factorization",
    "HashingEncoder": "encoding.encoder",
    "LogisticRegression": "learners.logistic",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load(path: str | os.PathLike[str]) -> ClickLearner:
    """Read a learner from a file written by its `save`.

    Parameters
    ----------
    path : str or PathLike
        The file.

    Returns
    -------
    ClickLearner
        A learner of the class that was saved. It predicts and continues to learn with the same
        bits.

    Raises
    ------
    adagrad.TableFileError
        If the file is foreign, newer, truncated or corrupted.
    OSError
        If the file cannot be read.
    """
    from adagrad.ctr.learners import files
    from adagrad.ctr.training.state import carried

    estimator, extra = files.read(path)
    estimator._extra = carried(path, estimator, extra)
    return estimator
