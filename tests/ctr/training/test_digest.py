"""The hash of the examples that a training has learned depends on them alone."""

import numpy as np
import pytest

from checks import need_packages

need_packages("pyarrow", "sklearn")

from adagrad.ctr import HashingEncoder
from adagrad.ctr.encoding.examples import concatenate
from adagrad.ctr.learners.labeled import LabeledExamples
from adagrad.ctr.training.digest import CELL, Digest, hash_of

ROWS = 2 * CELL + 100


@pytest.fixture(scope="module")
def examples():
    """Return encoded rows and their labels."""
    rng = np.random.default_rng(0)
    columns = {name: rng.integers(0, 50, ROWS) for name in ("site", "ad")}
    x = HashingEncoder(10, numeric="categorical").transform(columns)
    return x, rng.integers(0, 2, ROWS).astype(np.float32)


def digest(x, y, cuts=(), *, weights=None, known=False):
    """Return the hash of examples that are added in parts."""
    found = Digest()
    for begin, end in zip((0, *cuts), (*cuts, len(x)), strict=True):
        part = LabeledExamples(x, y, weights)[begin:end]
        found.add(part, hash_of(part) if known else None)
    assert found.rows == len(x)
    return found.text()


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    "cuts", [(), (1,), (CELL,), (CELL, 2 * CELL), (64, CELL + 64), (CELL - 1, 2 * CELL - 1)]
)
def test_cuts_change_nothing(examples, cuts, known):
    assert digest(*examples, cuts, known=known) == digest(*examples)


@pytest.mark.parametrize("row", [0, CELL, ROWS - 1])
def test_every_example_counts(examples, row):
    x, y = examples
    changed = y.copy()
    changed[row] = 1 - changed[row]
    assert digest(x, changed) != digest(x, y)
    other = 1 if row == 0 else 0
    swapped = concatenate([x[:row], x[other : other + 1], x[row + 1 :]])
    assert (swapped.slots != x.slots).any()
    assert digest(swapped, y) != digest(x, y)


def test_the_end_counts(examples):
    x, y = examples
    assert digest(x[: 2 * CELL], y[: 2 * CELL]) != digest(x[:CELL], y[:CELL])
    assert digest(x[:-1], y[:-1]) != digest(x, y)


def test_weights_count(examples, rng):
    weights = rng.random(ROWS, np.float32)
    found = digest(*examples, weights=weights)
    assert found != digest(*examples)
    assert digest(*examples, (64, CELL + 64), weights=weights, known=True) == found
    weights[-1] /= 2
    assert digest(*examples, weights=weights) != found
