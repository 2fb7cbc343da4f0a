"""The style that the figures share: sizes, axes without a box, ticks, labels beside the data."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from adagrad._looks import (
    BLUE,
    DASHES,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SERIES,
    SKY,
    VERMILION,
    logarithmic_digits,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = [
    "BLUE",
    "DASHES",
    "GREEN",
    "GREY",
    "LABEL_POINTS",
    "ORANGE",
    "PURPLE",
    "SERIES",
    "SKY",
    "TITLE_POINTS",
    "VERMILION",
    "WIDTH",
    "Picture",
    "apart",
    "check_series",
    "fit_height",
    "label_logarithmic",
    "label_right_edge",
    "laid_out",
    "legend_below",
    "new_figure",
    "number",
    "readable",
    "set_title",
]

# A phone shows a figure of this width, in inches, with about 77 dots per inch: small text would be
# illegible there.
WIDTH = 5.2
TITLE_POINTS, LABEL_POINTS = 11.0, 10.0
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


def check_series(name: str, given: object, most: int = len(SERIES)) -> None:
    """Refuse what is no mapping with one to `most` entries, by default as many as have looks."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} must be a mapping with names as keys, got {type(given).__name__}")
    if not 1 <= len(given) <= most:
        raise ValueError(f"{name} must have 1 to {most} entries, got {len(given)}")


def new_figure(
    title: str,
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    height_ratios: Sequence[float] | None = None,
) -> tuple[Picture, list[Axes]]:
    """Return a figure with a title and its axes, row by row."""
    figure = Picture(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=TITLE_POINTS)
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=height_ratios)
    panels = [*grid.flat]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=LABEL_POINTS)
        for axis in (axes.xaxis, axes.yaxis):
            axis.label.set_fontsize(LABEL_POINTS)
    return figure, panels


def set_title(axes: Axes, text: str) -> None:
    """Give a panel a title."""
    axes.set_title(text, loc="left", fontsize=LABEL_POINTS)


def legend_below(figure: Figure, columns: int, source: Axes | None = None) -> None:
    """Put the legend of a figure, or of one of its axes, where it can cover no data.

    It has fewer columns where so many would be wider than the figure.
    """
    entries: dict[str, Artist] = {}
    for axes in figure.axes if source is None else [source]:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    for count in range(columns, 0, -1):
        legend = figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside lower left",
            ncols=count,
            frameon=False,
            fontsize=LABEL_POINTS,
            columnspacing=1.2,
            handlelength=1.6,
        )
        if count == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def fit_height(figure: Figure, columns: int = 1) -> None:
    """Change the height of a figure such that its axes, all with an equal aspect, fill it.

    Call it when limits, labels and legends are final.
    """
    width, height = figure.get_size_inches()
    for _ in range(3):  # the space for labels depends on the size of the axes, but weakly
        figure.draw_without_rendering()
        for axes in figure.axes[::columns]:
            box = axes.get_position(original=True)
            (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
            wanted = width * box.width * (top - bottom) / (right - left)
            height += wanted - figure.get_size_inches()[1] * box.height
        figure.set_size_inches(width, height)


def laid_out(axes: Axes) -> Figure:
    """Return the figure of axes, after it has found their places."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    return figure


def number(value: float, _: object = None) -> str:
    """Return the label of a tick: 10,000 rather than 1e4, and 10 M rather than 1e7."""
    for unit, letter in ((1e9, "G"), (1e6, "M")):
        if unit <= abs(value) < 1e12:
            return f"{value / unit:g} {letter}"
    return f"{value:,.0f}" if 1 <= value < 1e6 else f"{value:g}"


def label_logarithmic(*axes: Axis) -> None:
    """Label the major ticks of logarithmic axes with plain numbers, and no minor ticks.

    By default matplotlib labels minor ticks with powers of ten, which do not match. Short axes have
    major ticks at 1, 2 and 5 times a power of ten. Call it when the limits are final.
    """
    for axis in axes:
        axis.set_major_locator(LogLocator(subs=logarithmic_digits(*axis.get_view_interval())))
        axis.set_major_formatter(FuncFormatter(number))
        axis.set_minor_formatter(NullFormatter())


def label_right_edge(axes: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Write labels (height in data units, text, color) to the right of the axes, without overlap.

    Call it when limits, scales and the size of the figure are final.
    """
    if not labels:
        return
    figure = laid_out(axes)
    line = 1.25 * LABEL_POINTS * figure.dpi / 72 / axes.get_window_extent().height
    heights = [axes.transData.transform((1, height))[1] for height, *_ in labels]
    wanted = axes.transAxes.inverted().transform([(0.0, height) for height in heights])[:, 1]
    order = np.argsort(wanted, kind="stable")
    rooms = np.array([line * (1 + labels[i][1].count("\n")) for i in order])
    places = apart(wanted[order], rooms)
    for i, place in zip(order, places, strict=True):
        _, text, colour = labels[i]
        axes.annotate(
            text,
            (1, place),
            xycoords="axes fraction",
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=readable(colour),
            fontsize=LABEL_POINTS,
            linespacing=1.0,
        )


def readable(colour: str) -> tuple[float, float, float]:
    """Return a color, darkened until text in it has a contrast of 4.5 to 1 with white.

    WCAG 2.2 defines contrast and luminance, and asks for 4.5 in its success criterion 1.4.3.
    """
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    linear *= min(1.0, (1.05 / 4.5 - 0.05) / max(luminance, 1e-9))
    red, green, blue = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    ).tolist()
    return red, green, blue


def apart(
    wanted: npt.NDArray[np.float64], rooms: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the places nearest to the wanted, ascending ones at which no two rooms overlap.

    Nearest in the sum of squares: a regression with ascending values, in which neighbors that
    would overlap move as one block.
    """
    ends = np.cumsum(rooms)
    shifts = ends - rooms / 2
    blocks: list[tuple[float, int]] = []  # the mean of wanted - shifts, and the number of places
    for value in wanted - shifts:
        mean, count = float(value), 1
        while blocks and blocks[-1][0] > mean:
            before, size = blocks.pop()
            mean, count = (mean * count + before * size) / (count + size), count + size
        blocks.append((mean, count))
    free = np.repeat([mean for mean, _ in blocks], [count for _, count in blocks])
    places: npt.NDArray[np.float64] = np.clip(free, 0.0, max(0.0, 1.0 - float(ends[-1]))) + shifts
    return places
