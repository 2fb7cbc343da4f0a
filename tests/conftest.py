"""Fixtures and helpers shared by the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before NumPy loads it, here and in what the tests start: threads of BLAS in every worker of
# pytest-xdist wait for each other, for ten times as long as they compute.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest

import adagrad
from adagrad import _core

hypothesis.settings.register_profile("default", deadline=None, derandomize=True)
hypothesis.settings.load_profile("default")

Array = npt.NDArray[Any]

DATA = Path(__file__).parent / "data"


def bits(a: Array) -> Array:
    """The bytes of an array as integers, with every NaN the same."""
    if a.dtype.kind == "u":
        return a
    with np.errstate(invalid="ignore"):  # bfloat16 has NaN that signal
        a = np.where(np.isnan(a), a.dtype.type(np.nan), a)
    return a.view(f"u{a.dtype.itemsize}")


def assert_same_bits(actual: Array, expected: Array, context: object = "") -> None:
    assert actual.dtype == expected.dtype, context
    assert actual.shape == expected.shape, context
    different = np.flatnonzero(bits(actual).ravel() != bits(expected).ravel())
    if len(different):
        k = different[0]
        raise AssertionError(
            f"{context}: {len(different)} of {actual.size} differ, first at {k}: "
            f"{actual.ravel()[k]!r} is not {expected.ravel()[k]!r}"
        )


def wide_range(rng: np.random.Generator, shape: Any, dtype: Any) -> Array:
    """Normal values times powers of ten from 1e-4 to 1e3, an eighth of them zero."""
    x = rng.standard_normal(shape) * 10.0 ** rng.integers(-4, 4, shape)
    return np.where(rng.random(shape) < 0.125, 0.0, x).astype(dtype)


@pytest.fixture(params=adagrad.isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once on each instruction set that this machine has."""
    before = adagrad.isa()
    assert _core.use_isa(request.param)
    yield request.param
    assert _core.use_isa(before)


@pytest.fixture
def threads() -> Iterator[None]:
    """Restore the number of threads after the test."""
    before = adagrad.get_num_threads()
    yield
    adagrad.set_num_threads(before)


@pytest.fixture
def fine_grain() -> Iterator[None]:
    """Let sparse calls take the threads that they are given, however small they are."""
    before = _core.set_sparse_grain(1)
    yield
    _core.set_sparse_grain(before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20110701)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes, one for all tests of a process, which is connected to it."""
    import ray_cluster

    with ray_cluster.two_nodes() as nodes:
        yield nodes


def need(condition: bool, what: str) -> None:
    """Skip where something optional is missing, but never in CI."""
    if not condition:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{what} is missing in CI")
        pytest.skip(f"{what} is not here")
