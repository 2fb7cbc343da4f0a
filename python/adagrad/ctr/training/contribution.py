"""What each column contributes: how much the logloss of a sample rises without it.

Called by ``adagrad inspect`` and the report. A sample is learned once with all columns and once
without each, by logistic regression with its defaults.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse

from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.encoding.fields import derived
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings

__all__ = ["Contribution", "Contributions", "contributions"]

MAX_COLUMNS = 64
MAX_ROWS = 20_000
MIN_ROWS = 200
MAX_ENTRIES = 60_000_000
"""Entries learned in all, over all replays: a few seconds on one processor."""

Floats = npt.NDArray[np.float32]


class Contribution(NamedTuple):
    """What a column contributes.

    Attributes
    ----------
    column : str
    rise : float
        Mean logloss without the column and its crosses minus that with all columns, in nats. Below
        0 the predictions are better without it.
    error : float
        Standard error of the rise, from the differences example by example.
    """

    column: str
    rise: float
    error: float

    def texts(self) -> tuple[str, str, str]:
        """Return the attributes as texts."""
        return self.column, f"{round(self.rise, 5) + 0.0:+.5f}", f"{self.error:.5f}"  # no -0


class Contributions(NamedTuple):
    """What the columns contribute.

    Attributes
    ----------
    rows : int
        Rows of the sample that were learned.
    logloss : float
        Mean loss of the predictions before learning, with all columns.
    columns : list of Contribution
        The largest rise first.
    left_out : int
        Columns that were not tried, because there are too many.
    """

    rows: int
    logloss: float
    columns: list[Contribution]
    left_out: int

    def text(self) -> str:
        """Return what the numbers are, and what they are not."""
        which = ""
        if self.left_out:
            which = f" of the {len(self.columns)} columns that move the predictions most"
        return (
            f"Logistic regression learned the first {self.rows:,} rows once with all columns"
            f" (logloss {self.logloss:.5f}) and once without each{which}, with its defaults. Shown"
            " is how much the logloss of the predictions before learning rises without a column"
            " and its crosses. It is what a column adds to the others in a small sample: columns"
            " that say the same each seem to add nothing, rare values have had no time to be"
            " learned, and a column that adds nothing here may do so in a longer log. It does not"
            " say what causes a click."
        )


def contributions(
    encoder: HashingEncoder, x: Examples, y: Floats, weights: Floats
) -> Contributions | None:
    """Learn a sample with all columns, and without each of them in turn.

    Parameters
    ----------
    encoder : HashingEncoder
        It has made `x`, and knows its columns.
    x : Examples
        The sample.
    y : ndarray of float32, shape [n]
        Labels, 0 or 1.
    weights : ndarray of float32, shape [n_slots]
        Linear weights of the trained model. Of more than `MAX_COLUMNS` columns, those are tried
        whose weights move the predictions most.

    Returns
    -------
    Contributions or None
        None if the sample says nothing: it has too few rows, one class, or one column.
    """
    columns = list(encoder.fields_)
    # Leaving out a column leaves out its crosses. A column of moments has several fields.
    owner = {field: name for name in columns for field in derived({name: encoder.fields_[name]})}
    crosses = [[owner[field] for field in cross] for cross in encoder.crosses]
    parts = [[name] for name in owner.values()] + crosses
    tried = _strongest(x, columns, parts, weights)
    work = max(1, len(x.slots)) / max(1, len(x)) * (len(tried) + 1)
    rows = min(len(x), MAX_ROWS, int(MAX_ENTRIES / work))
    y = y[:rows]
    if rows < MIN_ROWS or len(columns) < 2 or not 0.0 < y.mean() < 1.0:
        return None
    replay = _Replay(x[:rows], y)
    whole = replay.losses(np.ones(len(parts), bool))
    found = []
    for name in tried:
        without = replay.losses(np.array([name not in part for part in parts]))
        rises = without - whole
        error = float(rises.std(ddof=1)) / math.sqrt(rows)
        found.append(Contribution(name, float(rises.mean()), error))
    found.sort(key=lambda one: -one.rise)
    return Contributions(rows, float(whole.mean()), found, len(columns) - len(tried))


def _strongest(
    x: Examples, columns: list[str], parts: Sequence[list[str]], weights: Floats
) -> list[str]:
    if len(columns) <= MAX_COLUMNS:
        return columns
    moved = np.abs(weights[x.slots]) * (1.0 if x.values is None else np.abs(x.values))
    of_field = np.bincount(_fields(x), moved, len(parts))
    of_column = dict.fromkeys(columns, 0.0)
    for part, amount in zip(parts, of_field.tolist(), strict=True):
        for name in part:
            of_column[name] += amount
    return sorted(columns, key=lambda name: -of_column[name])[:MAX_COLUMNS]


def _fields(x: Examples) -> npt.NDArray[np.uint16]:
    """Return the field of each entry."""
    assert x.fields is not None
    return np.tile(x.fields, len(x)) if x.is_fixed else x.fields


class _Replay:
    """A sample that is learned from the start, again and again, with some of its fields."""

    def __init__(self, x: Examples, y: Floats) -> None:
        # In a model of the slots that occur, which fits into the caches.
        slots, self._slots = np.unique(x.slots, return_inverse=True)
        self._x, self._y, self._n_slots = x, y, max(1, len(slots))
        self._fields = _fields(x)
        self._row = np.repeat(np.arange(len(x)), np.diff(x.indptr))

    def losses(self, kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Return the loss of each example before it is learned, with the fields that are kept."""
        some = kept[self._fields]
        ends = np.cumsum(np.bincount(self._row[some], minlength=len(self._y)))
        values = self._x.values
        data = np.ones(int(ends[-1]), np.float32) if values is None else values[some]
        x = Examples.from_csr(
            scipy.sparse.csr_matrix(
                (data, self._slots[some], np.concatenate([[0], ends])),
                shape=(len(self._y), self._n_slots),
            )
        )
        model = Model(Settings("lr", self._n_slots, None))
        margins = model.learn(x, self._y).astype(np.float64)
        return np.logaddexp(0.0, np.where(self._y > 0, -margins, margins))
