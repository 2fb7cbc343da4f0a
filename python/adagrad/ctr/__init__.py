"""Click learners: from logs to a calibrated model, in one pass, on every core."""

from __future__ import annotations

from adagrad.ctr.encoder import HashingEncoder
from adagrad.ctr.examples import Examples
from adagrad.ctr.factorization import FactorizationMachine, FieldAwareFactorizationMachine
from adagrad.ctr.logistic import LogisticRegression

__all__ = [
    "Examples",
    "FactorizationMachine",
    "FieldAwareFactorizationMachine",
    "HashingEncoder",
    "LogisticRegression",
]
