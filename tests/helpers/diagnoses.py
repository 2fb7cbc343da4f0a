"""Data with planted properties, and their diagnosis."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from adagrad.ctr.diagnosis import Diagnoser
from adagrad.ctr.encoding.examples import Examples


def sparse(rows: int, features: int, per_row: int, power: float, seed: int = 0):
    """Ones, and some zeros and other values, with Zipf frequencies."""
    rng = np.random.default_rng(seed)
    ids = (rng.zipf(power, (rows, per_row)) - 1) % features
    values = rng.choice([1.0, 1.0, 0.0, 2.5], size=ids.size)
    matrix = scipy.sparse.csr_matrix(
        (values, (np.repeat(np.arange(rows), per_row), ids.ravel())), shape=(rows, features)
    )
    return matrix, (rng.random(rows) < 0.3).astype(np.float32)


def diagnosed(matrix, y=None, batch: int = 1 << 20, **options):
    diagnoser = Diagnoser(**{"bits": 16, **options})
    x = Examples.from_csr(matrix)
    for start in range(0, len(x), batch):
        part = slice(start, start + batch)
        diagnoser.add(x[part], None if y is None else y[part])
    return diagnoser.result()


def planted(kind: str):
    rng = np.random.default_rng(9)
    n = 2_000
    dense = rng.normal(size=(n, 8))
    if kind == "even":
        return scipy.sparse.csr_matrix(dense)
    if kind == "scales":
        return scipy.sparse.csr_matrix(dense * 10.0 ** np.arange(-4, 4))
    if kind == "correlated":
        return scipy.sparse.csr_matrix(dense[:, :1] + 0.01 * dense)
    fresh = scipy.sparse.csr_matrix((np.ones(n), (np.arange(n), np.arange(n))))  # an id a row
    if kind == "thin":
        return fresh
    common = np.eye(6)[rng.integers(0, 6, (n, 5))].reshape(n, 30)
    return scipy.sparse.hstack([fresh, common], format="csr")
