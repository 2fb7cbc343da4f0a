"""One pass over examples: its logloss, and with ``verbose`` a line about it every second or so."""

from __future__ import annotations

import math
import sys
import time

from adagrad.ctr.learners.labeled import LabeledExamples
from adagrad.ctr.learners.progressive import Floats, Progressive

__all__ = ["Pass"]

SECONDS = 1.0
"""Least time between two lines about one pass."""


class Pass:
    """The examples of one pass, as they are learned.

    Parameters
    ----------
    title : str
        What the lines begin with.
    examples : int
        Examples of the whole pass.
    verbose : bool
        Whether to print lines to the standard error.
    """

    def __init__(self, title: str, examples: int, verbose: bool) -> None:
        self._title, self._examples, self._verbose = title, examples, verbose
        self._learned = 0
        self._weight = self._loss = 0.0
        self._began = self._spoke = time.monotonic()

    @property
    def logloss(self) -> float:
        """Mean loss of the predictions made before learning; NaN before the first one."""
        return self._loss / self._weight if self._weight else math.nan

    def add(self, margins: Floats, part: LabeledExamples) -> None:
        """Count examples that are learned, with the predictions for them.

        Parameters
        ----------
        margins : ndarray of float32, shape [n]
        part : LabeledExamples
        """
        board = Progressive()
        board.add(margins, part.y, part.weights)
        self.count(len(part), float(board.sums[0]), float(board.sums[2]))

    def count(self, examples: int, weight: float, loss: float) -> None:
        """Count examples that are learned, their weight, and the summed loss of predictions."""
        self._learned += examples
        self._weight += weight
        self._loss += loss
        is_whole = self._learned >= self._examples
        if self._verbose and (is_whole or time.monotonic() - self._spoke >= SECONDS):
            self._spoke = time.monotonic()
            of = "" if is_whole else f" of {self._examples:,}"
            print(
                f"{self._title}: {self._learned:,}{of} examples, logloss {self.logloss:.5f},"
                f" {self._spoke - self._began:.1f} s",
                file=sys.stderr,
                flush=True,
            )
