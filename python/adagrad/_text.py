"""Texts for people: numbers, counts, and suggestions for misspelled names.

Commands, reports, pictures, verdicts and error messages use it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

__all__ = ["broken_rows", "counted", "did_you_mean", "metric_texts", "three_digits"]


def three_digits(value: float) -> str:
    """Return a number with three significant digits, without an exponent if that is short."""
    if not 1000 <= value < 1e7:
        return f"{value:.3g}"
    return f"{round(value, 2 - math.floor(math.log10(value))):,.0f}"


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number and its noun: "1 row", "2,000 rows"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def metric_texts(metrics: dict[str, float]) -> list[str]:
    """Return logloss, NE, AUC and calibration as text; "-" for one that is undefined."""
    digits = {"logloss": 5, "normalized_entropy": 4, "auc": 4, "calibration": 3}
    return [
        "-" if math.isnan(metrics[name]) else f"{metrics[name]:.{n}f}" for name, n in digits.items()
    ]


def broken_rows(skipped: dict[str, int]) -> str:
    """Return how many broken rows were skipped, in all and by kind."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(skipped.items()))
    return f"{counted(sum(skipped.values()), 'broken row')} skipped: {kinds}"


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Return the end of an error message that suggests the name closest to an unknown one.

    It is empty if no name is close, or if `name` is one of `names`.
    """
    close = [] if name in names else difflib.get_close_matches(name, names, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
