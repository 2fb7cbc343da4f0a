"""Quadratics in the plane: level sets, what moves the minimizer; and power laws of all kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from adagrad._arguments import check_real
from adagrad.analysis import Quadratic, condition_number
from adagrad.plotting._style import (
    BLUE,
    GREEN,
    GREY,
    LABEL_POINTS,
    SERIES,
    SKY,
    VERMILION,
    label_logarithmic,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

MOST_PANELS = 3
LEVELS = 5
ANGLES = np.linspace(0, 2 * np.pi, 181)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)])
# Line styles of the gray lines, which the series do not use.
GUIDES: tuple[tuple[int, tuple[int, ...]], ...] = ((0, (1, 2)), (0, (6, 3)), (0, (6, 2, 1, 2)))


def quadratic_figure(
    functions: Mapping[str, Quadratic],
    paths: Mapping[str, npt.ArrayLike] | None = None,
    *,
    title: str = "Level sets",
) -> Figure:
    """Draw the level sets of quadratics of two variables, their axes and their minimizers.

    Parameters
    ----------
    functions : mapping of str to Quadratic
        1 to 3 positive definite functions by the letter of their coordinates, such as "x" and
        "z"; one panel each.
    paths : mapping of str to array_like of shape [steps + 1, 2], optional
        The path of a descent, by the letter of its coordinates.
    title : str, default "Level sets"
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        5.6 inches wide. The unit has the same length along both axes of a panel, and each panel
        shows its condition number. The arrows from the minimizer are the eigenvectors. They end
        at the outermost level, which passes through the start of the path, or else through the
        origin.

    Raises
    ------
    TypeError
        `functions` is not a mapping.
    ValueError
        There are no functions or more than three, one is not positive definite or not of two
        variables, or a path has another shape or no function.
    """
    if not isinstance(functions, Mapping):
        raise TypeError(f"functions must be a mapping, got {type(functions).__name__}")
    if not 1 <= len(functions) <= MOST_PANELS:
        raise ValueError(f"functions must have 1 to {MOST_PANELS} entries, got {len(functions)}")
    arrays = {}
    for name, path in (paths or {}).items():
        points = np.asarray(path, np.float64)
        if name not in functions:
            raise ValueError(f"path {name!r} has no function")
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"path {name!r} must have shape [steps + 1, 2], got {points.shape}")
        arrays[name] = points
    figure, panels = new_figure(title, 5.6, 3.3 if len(functions) > 1 else 4.6, 1, len(functions))
    for axes, (name, f) in zip(panels, functions.items(), strict=True):
        _draw_levels(axes, f, arrays.get(name))
        axes.set_title(f"in {name}: κ = {condition_number(f.Q):.3g}", loc="left", fontsize=10)
        axes.set_xlabel(f"{name}₁")
        axes.set_ylabel(f"{name}₂", rotation=0, labelpad=10)
    _legend_below(figure, panels[0], 4)
    return figure


def _legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=LABEL_POINTS,
        handlelength=1.6,
        columnspacing=1.2,
        borderpad=0.1,
    )


def _draw_levels(axes: Axes, f: Quadratic, path: Array | None) -> None:
    center, half_axes = _ellipse(f)
    start = np.zeros(2) if path is None else path[0]
    height = f(start) - f.minimum
    outer = np.sqrt(2 * (height if height > 0 else 1.0))
    for share in np.linspace(0, 1, LEVELS + 1)[1:]:
        ring = center[:, np.newaxis] + share * outer * half_axes @ CIRCLE
        axes.plot(*ring, color=GREY, linewidth=0.8, label="level set" if share == 1 else None)
    for place, (right, up) in enumerate((outer * half_axes).T):
        # An eigenvector has no sign of its own: show the one that points to the upper right.
        tip = np.array([right, up]) * (1 if right + up >= 0 else -1)
        axes.annotate(
            "",
            tuple(center + tip),
            tuple(center),
            arrowprops={"arrowstyle": "->", "color": GREEN, "linewidth": 1.6, "shrinkA": 0},
        )
        if not place:
            axes.plot([], [], color=GREEN, linewidth=1.6, label="eigenvector")
    axes.plot(*center, "x", color="black", markersize=7, label="minimizer")
    if path is not None:
        axes.plot(*path.T, "o-", color=BLUE, markersize=4, linewidth=1.4, label="descent")
    axes.set_aspect("equal", adjustable="datalim")
    axes.locator_params(nbins=5)


def _ellipse(f: Quadratic) -> tuple[Array, Array]:
    """Return the center and, as columns, the half axes of the level 1/2 above the minimum."""
    if len(f.c) != 2:
        raise ValueError(f"only functions of 2 variables can be drawn, got {len(f.c)}")
    return f.minimizer, f.eigenvectors / np.sqrt(f.eigenvalues)


def sensitivity_figure(f: Quadratic, radius: float = 1.0) -> Figure:
    """Draw a disc of changes of ``c``, and the minimizers that it leads to.

    Parameters
    ----------
    f : Quadratic
        Positive definite, of two variables.
    radius : float, default 1.0
        Radius of the disc, positive.

    Returns
    -------
    matplotlib.figure.Figure
        5.6 inches wide; two panels with the same scale. The disc becomes an ellipse whose half
        axes are ``radius / eigenvalue``, along the eigenvectors.

    Raises
    ------
    ValueError
        The function is not positive definite or not of two variables, or `radius` is not positive.
    """
    radius = check_real("radius", radius)
    if radius == 0:
        raise ValueError("radius must be positive, got 0")
    center, _ = _ellipse(f)
    figure, panels = new_figure("What a change of c does to the minimizer", 5.6, 3.4, 1, 2)
    shapes = (("c", f.c, f.eigenvectors), ("x", center, f.eigenvectors / f.eigenvalues))
    for axes, (letter, place, half_axes) in zip(panels, shapes, strict=True):
        axes.fill(
            *(place[:, np.newaxis] + radius * half_axes @ CIRCLE),
            facecolor=SKY,
            edgecolor=BLUE,
            alpha=0.5,
        )
        for tip, color, marker, value in zip(
            half_axes.T, (VERMILION, GREEN), "so", f.eigenvalues, strict=True
        ):
            ends = np.stack([place - radius * tip, place + radius * tip])
            label = f"along λ = {value:.3g}"
            axes.plot(*ends.T, color=color, marker=marker, markersize=4, linewidth=1.4, label=label)
        axes.plot(*place, "x", color="black", markersize=6)
        name = "changes of c" if letter == "c" else "minimizers"
        axes.set_title(name, loc="left", fontsize=10)
        half = 1.15 * radius * max(1.0, 1 / f.eigenvalues[0])
        axes.set_xlim(place[0] - half, place[0] + half)
        axes.set_ylim(place[1] - half, place[1] + half)
        axes.set_aspect("equal")
        axes.locator_params(nbins=5)
        axes.set_xlabel(f"{letter}₁")
        axes.set_ylabel(f"{letter}₂", rotation=0, labelpad=10)
    _legend_below(figure, panels[0], 2)
    return figure


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
        Up to 3 powers by name, as gray lines through the middle of the first series.
    lines : bool, default True
        Whether to join the points.

    Returns
    -------
    matplotlib.figure.Figure
        5.2 x 4.2 inches.

    Raises
    ------
    TypeError
        `series` is not a mapping.
    ValueError
        There are no series or more than six, more than three slopes, or arrays that differ in
        length or have no positive point.
    """
    if not isinstance(series, Mapping):
        raise TypeError(f"series must be a mapping, got {type(series).__name__}")
    slopes = slopes or {}
    if not 1 <= len(series) <= len(SERIES):
        raise ValueError(f"series must have 1 to {len(SERIES)} entries, got {len(series)}")
    if len(slopes) > len(GUIDES):
        raise ValueError(f"slopes must have at most {len(GUIDES)} entries, got {len(slopes)}")
    points = {name: _positive(name, pair) for name, pair in series.items()}
    figure, (axes,) = new_figure(title, 5.2, 4.2)
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
            linewidth=1.5,
            label=name,
        )
    x, y = next(iter(points.values()))
    middle = np.exp([np.log(x).mean(), np.log(y).mean()])
    ends = np.array([x.min(), x.max()])
    for (name, power), dash in zip(slopes.items(), GUIDES, strict=False):
        heights = middle[1] * (ends / middle[0]) ** power
        axes.plot(ends, heights, color=GREY, linestyle=dash, linewidth=1.2, label=name, zorder=1)
    label_logarithmic(axes.xaxis, axes.yaxis)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=LABEL_POINTS)
    return figure


def _positive(name: str, pair: Any) -> tuple[Array, Array]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f"series {name!r} must be a pair (x, y), got {pair!r}")
    x, y = (np.asarray(given, np.float64) for given in pair)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f"series {name!r} must be two arrays of one length, got {x.shape}, {y.shape}"
        )
    shown = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)
    if not shown.any():
        raise ValueError(f"series {name!r} has no positive point")
    return x[shown], y[shown]
