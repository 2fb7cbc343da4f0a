"""Tables of any size, cut into record batches of one size."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from checks import need_packages

need_packages("pyarrow")

import pyarrow as pa

from adagrad import _batches
from adagrad._batches import rechunk


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=6),
    rows=st.integers(1, 250),
    start=st.integers(0, 400),
)
def test_batches_are_the_whole(sizes, rows, start):
    table = pa.table({"i": pa.array(range(sum(sizes)))})
    ends = np.cumsum([0, *sizes])
    parts = [table.slice(low, high - low) for low, high in itertools.pairwise(ends)]
    batches = list(rechunk(iter(parts), rows, start))
    left = max(sum(sizes) - start, 0)
    assert [b.num_rows for b in batches] == [rows] * (left // rows) + [left % rows] * (
        left % rows > 0
    )
    assert [i for b in batches for i in b.column(0).to_pylist()] == list(range(start, sum(sizes)))


def test_a_batch_within_a_table_is_a_slice():
    table = pa.table({"x": pa.array(np.arange(256.0))})
    batches = list(rechunk([table], 64))
    address = table.column(0).chunk(0).buffers()[1].address
    assert all(batch.column(0).buffers()[1].address == address for batch in batches)


def test_a_column_too_large_for_one_array_makes_several_batches(monkeypatch):
    monkeypatch.setattr(_batches, "LARGEST", 20_000)
    parts = [pa.table({"x": [f"{k:0100d}" for k in range(low, low + 90)]}) for low in (0, 90, 180)]
    batches = list(rechunk(parts, 256))
    assert [k for b in batches for k in b.column(0).to_pylist()] == [
        f"{k:0100d}" for k in range(270)
    ]
    ends = np.cumsum([b.num_rows for b in batches])
    assert len(ends) > 2
    assert all(ends[:-1] % 64 == 0)
