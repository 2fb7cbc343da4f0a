"""Which values of requests the model has never learned, by column, from a sample of the rows.

A value is unseen if the weight of its slot is 0: no training has moved it, or the file does not
list it. At most `RATE` samples a second are taken, of at most `ROWS` rows of a request each.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad.ctr.encoding.columns import open_columns
from adagrad.ctr.encoding.fields import derived
from adagrad.serving.metrics import Counts
from adagrad.serving.scorer import Scorer

__all__ = ["Sampler"]

Ints = npt.NDArray[np.int64]

RATE = 20
ROWS = 64

LOG = logging.getLogger("adagrad.serve")


class Sampler:
    """Takes samples of rows that were answered, and counts their values."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self._next = 0.0

    def offer(self, rows: Any, scorer: Scorer) -> None:
        """Count the values of some rows, if the last sample is long enough ago."""
        now = time.monotonic()
        if now < self._next or not len(rows):
            return
        self._next = now + 1 / RATE
        some = rows[:ROWS] if isinstance(rows, list) else rows.slice(0, ROWS)
        try:
            self.counts.sample(len(some), *_looked_up(some, scorer))
        except Exception:  # a count is no reason to refuse an answer
            LOG.exception("cannot count unseen values")


def _looked_up(rows: Any, scorer: Scorer) -> tuple[Ints, Ints, Ints]:
    """Return the values of each column, those among them that are unseen, and rows without one."""
    columns = list(scorer.columns)
    places = {name: at for at, name in enumerate(columns)}
    values, unseen, missing = np.zeros((3, len(columns)), np.int64)
    table = open_columns(rows, wanted=columns).read_all()
    encoder: Any = scorer._encoder
    fields = encoder._names(derived(encoder.fields_))
    x: Any = encoder.transform(table)
    weights = scorer.weights(x.slots)
    of_entries = np.tile(x.fields, len(x)) if x.is_fixed else x.fields
    for field, name in enumerate(fields):
        column = name if name in places else name.rpartition(".")[0]
        if column not in places:
            continue  # a cross
        chosen = of_entries == field
        values[places[column]] += int(chosen.sum())
        unseen[places[column]] += int((weights[chosen] == 0).sum())
    for name, at in places.items():
        missing[at] = table.column(name).null_count
    return values, unseen, missing
