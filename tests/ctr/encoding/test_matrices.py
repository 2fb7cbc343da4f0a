"""Sparse matrices with wrong indices are refused before anything converts them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import scipy.sparse

from adagrad.ctr import Examples, LogisticRegression
from checks import assert_same_bits

DENSE = np.array([[0.0, 1, 0, 2, 0, 0], [3, 0, 0, 0, 0, 0], [0, 0, 0, 0, 4, 5], [0, 0, 6, 0, 0, 0]])
Y = [0, 1, 1, 0]
MATRICES = {
    f"{name}_{kind}": getattr(scipy.sparse, f"{name}_{kind}")(DENSE)
    for name in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
    for kind in ("array", "matrix")
}
WRONG_IDS = (6, 7, -1, 2**31 - 1, 2**31, 2**32 + 2, 2**63 - 1, -(2**63))


def csr(**changes):
    """A CSR matrix of which SciPy has not seen some arrays."""
    matrix = scipy.sparse.csr_matrix(DENSE)
    for name, value in changes.items():
        setattr(matrix, name, value)
    return matrix


def with_id(matrix, wrong):
    """The same matrix with another column in its first entry; of CSC, with another row."""
    matrix = matrix.copy()
    if matrix.format == "coo":
        rows, columns = (c.astype(np.int64) for c in matrix.coords)
        columns[0] = wrong
        matrix.coords = (rows, columns)
    elif matrix.format == "dok":
        matrix._dict[0, wrong] = 1.0
    elif matrix.format == "lil":
        matrix.rows[0][0] = wrong
    else:
        indices = matrix.indices.astype(np.int64)
        indices[0] = wrong
        matrix.indices, matrix.indptr = indices, matrix.indptr.astype(np.int64)
    return matrix


@pytest.mark.parametrize("name", MATRICES)
def test_every_format_gives_the_same_examples(name):
    expected = Examples.from_csr(DENSE)
    matrix = MATRICES[name]
    before = copy.deepcopy(vars(matrix))
    x = Examples.from_csr(matrix)
    assert_same_bits(x.slots, expected.slots)
    assert_same_bits(x.values, expected.values)
    assert_same_bits(x.bounds, expected.bounds)
    assert str(vars(matrix)) == str(before)
    by_matrix = LogisticRegression(lr=0.1).fit(matrix, Y).coef_
    assert_same_bits(by_matrix.copy(), LogisticRegression(lr=0.1).fit(DENSE, Y).coef_.copy())


@pytest.mark.parametrize("wrong", WRONG_IDS)
@pytest.mark.parametrize("name", [name for name in MATRICES if not name.startswith("dia")])
def test_an_id_that_the_matrix_does_not_have(name, wrong):
    """The error has its value, from `fit` and `predict` alike."""
    matrix = with_id(MATRICES[name], wrong)
    message = rf"(= |, ){wrong}\b.* (is no|is out of range)"
    learner = LogisticRegression(lr=0.1).fit(DENSE, Y)
    before = learner.coef_.copy()
    for call in (
        Examples.from_csr,
        lambda x: LogisticRegression(lr=0.1).fit(x, Y),
        lambda x: learner.partial_fit(x, Y),
        learner.predict,
        learner.decision_function,
        learner.uncertainty,
    ):
        with pytest.raises(IndexError, match=message):
            call(matrix)
    assert_same_bits(learner.coef_.copy(), before)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u4", "u8", ">i4", ">i8", "i8"])
def test_ids_of_any_integer_dtype(dtype):
    matrix = csr()
    indices, indptr = matrix.indices.astype(dtype), matrix.indptr.astype(dtype)
    matrix.indices, matrix.indptr = indices, indptr
    x = Examples.from_csr(matrix)
    assert_same_bits(x.to_csr().toarray(), DENSE.astype(np.float32))
    LogisticRegression().fit(matrix, Y)
    wrong = indices.copy()
    wrong[3] = np.iinfo(np.dtype(dtype)).max
    matrix.indices = wrong
    with pytest.raises(IndexError, match=rf"X.indices\[3\] = {wrong[3]}, in row 2, is no column"):
        Examples.from_csr(matrix)


@pytest.mark.parametrize(("dtype", "columns"), [("i1", 300), ("i2", 70_000), ("i4", 2**32)])
def test_negative_ids_of_dtypes_that_hold_no_other_wrong_id(dtype, columns):
    """As unsigned numbers, they are columns."""
    matrix = scipy.sparse.csr_array((1, columns))
    matrix.data, matrix.indptr = np.ones(2), np.array([0, 2])
    matrix.indices = np.array([3, -1], dtype)
    with pytest.raises(IndexError, match=r"X.indices\[1\] = -1, in row 0, is no column"):
        Examples.from_csr(matrix)
    matrix.indices = np.array([3, -1], dtype).view(f"u{dtype[1]}")
    assert Examples.from_csr(matrix).slots.tolist() == matrix.indices.tolist()


def test_the_largest_unsigned_ids():
    wrong = np.array([1, 3, 0, 2**63 + 5, 5, 2], np.uint64)
    with pytest.raises(IndexError, match=r"X.indices\[3\] = 9223372036854775813, in row 2"):
        Examples.from_csr(csr(indices=wrong))


COLUMNS, STARTS = csr().indices, csr().indptr
BAD = {
    "float indices": (
        {"indices": COLUMNS + 0.5},
        TypeError,
        "X.indices must be integers, got .*float64",
    ),
    "text": ({"indices": COLUMNS.astype(str)}, TypeError, "X.indices must be integers"),
    "bool": ({"indices": COLUMNS > 1}, TypeError, "X.indices must be integers, got dtype bool"),
    "2-D": ({"indices": COLUMNS[:, None]}, ValueError, "X.indices must have 1 axis"),
    "float indptr": ({"indptr": STARTS * 1.0}, TypeError, "X.indptr must be integers"),
    "short indptr": ({"indptr": STARTS[:-1]}, ValueError, "X.indptr has 4 elements; 5 are needed"),
    "no indptr": ({"indptr": STARTS[:0]}, ValueError, "X.indptr has 0 elements; 5 are needed"),
    "descending": (
        {"indptr": np.array([0, 4, 3, 5, 6])},
        ValueError,
        r"ascend from 0 to at most 6.* X.indptr\[2\] = 3",
    ),
    "descending unsigned": (
        {"indptr": np.array([0, 4, 3, 5, 6], np.uint64)},
        ValueError,
        r"X.indptr\[2\] = 3",
    ),
    "start": ({"indptr": np.array([1, 2, 3, 5, 6])}, ValueError, r"X.indptr\[0\] = 1"),
    "negative start": ({"indptr": np.array([-1, 2, 3, 5, 6])}, ValueError, r"X.indptr\[0\] = -1"),
    "end": ({"indptr": np.array([0, 2, 3, 5, 7])}, ValueError, r"at most 6.* X.indptr\[4\] = 7"),
    "2^32": ({"indptr": np.array([0, 2, 3, 5, 2**32 + 6])}, ValueError, r"X.indptr\[4\] = 4294967"),
    "short indices": ({"indices": COLUMNS[:4]}, ValueError, r"at most 4, the .* X.indptr\[4\] = 6"),
    "short data": ({"data": np.ones(5)}, ValueError, "at most 5, the number of entries"),
}


@pytest.mark.parametrize("name", BAD)
def test_arrays_that_do_not_fit_together(name):
    changes, error, message = BAD[name]
    learner = LogisticRegression().fit(DENSE, Y)
    for call in (Examples.from_csr, learner.predict, lambda x: learner.partial_fit(x, Y)):
        with pytest.raises(error, match=message):
            call(csr(**changes))


def test_arrays_longer_than_their_entries():
    """What lies behind the last entry does not count."""
    long = csr(indices=np.append(COLUMNS, 99), data=np.append(csr().data, 9.0))
    assert_same_bits(Examples.from_csr(long).to_csr().toarray(), DENSE.astype(np.float32))


@pytest.mark.parametrize("axes", [1, 3])
def test_arrays_of_another_number_of_axes(axes):
    x = scipy.sparse.coo_array(np.ones((2,) * axes))
    for call in (Examples.from_csr, lambda x: LogisticRegression().fit(x, [0, 1])):
        with pytest.raises(ValueError, match="X must have 2 axes, got a sparse array"):
            call(x)


def test_a_matrix_keeps_its_arrays():
    """Entries are sorted by region in a copy, also if they have the dtypes of a copy."""
    columns = np.arange(500, dtype=np.int64)[::-1].copy()
    matrix = scipy.sparse.csr_matrix(np.ones((1, 500), np.float32))
    matrix.indices, matrix.data = columns.astype(np.uint32), columns.astype(np.float32)
    given = matrix.indices, matrix.data
    x = Examples.from_csr(matrix)
    assert (x.slots[:2] < 100).all()
    assert matrix.indices is given[0]
    assert_same_bits(matrix.indices, columns.astype(np.uint32))
    assert_same_bits(matrix.data, columns.astype(np.float32))
    for array in (x.slots, x.values):
        assert not any(np.shares_memory(array, mine) for mine in given)


@pytest.mark.parametrize("wrong", [6, -4, 2**63 - 1, 2**64 - 1])
def test_a_diagonal_that_the_matrix_does_not_have(wrong):
    matrix = scipy.sparse.dia_matrix(DENSE)
    matrix.offsets = np.array(matrix.offsets, np.uint64 if wrong >= 2**63 else np.int64)
    matrix.offsets[-1] = wrong
    with pytest.raises(IndexError, match=rf"X.offsets\[\d\] = {wrong} is no diagonal of X"):
        Examples.from_csr(matrix)
