"""Columns to encode, and encoded examples in the form of the reference."""

from __future__ import annotations

import itertools

import numpy as np

from adagrad.ctr.encoding.examples import Examples

ROWS = {
    "site": ["a.com", "b.org", None, "a.com"],
    "hits": [3, 0, 12345, 7],
    "price": [0.25, float("nan"), 9.5, -1.0],
    "new": [True, False, True, True],
}


def entries_of(x):
    """Return the entries of each example, as the reference gives them."""
    checked = Examples(
        x.slots,
        x.bounds,
        x.n_slots,
        x.n_examples,
        values=x.values,
        fields=x.fields,
        n_fields=x.n_fields,
    )
    ends = checked.indptr
    fields = np.tile(x.fields, len(x)) if x.is_fixed else x.fields
    values = np.ones(len(x.slots), np.float32) if x.values is None else x.values
    flat = list(zip(x.slots.tolist(), fields.tolist(), values, strict=True))
    return [flat[a:b] for a, b in itertools.pairwise(ends)]


def many(rows, columns=9):
    """Return columns long enough for several of the encoder's blocks."""
    i = np.arange(rows)
    return {f"c{j}": (i * (j + 3) % 997).astype(str) for j in range(columns)}
