"""Descents: their paths over the contours of a function, and losses against examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import FuncFormatter

from adagrad.analysis import trace
from adagrad.plotting._style import (
    GREY,
    LABEL_POINTS,
    SERIES,
    label_logarithmic,
    new_figure,
    number,
)
from adagrad.rule import Rule
from adagrad.textbook import BOWL, BOWL_START

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID = 201
LEVELS = 12


def path_figure(
    f: Callable[[npt.NDArray[np.float64]], Any],
    paths: Mapping[str, npt.ArrayLike],
    *,
    title: str = "Descents",
) -> Figure:
    """Draw paths over the contours of a function of two variables.

    Parameters
    ----------
    f : callable
        Takes points of shape [..., 2] and returns values of shape [...], such as an
        `adagrad.analysis.Quadratic`.
    paths : mapping of str to array_like of shape [steps + 1, 2]
        1 to 6 paths by name, each as `adagrad.analysis.trace` returns it.
    title : str, default "Descents"
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        6.4 x 5.2 inches. Points that are not finite are left out.

    Raises
    ------
    ValueError
        There is no path or more than six, or a path has another shape or no finite point.
    TypeError
        `paths` is not a mapping.
    """
    _check_series("paths", paths)
    figure, (axes,) = new_figure(title, 6.4, 5.2)
    _draw_paths(axes, f, paths)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=LABEL_POINTS)
    return figure


def bowl_figure(steps: int = 20) -> Figure:
    """Draw AdaGrad on the quadratic bowl of the textbook chapter, and on the rotated bowl.

    The rates are 0.4 and 2.0, the bowl is ``0.1 x1**2 + 2 x2**2`` and the start (-5, -2). In the
    second row, bowl and start are rotated by 45 degrees.

    Parameters
    ----------
    steps : int, default 20
        Steps of each path.

    Returns
    -------
    matplotlib.figure.Figure
        9 x 9.4 inches, two by two panels, all with the same axes.
    """
    figure, panels = new_figure("AdaGrad on an ellipse, and on its rotation", 9.0, 9.4, 2, 2)
    angle = math.pi / 4
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    cases = [
        ("axes aligned", BOWL, np.array(BOWL_START)),
        ("rotated by 45°", BOWL.rotated(angle), turn @ BOWL_START),
    ]
    for row, (name, f, start) in enumerate(cases):
        for column, lr in enumerate((0.4, 2.0)):
            axes = panels[2 * row + column]
            path = trace(Rule(lr=lr), f, start, steps)
            _draw_paths(axes, f, {"AdaGrad": path}, window=(np.full(2, -6.0), np.full(2, 1.5)))
            axes.set_title(
                f"lr = {lr}, {name}\nf = {f(path[-1]):.2g} after {steps} steps",
                loc="left",
                fontsize=10,
            )
    return figure


def _check_series(name: str, given: object) -> None:
    if not isinstance(given, Mapping):
        raise TypeError(
            f"{name} must be a mapping from the name of each to its points, got"
            f" {type(given).__name__}"
        )
    if not 1 <= len(given) <= len(SERIES):
        raise ValueError(f"{name} must have 1 to {len(SERIES)} entries, got {len(given)}")


def _draw_paths(
    axes: Axes,
    f: Any,
    paths: Mapping[str, npt.ArrayLike],
    window: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None,
) -> None:
    """Draw paths over contours, in a window (lower left, upper right) that fits by default."""
    arrays = {}
    for name, given in paths.items():
        path = np.asarray(given, np.float64)
        if path.ndim != 2 or path.shape[1] != 2:
            raise ValueError(f"path {name!r} must have shape [steps + 1, 2], got {path.shape}")
        arrays[name] = path[np.isfinite(path).all(axis=1)]
        if not len(arrays[name]):
            raise ValueError(f"path {name!r} has no finite point")
    low, high = _window(np.concatenate(list(arrays.values()))) if window is None else window
    grid = np.stack(np.meshgrid(*np.linspace(low, high, GRID, axis=-1)), axis=-1)
    values = np.asarray(f(grid), np.float64)
    bottom = float(values.min())
    height = float(values.max()) - bottom or 1.0
    # Contours are denser near the bottom, where the paths end.
    levels = bottom + height * np.linspace(0, 1, LEVELS + 1)[1:] ** 2
    axes.contour(*grid.transpose(2, 0, 1), values, levels, colors=GREY, linewidths=0.6, alpha=0.6)
    for (name, path), (colour, marker, line) in zip(arrays.items(), SERIES, strict=False):
        axes.plot(
            *path.T,
            color=colour,
            marker=marker,
            linestyle=line,
            markersize=4.5,
            linewidth=1.5,
            label=name,
        )
    start = next(iter(arrays.values()))[0]
    axes.annotate(
        "start",
        start,
        xytext=(0, -7),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=LABEL_POINTS,
    )
    lowest = grid.reshape(-1, 2)[values.argmin()]
    axes.plot(*lowest, "x", color="black", markersize=7)
    axes.annotate(
        "lowest",
        lowest,
        xytext=(0, 7),
        textcoords="offset points",
        ha="center",
        fontsize=LABEL_POINTS,
    )
    axes.set_aspect("equal")
    axes.set_xlabel("x₁")
    axes.set_ylabel("x₂")


def _window(
    points: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the corners of a rectangle around the points and the origin, not too narrow."""
    low, high = np.minimum(points.min(axis=0), 0), np.maximum(points.max(axis=0), 0)
    longest = max(float((high - low).max()), 1e-9)
    missing = np.maximum(0.4 * longest - (high - low), 0)
    margin = 0.12 * longest + missing / 2
    return low - margin, high + margin


