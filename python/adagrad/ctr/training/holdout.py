"""The end of a log, held out: a model learns the rows before it and is measured on the rest.

The split is at a row, not at a file or a byte, so that every format of the same rows is split
alike. Called by ``adagrad train --holdout-last`` and by ``adagrad tune``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from adagrad._text import counted, listed
from adagrad.ctr.logs.log import Log

__all__ = ["count_rows", "learned_rows"]

T = TypeVar("T")


def count_rows(log: Log, take: Callable[[Iterator[T]], T | None]) -> int:
    """Return the number of rows of a log.

    Parquet and Arrow files say it. Any other log is read to its end, as is any log whose broken
    rows are left out.

    Parameters
    ----------
    log : Log
        Not of the standard input, which cannot be read again.
    take : callable
        Returns the next item of an iterator, None at the end; it may raise at a signal.

    Raises
    ------
    LogError
        A row is broken.
    """
    known = log.known_rows()
    if known is not None:
        return known
    batches = log.batches()
    while take(batches) is not None:
        pass
    return log.position.rows


def learned_rows(log: Log, rows: int, share: float) -> int:
    """Return how many of the first rows to learn, so that a share of all is held out.

    Parameters
    ----------
    log : Log
        For the error message.
    rows : int
        Rows of the log.
    share : float
        In (0, 1). The held-out rows are rounded to the nearest number.

    Raises
    ------
    ValueError
        No row is left to learn, or to hold out.
    """
    held_out = round(rows * share)
    if not 0 < held_out < rows:
        raise ValueError(
            f"{listed(log.paths, 3)}: a share of {share:g} of {counted(rows, 'row')} leaves none"
            f" to {'learn' if held_out else 'hold out'}"
        )
    return rows - held_out
