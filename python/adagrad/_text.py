"""Numbers as text, for people. Called by commands, pictures and verdicts."""

from __future__ import annotations

import math

__all__ = ["three_digits"]


def three_digits(value: float) -> str:
    """Write a number, without an exponent where that is short."""
    if not 1000 <= value < 1e7:
        return f"{value:.3g}"
    return f"{round(value, 2 - math.floor(math.log10(value))):,.0f}"
