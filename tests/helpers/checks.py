"""What many tests share: comparison bit by bit, draws over a wide range, optional requirements."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
DATA = TESTS / "data"


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


def need(condition: bool, what: str) -> None:
    """Skip a test, or a module that calls this, if something optional is missing; in CI, fail."""
    if not condition:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{what} is missing in CI")
        pytest.skip(f"{what} is missing", allow_module_level=True)


def need_packages(*names: str) -> None:
    """Skip, or fail in CI, if one of these packages is not installed."""
    for name in names:
        need(importlib.util.find_spec(name) is not None, name)
