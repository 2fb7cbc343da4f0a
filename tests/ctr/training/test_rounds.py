"""The batches of a run that begins from a model end where those of one run over all logs do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import need_packages

need_packages("pyarrow", "sklearn")

import pyarrow as pa
import scipy.sparse

from adagrad.ctr import Examples
from adagrad.ctr.logs.log import Position
from adagrad.ctr.logs.rows import LogError
from adagrad.ctr.training.pipeline import Encoded
from adagrad.ctr.training.rounds import rechunked

ROWS = 64
N = 300
X = Examples.from_csr(scipy.sparse.identity(N, np.float32, "csr"))
Y = (np.arange(N) % 2).astype(np.float32)


def batches(cuts: list[int], broken: bool = False) -> Iterator[Encoded]:
    for begin, end in zip([0, *cuts], cuts, strict=False):
        table = pa.record_batch({"n": np.arange(begin, end)})
        position = Position("log", end, end)
        yield Encoded(X[begin:end], Y[begin:end], table, position, {}, weights=Y[begin:end] + 1)
    if broken:
        raise LogError("log", 1, "broken")


@given(st.lists(st.integers(1, N), min_size=1, max_size=8, unique=True), st.integers(0, 200))
def test_batches_end_at_multiples_of_all_examples(cuts: list[int], learned: int) -> None:
    found = list(rechunked(batches(sorted(cuts)), ROWS, learned))
    ends = np.cumsum([len(batch.x) for batch in found])
    assert ends[-1] == max(cuts)
    assert [batch.position.rows for batch in found] == ends.tolist()
    assert all((learned + end) % ROWS == 0 for end in ends[:-1].tolist())
    assert np.array_equal(np.concatenate([batch.x.slots for batch in found]), np.arange(ends[-1]))
    assert np.array_equal(np.concatenate([batch.y for batch in found]), Y[: ends[-1]])
    assert np.array_equal(np.concatenate([batch.weights for batch in found]), Y[: ends[-1]] + 1)


def test_a_broken_row_comes_after_the_rows_before_it() -> None:
    found = rechunked(batches([70, 90], broken=True), ROWS, 10)
    assert [next(found).position.rows for _ in range(2)] == [54, 90]
    with pytest.raises(LogError, match="broken"):
        next(found)
