"""Ids and values of a log in columns, which need not be as orderly as those of a libsvm file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from adagrad.ctr.training.encoders import SlotEncoder


def batch(ids, values):
    return pa.record_batch(
        {
            "ids": pa.array(ids, pa.list_(pa.int64())),
            "values": pa.array(values, pa.list_(pa.float32())),
        }
    )


@pytest.mark.parametrize(
    ("ids", "values", "message"),
    [
        ([[1, -1]], [[1, 2]], "column 'ids' has -1"),
        ([[1, 3], [2]], [[1], [1, 2]], "as many numbers in 'values' as in 'ids'"),
        ([[1, None]], [[1, 2]], "as many numbers"),
        ([[1, 2]], [[1, None]], "as many numbers"),
        ([None], [[1]], "as many numbers"),
    ],
)
def test_rows_that_do_not_fit(ids, values, message):
    with pytest.raises(ValueError, match=message):
        SlotEncoder(16).transform(batch(ids, values))


def test_a_missing_list_is_empty_even_where_it_has_items():
    rows = batch([[1, 2], [3], [4]], [[1, 2], [3], [4]])
    hidden = [
        pa.ListArray.from_arrays(column.offsets, column.values, mask=pa.array([False, True, False]))
        for column in rows.columns
    ]
    x = SlotEncoder(16).transform(pa.record_batch(hidden, names=["ids", "values"])).to_csr()
    assert x.toarray()[:, :5].tolist() == [[0, 1, 2, 0, 0], [0] * 5, [0, 0, 0, 0, 4]]
    assert np.array_equal(x[::2].toarray(), SlotEncoder(16).transform(rows).to_csr()[::2].toarray())
