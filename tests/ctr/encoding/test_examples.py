"""Batches of examples: conversion from CSR and back, slices, joins and rejected input."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from adagrad.ctr import Examples
from adagrad.ctr.encoding.examples import concatenate, region_size
from checks import assert_same_bits
from ctr_data import batch

PARTS = ("slots", "bounds", "values", "fields")


@st.composite
def matrices(draw):
    """Draw unsorted CSR matrices of any shape, with repeated columns and empty rows."""
    n_slots = draw(st.sampled_from([1, 2, 16, 17, 127, 128, 1000]))
    lengths = draw(st.lists(st.integers(0, 6), max_size=8))
    total = sum(lengths)
    columns = draw(st.lists(st.integers(0, n_slots - 1), min_size=total, max_size=total))
    number = st.one_of(st.just(1.0), st.floats(-(2**48), 2**48, width=32))
    values = draw(st.lists(number, min_size=total, max_size=total))
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return scipy.sparse.csr_matrix(
        (np.array(values, np.float32), np.array(columns, np.int64), indptr),
        shape=(len(lengths), n_slots),
    )


def entries(x, i):
    """Return the entries of an example as pairs of slot and value."""
    part = slice(*x.indptr[i : i + 2])
    values = np.ones(len(x.slots)) if x.values is None else x.values
    return list(zip(x.slots[part].tolist(), values[part].tolist(), strict=True))


@given(matrices())
def test_from_csr_and_back(matrix):
    x = Examples.from_csr(matrix)
    assert x.shape == matrix.shape
    assert len(x) == matrix.shape[0]
    size = region_size(x.n_slots)
    for i in range(len(x)):
        part = slice(*matrix.indptr[i : i + 2])
        given = zip(matrix.indices[part].tolist(), matrix.data[part].tolist(), strict=True)
        # ordered by region, and within a region by appearance
        assert entries(x, i) == sorted(given, key=lambda entry: entry[0] // size)
    back = x.to_csr()
    assert back.dtype == np.float32
    assert back.shape == matrix.shape
    assert (back != matrix).nnz == 0
    assert_equal(Examples.from_csr(back), x)


def assert_equal(a, b):
    assert a.shape == b.shape
    assert a.n_fields == b.n_fields
    for name in PARTS:
        left, right = getattr(a, name), getattr(b, name)
        if right is None:
            assert left is None, name
        else:
            assert_same_bits(left, right, name)


@given(matrices(), st.data())
@settings(max_examples=60)
def test_slices_and_selections_equal_those_of_the_matrix(matrix, data):
    x = Examples.from_csr(matrix)
    n, n_slots = x.shape
    start, stop = data.draw(st.integers(-9, 9)), data.draw(st.integers(-9, 9))
    assert [entries(x[start:stop], i) for i in range(len(x[start:stop]))] == [
        entries(x, i) for i in range(n)[start:stop]
    ]
    order = data.draw(st.lists(st.integers(0, n - 1), max_size=12) if n else st.just([]))
    order = np.array(order, np.intp)
    for taken in (x.take(order), x[order], x[order, ...]):
        assert [entries(taken, i) for i in range(len(taken))] == [entries(x, i) for i in order]
        made = Examples(taken.slots, taken.bounds, n_slots, len(taken), values=taken.values)
        assert_equal(made, taken)
    mask = np.isin(np.arange(n), order)
    assert_equal(x[mask], x.take(np.flatnonzero(mask)))


def with_fields(x, rng):
    n_fields = 5
    length = int(x.bounds[-1]) if x.is_fixed else len(x.slots)
    fields = rng.integers(0, n_fields, length).astype(np.uint16)
    return Examples(
        x.slots, x.bounds, x.n_slots, len(x), values=x.values, fields=fields, n_fields=n_fields
    )


@pytest.mark.parametrize("fields", [False, True], ids=["", "fields"])
@pytest.mark.parametrize("values", [False, True], ids=["ones", "values"])
@pytest.mark.parametrize("fixed", [False, True], ids=["varying", "fixed"])
def test_slices_join_to_the_whole(rng, fixed, values, fields):
    x = batch(rng, 50, 300, fixed=fixed, values=values)
    x = with_fields(x, rng) if fields else x
    assert x.is_fixed == fixed
    cuts = [0, 0, 7, 30, 50]
    parts = [x[a:b] for a, b in itertools.pairwise(cuts)]
    assert np.shares_memory(parts[2].slots, x.slots)
    assert_equal(concatenate(parts), x)
    assert_equal(concatenate([x]), x)
    assert_equal(concatenate([x.take(np.array([i])) for i in range(50)]), x)
    assert_equal(x.take(np.arange(50)), x)
    for copied in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        assert_equal(copied, x)


def test_joining_fixed_and_varying_batches(rng):
    parts = [
        batch(rng, 5, 300, fixed=True, values=True),
        batch(rng, 5, 300, fixed=True),
        batch(rng, 5, 300),
    ]
    joined = concatenate(parts)
    expected = [entries(x, i) for x in parts for i in range(5)]
    assert [entries(joined, i) for i in range(15)] == expected


def test_joining_incompatible_batches_raises(rng):
    x = batch(rng, 3, 300)
    with pytest.raises(ValueError, match="has 301 slots and 0 fields, but the first has 300 and 0"):
        concatenate([x, batch(rng, 3, 301)])
    with pytest.raises(ValueError, match="parts is empty"):
        concatenate([])


def test_repr_shape_and_nbytes(rng):
    x = with_fields(batch(rng, 3, 300, fixed=True), rng)
    assert repr(x) == f"<Examples: 3 of {len(x.slots)} entries in 300 slots, 5 fields>"
    assert x.nbytes == x.slots.nbytes + x.bounds.nbytes + x.fields.nbytes
    assert x.shape == (3, 300)


@pytest.mark.parametrize(
    "matrix",
    [
        np.array([[0, 1], [1, 0]]),
        np.array([[True, False]]),
        np.array([[0.5, 0.0]], np.float16),
        scipy.sparse.coo_array(np.eye(3)),
        scipy.sparse.csc_matrix(np.eye(3)),
        [[0, 2.5], [0, 0]],
    ],
)
def test_accepted_matrices(matrix):
    dense = matrix.toarray() if scipy.sparse.issparse(matrix) else np.asarray(matrix)
    x = Examples.from_csr(matrix, n_slots=7)
    assert x.n_slots == 7
    np.testing.assert_array_equal(x.to_csr().toarray()[:, : dense.shape[1]], dense)


S, B = np.array([0, 5, 17], np.uint32), np.array([0, 2, 3, *[3] * 6], np.uint32)
VARYING = np.array([0, 2, 3, *[3] * 14], np.uint32)
V, FIELDS = np.ones(3, np.float32), np.array([0, 1, 1], np.uint16)
WHOLE = {"slots": S, "bounds": B, "n_slots": 100, "n_examples": 1, "values": V, "fields": FIELDS}
NAN = np.array([1, np.nan, 2], np.float32)
LARGE = np.array([1, 2e15, 3], np.float32)
BAD = {
    "n_slots 0": ({"n_slots": 0}, ValueError, r"n_slots must be from 1 to 2\*\*32, got 0"),
    "n_slots": ({"n_slots": 2**32 + 1}, ValueError, "n_slots must be from 1"),
    "slots int": ({"slots": S.astype(np.int32)}, TypeError, "slots has dtype int32; native uint32"),
    "slots list": ({"slots": [0, 5, 17]}, TypeError, "slots"),
    "slots swapped": ({"slots": S.astype(">u4")}, TypeError, "slots has dtype >u4; native"),
    "slots strided": ({"slots": np.repeat(S, 2)[::2]}, ValueError, "slots"),
    "slots 2-D": ({"slots": S[:, None]}, ValueError, r"slots has shape \(3, 1\); one axis"),
    "range": (
        {"slots": np.array([0, 5, 107], np.uint32)},
        IndexError,
        r"slots\[2\] = 107 is out of range for n_",
    ),
    "region": ({"slots": S[::-1].copy()}, ValueError, r"slots\[0\] = 17 lies in region 1, but bou"),
    "bounds type": ({"bounds": B.astype(np.int64)}, TypeError, "bounds has dtype int64; native"),
    "bounds length": ({"bounds": VARYING[:-1]}, ValueError, r"bounds has shape \(16,\), but n_ex"),
    "bounds descend": (
        {"bounds": np.array([0, 3, 2, *[3] * 6], np.uint32)},
        ValueError,
        r"bounds\[2\] = 2 is below the bound before it, 3",
    ),
    "bounds start": (
        {"bounds": np.full(9, 3, np.uint32)},
        ValueError,
        r"bounds\[0\] must be 0, got 3",
    ),
    "entries": ({"n_examples": 2}, ValueError, r"slots has shape \(3,\), but bounds needs \(6,\)"),
    "values type": ({"values": V.astype(float)}, TypeError, "values has dtype float64; native f"),
    "values length": ({"values": V[:2]}, ValueError, r"values has shape \(2,\), but slots needs"),
    "large": ({"values": LARGE}, ValueError, r"values\[1\] = 1\d+\.0 is more than 2\*\*48"),
    "values": ({"values": NAN}, ValueError, r"values\[1\] = nan is not finite"),
    "fields type": ({"fields": S}, TypeError, "fields has dtype uint32; native uint16"),
    "fields length": ({"fields": FIELDS[:1]}, ValueError, r"fields has shape \(1,\), but bounds"),
    "fields": ({"n_fields": 1}, ValueError, r"fields\[1\] = 1 is out of range for n_fields 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_inconsistent_parts(name):
    changes, error, message = BAD[name]
    Examples(**WHOLE, n_fields=2)
    with pytest.raises(error, match=message):
        Examples(**{**WHOLE, "n_fields": 2, **changes})


@pytest.mark.parametrize(
    ("matrix", "error", "message"),
    [
        (np.array([["a"]]), TypeError, "X must be Examples, a sparse matrix or a 2-D array"),
        (np.zeros(3), TypeError, r"2-D array of numbers, got dtype float64, shape \(3,\)"),
        (np.array([[1j]]), TypeError, "got dtype complex128"),
        (np.array([[0, 1, np.nan]]), ValueError, r"X\[0, 2\] = nan is not finite in float32"),
        (np.array([[0, 1], [-1e30, 1]]), ValueError, r"X\[1, 0\] = -1e\+30 is more than 2\*\*48"),
        (np.array([[0, 1], [1e39, 1]]), ValueError, r"X\[1, 0\] = 1e\+39 is not finite in flo"),
        (scipy.sparse.csr_matrix([[1j]]), TypeError, "dtype complex128"),
        (np.zeros((2, 0)), ValueError, "n_slots must be from 1"),
    ],
)
def test_rejected_matrices(matrix, error, message):
    with pytest.raises(error, match=message):
        Examples.from_csr(matrix)


def test_a_matrix_wider_than_the_model():
    with pytest.raises(IndexError, match=r"indices\[2\] = 2, in row 0, .* the model has 2"):
        Examples.from_csr(np.ones((1, 3)), n_slots=2)


def test_rejected_positions(rng):
    x = batch(rng, 5, 300)
    for order in ([5], [-1], [0, 9]):
        with pytest.raises(IndexError, match=r"order must be in \[0, 5\)"):
            x.take(np.array(order))
    with pytest.raises(ValueError, match="a slice of Examples must have step 1, got 2"):
        x[::2]
    with pytest.raises(IndexError, match=r"mask has shape \(4,\), but there are 5 examples"):
        x[np.ones(4, bool)]
    with pytest.raises(TypeError, match="order must be integers, got float64"):
        x.take(np.array([0.5]))
    assert len(x.take(np.array([]))) == 0
