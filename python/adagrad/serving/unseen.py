"""Which values of requests the model has never learned, by column, from a sample of the rows.

A value is unseen if the weight of its slot is 0: no training has moved it, or the file does not
list it. A missing value counts as a value, if the model has a slot for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad.ctr.encoding.columns import open_columns
from adagrad.ctr.encoding.fields import derived
from adagrad.serving.scorer import Scorer

__all__ = ["ROWS", "looked_up"]

Counts = npt.NDArray[np.int64]

ROWS = 64  # of a request that are looked at, at most


def looked_up(rows: Any, scorer: Scorer) -> tuple[int, Counts, Counts, Counts]:
    """Return the rows looked at and, by column, all values, those unseen, and rows without one.

    Parameters
    ----------
    rows : list of dict, or pyarrow.Table
        Rows that were answered.
    scorer : Scorer
        What has answered them.
    """
    columns = list(scorer.columns)
    places = {name: at for at, name in enumerate(columns)}
    values, unseen, missing = np.zeros((3, len(columns)), np.int64)
    encoder: Any = scorer._encoder
    some = rows[:ROWS] if isinstance(rows, list) else rows.slice(0, ROWS)
    if encoder is None or not len(some):  # slots have no columns
        return 0, values, unseen, missing
    table = open_columns(some, wanted=columns).read_all()
    x: Any = encoder.transform(table)
    of_entries = np.tile(x.fields, len(x)) if x.is_fixed else x.fields
    untrained = scorer.weights(x.slots) == 0
    for field, name in enumerate(encoder._names(derived(encoder.fields_))):
        column = name if name in places else name.rpartition(".")[0]
        if column in places:  # not of a cross
            chosen = of_entries == field
            values[places[column]] += np.count_nonzero(chosen)
            unseen[places[column]] += np.count_nonzero(chosen & untrained)
    for name, at in places.items():
        missing[at] = table.column(name).null_count
    return len(some), values, unseen, missing
