"""Checks of arguments that every room shares, each with one wording.

They return the value as the plain Python type, so that a NumPy scalar does not show in a repr, a
file or a comparison.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

__all__ = ["check_flag", "check_integer", "check_real", "check_storable", "check_threads"]


def check_integer(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return `value` as an int in [least, most], or raise TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    number = int(value)
    if most is None and number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    if most is not None and not least <= number <= most:
        raise ValueError(f"{name} must be from {least} to {most}, got {number}")
    return number


def check_real(name: str, value: Any, *, negative: bool = False) -> float:
    """Return `value` as a finite float, or raise; with `negative`, one below 0 passes."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number!r}")
    if number < 0.0 and not negative:
        raise ValueError(f"{name} must not be negative, got {number!r}")
    return number


def check_flag(name: str, value: object) -> bool:
    """Return `value` as a bool, or raise TypeError."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a bool, got {value!r}")
    return bool(value)


def check_storable(name: str, value: float, dtype: str) -> None:
    """Raise ValueError if `dtype` cannot hold `value`: it overflows, or rounds to 0."""
    wide = "float32" if dtype == "bfloat16" else dtype  # bfloat16 has the range of float32
    with np.errstate(over="ignore", under="ignore"):
        stored = float(np.array(value).astype(wide))
    if math.isinf(stored):
        raise ValueError(f"{name}={value!r} overflows {dtype}")
    if stored == 0.0 and value != 0.0:
        raise ValueError(f"{name}={value!r} is 0 in {dtype}")


def check_threads(threads: Any) -> int:
    """Return a number of threads; 0, which stands for the library's setting, if None."""
    return 0 if threads is None else check_integer("threads", threads, 1, 1024)
