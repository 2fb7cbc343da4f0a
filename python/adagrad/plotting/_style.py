"""The style that the pictures share: colors, markers, axes without a box, ticks."""

from __future__ import annotations

import io
import threading
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# The colors of Okabe and Ito, which can be told apart with any kind of color vision.
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
SKY, ORANGE, PURPLE, GREY = "#56B4E9", "#E69F00", "#CC79A7", "#595959"
# Color, marker and line style of each series, so that nobody needs the color to tell them apart.
SERIES = (
    (BLUE, "o", "-"),
    (VERMILION, "s", (0, (5, 2))),
    (GREEN, "^", (0, (3, 1, 1, 1))),
    (PURPLE, "D", (0, (1, 1))),
    (ORANGE, "v", (0, (8, 2, 2, 2))),
    (SKY, "P", (0, (2, 2))),
)
LABEL_POINTS = 9.0
SVG_DOTS_PER_INCH = 200  # of the parts of an SVG file that are drawn as pixels

_settings = threading.Lock()  # matplotlib has one salt for all threads


class Picture(Figure):
    """A figure that a notebook shows when it is the value of a cell, without ``pyplot``."""

    def _repr_svg_(self) -> str:
        """Return the figure as SVG: the same text for the same figure, whenever it is drawn."""
        text = io.StringIO()
        with _settings, rc_context({"svg.hashsalt": "adagrad"}):
            self.savefig(text, format="svg", dpi=SVG_DOTS_PER_INCH, metadata={"Date": None})
        return text.getvalue()


def new_figure(
    title: str, width: float, height: float, rows: int = 1, columns: int = 1
) -> tuple[Picture, list[Axes]]:
    """Return a figure with a title and its axes, row by row."""
    figure = Picture(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    panels = [*figure.subplots(rows, columns, squeeze=False).flat]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=LABEL_POINTS)
    return figure, panels


def number(value: float, _: object = None) -> str:
    """Return the label of a tick: 10,000 rather than 1e4."""
    return f"{value:,.0f}" if 1 <= value < 1e6 else f"{value:g}"


def label_logarithmic(*axes: Axis) -> None:
    """Label the major ticks of logarithmic axes with plain numbers, and no minor ticks.

    By default matplotlib labels minor ticks with powers of ten, which do not match.
    """
    for axis in axes:
        axis.set_major_formatter(FuncFormatter(number))
        axis.set_minor_formatter(NullFormatter())


def label_right_edge(
    axes: Axes, labels: list[tuple[float, str, str]], figure_height: float
) -> None:
    """Write labels (height in data units, text, color) to the right of the axes, without overlap.

    Call it when limits and scales are final. The height of the figure is in inches.
    """
    heights = [axes.transData.transform((1, height))[1] for height, *_ in labels]
    moved = axes.transAxes.inverted().transform([(0.0, height) for height in heights])[:, 1]
    order = np.argsort(moved, kind="stable")
    # The height of a line of text with some space, relative to the approximate height of the axes.
    gap = 1.5 * LABEL_POINTS / (0.75 * figure_height * 72)
    for _ in range(100):
        for lower, upper in pairwise(order):
            overlap = max(gap - (moved[upper] - moved[lower]), 0.0)
            moved[lower] -= overlap / 2
            moved[upper] += overlap / 2
    for place, (_, text, colour) in zip(moved, labels, strict=True):
        axes.annotate(
            text,
            (1, place),
            xycoords="axes fraction",
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=LABEL_POINTS,
        )
