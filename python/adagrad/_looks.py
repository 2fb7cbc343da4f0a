"""What all pictures share: colors, markers, lines, and the ticks of logarithmic axes."""

from __future__ import annotations

from typing import Any

__all__ = [
    "BLUE",
    "DASHES",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "SERIES",
    "SKY",
    "VERMILION",
    "logarithmic_digits",
]

# The colors of Okabe and Ito, which can be told apart with any kind of color vision.
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
SKY, ORANGE, PURPLE, GREY = "#56B4E9", "#E69F00", "#CC79A7", "#595959"

DASHES: Any = (0, (4, 3))
"""Line style of what data are compared with."""

SERIES: tuple[tuple[str, str, Any], ...] = (
    (BLUE, "o", "-"),
    (VERMILION, "s", (0, (5, 2))),
    (GREEN, "^", (0, (3, 1, 1, 1))),
    (PURPLE, "D", (0, (1, 1))),
    (ORANGE, "v", (0, (8, 2, 2, 2))),
    (SKY, "P", (0, (2, 2))),
)
"""Color, marker and line style of each series; two differ in all three."""


def logarithmic_digits(low: float, high: float) -> tuple[int, ...]:
    """Return the first digits of the ticks of a logarithmic axis: on a short one, 1, 2 and 5."""
    return (1, 2, 5) if high < 300 * low else (1,)
