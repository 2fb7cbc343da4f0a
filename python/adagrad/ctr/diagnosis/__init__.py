"""Diagnosis of a log before training: rare features, conditioning, table size, predictability."""

from adagrad.ctr.diagnosis.diagnosis import Diagnoser
from adagrad.ctr.diagnosis.verdict import Diagnosis

__all__ = ["Diagnoser", "Diagnosis"]
