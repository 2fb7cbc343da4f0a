"""Sparse matrices with damaged indices: an error of one line, or examples of their shape."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from adagrad.ctr import Examples
from fuzz import seeds

DENSE = np.array([[0.0, 1, 0, 2, 0, 0], [3, 0, 0, 0, 0, 0], [0, 0, 0, 0, 4, 5], [0, 0, 6, 0, 0, 0]])
FORMATS = {
    "bsr": ("indices", "indptr"),
    "coo": ("row", "col"),
    "csc": ("indices", "indptr"),
    "csr": ("indices", "indptr"),
    "dia": ("offsets",),
}
NUMBERS = (-(2**31), -1, 0, 3, 4, 6, 7, 100, 2**31 - 1)


@pytest.mark.parametrize("seed", seeds(300, known=[28, 41, 84, 153]))
def test_damaged_matrices(seed):
    """Any damage is an error or changes a value; nothing reads or writes out of bounds."""
    rng = np.random.default_rng(seed)
    name = str(rng.choice(list(FORMATS)))
    matrix = getattr(scipy.sparse, f"{name}_array")(DENSE)
    which = str(rng.choice(FORMATS[name]))
    array = np.array(getattr(matrix, which), rng.choice(["i4", "i8", "u8"]))
    if rng.random() < 0.2:
        array = array[: rng.integers(len(array))]
    else:
        array[rng.integers(len(array))] = np.array(rng.choice(NUMBERS)).astype(array.dtype)
    try:
        setattr(matrix, which, array)
    except ValueError:  # SciPy refuses it at once
        return
    message, x = "", None
    try:
        x = Examples.from_csr(matrix)
    except (IndexError, TypeError, ValueError) as error:
        message = str(error)
    if x is None:
        assert message
        assert "\n" not in message
    else:
        assert x.to_csr().toarray().shape == DENSE.shape
