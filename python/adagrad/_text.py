"""Texts for people: numbers, and suggestions for misspelled names.

Commands, pictures, verdicts and error messages use it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

__all__ = ["did_you_mean", "three_digits"]


def three_digits(value: float) -> str:
    """Write a number, without an exponent where that is short."""
    if not 1000 <= value < 1e7:
        return f"{value:.3g}"
    return f"{round(value, 2 - math.floor(math.log10(value))):,.0f}"


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Return the end of an error message that suggests the name closest to an unknown one.

    It is empty if no name is close, or if `name` is one of `names`.
    """
    close = [] if name in names else difflib.get_close_matches(name, names, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
