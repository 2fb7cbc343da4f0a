"""Positive numbers on logarithmic axes, where powers are straight lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from adagrad._arguments import check_real
from adagrad.analysis.spectrum import real
from adagrad.plotting._style import (
    GREY,
    SERIES,
    WIDTH,
    check_series,
    label_logarithmic,
    legend_below,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

# Line styles of the gray lines, which the series do not use.
GUIDES: tuple[tuple[int, tuple[int, ...]], ...] = ((0, (1, 2)), (0, (6, 3)), (0, (6, 2, 1, 2)))


def loglog_figure(
    series: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    slopes: Mapping[str, float] | None = None,
    lines: bool = True,
) -> Figure:
    """Draw positive numbers on logarithmic axes, where powers are straight lines.

    Parameters
    ----------
    series : mapping of str to (x, y)
        1 to 6 series by name, each two arrays of one length. Points that are not positive and
        finite are left out.
    title, xlabel, ylabel : str
        Texts.
    slopes : mapping of str to float, optional
        1 to 3 powers by name, as gray lines through the middle of the first series.
    lines : bool, default True
        Whether to join the points. Of more than 30 points that are joined, some are marked.

    Returns
    -------
    matplotlib.figure.Figure
        5.2 x 4.2 inches.

    Raises
    ------
    TypeError
        `series` or `slopes` is not a mapping, or has something other than real numbers.
    ValueError
        There are no series or more than six, no slopes or more than three, or arrays that differ in
        length or have no positive point. A slope is not finite.
    """
    check_series("series", series)
    if slopes is not None:
        check_series("slopes", slopes, len(GUIDES))
    powers = {
        name: check_real(f"slope {name!r}", power, negative=True)
        for name, power in (slopes or {}).items()
    }
    points = {name: _positive(name, pair) for name, pair in series.items()}
    figure, (axes,) = new_figure(title, WIDTH, 4.2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for (name, (x, y)), (color, marker, style) in zip(points.items(), SERIES, strict=False):
        line = style if lines else "none"
        axes.plot(
            x,
            y,
            color=color,
            marker=marker,
            linestyle=line,
            markersize=5,
            markevery=0.11 if lines and len(x) > 30 else None,
            linewidth=1.5,
            label=name,
        )
    x, y = next(iter(points.values()))
    middle = np.exp([np.log(x).mean(), np.log(y).mean()])
    ends = np.array([x.min(), x.max()])
    for (name, power), dash in zip(powers.items(), GUIDES, strict=False):
        heights = middle[1] * (ends / middle[0]) ** power
        axes.plot(ends, heights, color=GREY, linestyle=dash, linewidth=1.2, label=name, zorder=1)
    label_logarithmic(axes.xaxis, axes.yaxis)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    legend_below(figure, 2)
    return figure


def _positive(name: str, pair: Any) -> tuple[Array, Array]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f"series {name!r} must be a pair (x, y), got {pair!r}")
    x, y = (real(given, f"series {name!r}").astype(np.float64) for given in pair)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f"series {name!r} must be two arrays of one length, got {x.shape}, {y.shape}"
        )
    shown = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)
    if not shown.any():
        raise ValueError(f"series {name!r} has no positive point")
    return x[shown], y[shown]