def loss_figure(
    curves: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    title: str = "Loss while learning",
    xlabel: str = "examples seen",
    ylabel: str = "loss",
    reference: tuple[str, float] | None = None,
) -> Figure:
    """Draw losses against the number of examples seen.

    Parameters
    ----------
    curves : mapping of str to (examples, losses)
        1 to 6 curves by name, each two arrays of one length.
    title : str, default "Loss while learning"
        Title of the figure.
    xlabel : str, default "examples seen"
        Quantity that the first array of each curve counts.
    ylabel : str, default "loss"
        Name of the loss, with its unit.
    reference : (str, float), optional
        Name and height of a horizontal line to compare with.

    Returns
    -------
    matplotlib.figure.Figure
        7.2 x 4.6 inches. The loss axis is logarithmic if the losses span more than a decade.

    Raises
    ------
    ValueError
        There is no curve or more than six, or the arrays of a curve are empty or differ in length.
    TypeError
        `curves` is not a mapping.
    """
    _check_series("curves", curves)
    figure, (axes,) = new_figure(title, 7.2, 4.6)
    finite = []
    for (name, points), (colour, marker, line) in zip(curves.items(), SERIES, strict=False):
        examples, losses = _points(name, points)
        axes.plot(
            examples,
            losses,
            color=colour,
            linestyle=line,
            linewidth=1.8,
            marker=marker,
            markersize=5,
            markevery=max(1, len(losses) // 12),
            label=f"{name}: {losses[-1]:.4g} at the end",
        )
        finite.append(losses[np.isfinite(losses) & (losses > 0)])
    spread = np.concatenate(finite)
    if len(spread) and spread.max() > 10 * spread.min():
        axes.set_yscale("log")
        label_logarithmic(axes.yaxis)
    if reference is not None:
        name, level = reference
        axes.axhline(level, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1, label=name)
    axes.xaxis.set_major_formatter(FuncFormatter(number))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.legend(loc="upper right", frameon=False, fontsize=LABEL_POINTS)
    return figure


def _points(name: str, curve: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if not isinstance(curve, (tuple, list)) or len(curve) != 2:
        raise ValueError(f"curve {name!r} must be a pair (examples, losses), got {curve!r}")
    examples, losses = (np.asarray(given, np.float64) for given in curve)
    if examples.ndim != 1 or examples.shape != losses.shape or not len(losses):
        raise ValueError(
            f"curve {name!r} must be two arrays of one length, at least 1, got shapes"
            f" {examples.shape} and {losses.shape}"
        )
    return examples, losses
