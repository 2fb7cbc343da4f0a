"""Rows of matrices: checked without a copy, and the same examples whatever their dtypes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from adagrad.ctr import Examples
from adagrad.ctr.encoding.examples import MAX_SLOTS, REGIONS, region_size
from adagrad.ctr.encoding.matrix_rows import MatrixRows
from checks import assert_same_bits
from matrix_reference import arranged

INDICES = ("i1", "i4", "i8", "u4", "u8", ">i4", ">i8")
USUAL_INDICES = ("i4", "i8", "u4", "u8")
DATA = ("f4", "f8", "i1", "u1", "i4", "i8", "u8", "?", ">f4", ">f8")


def laid_out(array, how):
    """The same array, in memory of another kind."""
    if how == "strided":
        return np.repeat(array, 2)[::2]
    if how == "unaligned":
        return np.frombuffer(b"x" + array.tobytes(), np.uint8)[1:].view(array.dtype)
    array = array.copy()
    array.flags.writeable = how != "read-only"
    return array


def assembled(shape, indptr, indices, data):
    """A matrix of these very arrays, which SciPy neither copies nor casts."""
    matrix = scipy.sparse.csr_matrix(shape, dtype=np.float32)
    matrix.indptr, matrix.indices, matrix.data = indptr, indices, data
    return matrix


@st.composite
def matrices(draw, indices=INDICES, data=DATA):
    """Unsorted rows with repeated columns, explicit zeros, empty rows and rows of 250 and more."""
    n_slots = draw(st.sampled_from([1, 2, 16, 17, 100, 127]))
    lengths = draw(st.lists(st.sampled_from([0, 1, 2, 5, 40, 254, 255, 256, 700]), max_size=6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    total = sum(lengths)
    columns = rng.integers(0, n_slots, total)
    if draw(st.booleans()):
        columns.sort()
    kind = draw(st.sampled_from(["ones", "nearly ones", "few", "any", "large"]))
    values = {
        "ones": lambda: np.ones(total),
        "nearly ones": lambda: np.ones(total) + rng.choice([0, 1e-12, 1e-7], total),
        "few": lambda: rng.integers(0, 3, total).astype(float),
        "any": lambda: rng.standard_normal(total),
        "large": lambda: rng.choice([-(2.0**48), 0, 2.0**-140, 2.0**48], total),
    }[kind]()
    of = draw(st.sampled_from(["f4", "f8", ">f8"] if kind in ("large", "any") else data))
    layout = draw(st.sampled_from(["plain", "strided", "read-only", "unaligned"]))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return assembled(
        (len(lengths), n_slots),
        laid_out(starts.astype(draw(st.sampled_from(["i4", "i8", "u4", ">i8"]))), layout),
        laid_out(columns.astype(draw(st.sampled_from(indices))), layout),
        laid_out(values.astype(of), layout),
    )


def assert_examples(x, expected, n_slots):
    slots, values, bounds = expected
    assert x.n_slots == n_slots
    assert_same_bits(x.slots, slots)
    assert_same_bits(x.bounds, bounds)
    if (values == 1).all():
        assert x.values is None
    else:
        assert_same_bits(x.values, values)


@given(matrices(), st.integers(0, 400))
def test_examples_of_a_matrix(matrix, more):
    """They equal the reference for every dtype and layout, and share no memory."""
    n_slots = matrix.shape[1] + more
    given_arrays = [matrix.indptr, matrix.indices, matrix.data]
    before = [a.tobytes() for a in given_arrays]
    x = Examples.from_csr(matrix, n_slots=n_slots)
    assert_examples(x, arranged(matrix, n_slots), n_slots)
    for array, old in zip(given_arrays, before, strict=True):
        assert array.tobytes() == old
        for part in (x.slots, x.bounds, x.values):
            assert part is None or not np.shares_memory(part, array)


@given(matrices(USUAL_INDICES, ("f4", "f8", "i8", "?")), st.data())
def test_rows_slices_and_selections(matrix, data):
    """Rows need no copy to be sliced, and every selection of them equals the reference."""
    rows, n_slots = matrix.shape
    found = MatrixRows.of(matrix)
    assert len(found) == rows
    assert np.array_equal(found.indptr, matrix.indptr)
    assert_examples(found.examples(), arranged(matrix, n_slots), n_slots)
    start, stop = data.draw(st.integers(-8, 8)), data.draw(st.integers(-8, 8))
    part = found[start:stop]
    which = range(rows)[start:stop]
    assert len(part) == len(which)
    some = part.examples()
    slots, values, bounds = arranged(matrix, n_slots, which)
    assert_same_bits(some.slots, slots)
    assert_same_bits(some.bounds, bounds)
    order = data.draw(st.lists(st.integers(0, rows - 1), max_size=9) if rows else st.just([]))
    for threads in (1, 3):
        found.threads = threads
        taken = found.take(np.array(order, np.intp))
        slots, values, bounds = arranged(matrix, n_slots, order)
        assert_same_bits(taken.slots, slots)
        assert_same_bits(taken.bounds, bounds)
        expected = np.ones(len(slots), np.float32) if found.values is None else values
        assert_same_bits(expected if taken.values is None else taken.values, expected)


@pytest.mark.parametrize("index", USUAL_INDICES)
@pytest.mark.parametrize("value", ["f4", "f8"])
def test_right_rows_are_not_copied(rng, index, value):
    matrix = assembled(
        (3, 100),
        np.array([0, 2, 2, 5], np.int32),
        rng.integers(0, 100, 5).astype(index),
        rng.standard_normal(5).astype(value),
    )
    rows = MatrixRows.if_right(matrix)
    assert np.shares_memory(rows.slots, matrix.indices)
    assert np.shares_memory(rows.values, matrix.data)
    matrix.data[:] = 1
    assert MatrixRows.if_right(matrix).values is None


@pytest.mark.parametrize("length", [3, 255, 256, 1000])
@pytest.mark.parametrize("value", ["f4", "f8"])
@pytest.mark.parametrize("index", ["i4", "i8"])
def test_sorted_entries_are_shared(rng, index, value, length):
    """Where they have the types of examples; not if one row of many has one entry out of order."""
    indptr = np.arange(0, 5 * length + 1, length)
    indices = np.sort(rng.integers(0, 700, (5, length)), axis=1).astype(index)
    data = rng.standard_normal(5 * length).astype(value)
    matrix = assembled((5, 700), indptr, indices.ravel(), data)
    expected = arranged(matrix[1:], 700)
    found = MatrixRows.of(matrix)[1:].examples()
    assert_examples(found, expected, 700)
    shared = (index, value) == ("i4", "f4")
    assert np.shares_memory(found.slots, matrix.indices) == shared
    assert np.shares_memory(found.values, matrix.data) == shared
    assert not np.shares_memory(MatrixRows.of(matrix).examples(copy=True).slots, matrix.indices)
    matrix.indices[3 * length : 3 * length + 2] = 699, 0
    found = MatrixRows.of(matrix)[1:].examples()
    assert_examples(found, arranged(matrix[1:], 700), 700)
    assert not np.shares_memory(found.slots, matrix.indices)


@given(st.integers(1, MAX_SLOTS), st.data())
def test_regions_of_any_size(n_slots, data):
    """A slot has the region that a division gives it: beside all borders, and anywhere."""
    size = region_size(n_slots)
    slots = [r * size + at for r in range(REGIONS + 1) for at in (-1, 0, 1)]
    slots += data.draw(st.lists(st.integers(0, n_slots - 1), max_size=20))
    slots = np.array([s for s in slots if 0 <= s < n_slots], np.int64)
    ones = np.ones(len(slots), np.float32)
    matrix = assembled((1, n_slots), np.array([0, len(slots)]), slots, ones)
    slots, _, bounds = arranged(matrix, n_slots)
    x = Examples.from_csr(matrix)
    assert_same_bits(x.slots, slots)
    assert_same_bits(x.bounds, bounds)


@pytest.mark.parametrize("value", ["f4", "f8"])
@pytest.mark.parametrize("index", ["i4", "i8"])
def test_threads_arrange_alike(rng, index, value):
    """Enough entries that several threads share them."""
    lengths = rng.integers(0, 300, 3000)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    total = int(indptr[-1])
    assert total > 6 * 65_536
    matrix = assembled(
        (3000, 5000),
        indptr,
        rng.integers(0, 5000, total).astype(index),
        rng.standard_normal(total).astype(value),
    )
    alone, shared = (MatrixRows.of(matrix, threads=threads) for threads in (1, 5))
    order = rng.permutation(3000)
    for one, other in (
        (alone.examples(), shared.examples()),
        (alone.take(order), shared.take(order)),
    ):
        for name in ("slots", "values", "bounds"):
            assert_same_bits(getattr(one, name), getattr(other, name), name)
    # A wrong entry is found in whichever part it is.
    for at in (0, total // 2, total - 1):
        for array, wrong in ((matrix.indices, 5000), (matrix.data, np.nan)):
            before = array[at]
            array[at] = wrong
            assert MatrixRows.if_right(matrix, threads=5) is None
            array[at] = before
    assert MatrixRows.if_right(matrix, threads=5) is not None


WRONG_VALUES = [np.nan, np.inf, -np.inf, 2.0**48 * (1 + 2.0**-20), 1e39, -(2.0**1000)]


@pytest.mark.parametrize("wrong", WRONG_VALUES)
@pytest.mark.parametrize("value", ["f4", "f8"])
def test_wrong_values(wrong, value):
    with np.errstate(over="ignore"):
        data = np.array([1, 1, wrong, 1]).astype(value)
    matrix = assembled((2, 9), np.array([0, 1, 4]), np.array([0, 8, 3, 3]), data)
    assert MatrixRows.if_right(matrix) is None
    what = "is more than" if abs(data[2]) < 1e38 else "is not finite in float32"
    with pytest.raises(ValueError, match=rf"X\[1, 3\] = .* {what}"):
        MatrixRows.of(matrix)
    data[2] = 2.0**48
    assert MatrixRows.if_right(matrix) is not None


def test_what_lies_behind_the_last_entry_does_not_count():
    matrix = assembled(
        (1, 3), np.array([0, 2]), np.array([2, 0, 99]), np.array([1, 1, np.nan], np.float32)
    )
    assert MatrixRows.if_right(matrix).values is None
    assert_examples(Examples.from_csr(matrix), arranged(matrix, 3), 3)


def test_positions_beyond_the_rows():
    rows = MatrixRows.of(scipy.sparse.csr_matrix(np.eye(3)))
    for wrong in (3, -1, 2**62):
        with pytest.raises(IndexError, match=rf"order\[1\] = {wrong} is no row: there are 3"):
            rows.take(np.array([0, wrong]))
