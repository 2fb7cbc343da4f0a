"""Click learners: from logs to a calibrated model, in one pass, on every core."""

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

# Imported when they are asked for: who reads logs or holds a shard of a model needs nothing of
# scikit-learn, which takes a second and more to import.
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
    from adagrad.ctr.learners import files

    return files.read(path)[0]
