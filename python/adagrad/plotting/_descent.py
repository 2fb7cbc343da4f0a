"""Descents: their paths over the contours of a function, and losses against examples."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import FuncFormatter, MaxNLocator

from adagrad.analysis import trace
from adagrad.analysis.spectrum import real
from adagrad.plotting._landscape import Landscape, checked_paths, window
from adagrad.plotting._style import (
    DASHES,
    GREY,
    SERIES,
    WIDTH,
    check_series,
    fit_height,
    label_logarithmic,
    label_right_edge,
    legend_below,
    new_figure,
    number,
    set_title,
)
from adagrad.rule import Rule
from adagrad.textbook import BOWL, BOWL_START

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_LABEL, LONGEST_SIDE = 15, 28  # characters in a line of text at the right and left edge


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
        5.2 inches wide, and as high as equal axes need around the paths and the minimum. Every
        other contour shows its value. Points that are not finite are left out.

    Raises
    ------
    ValueError
        There is no path or more than six, or a path has another shape or no finite point.
    TypeError
        `paths` is not a mapping, or a path has something other than real numbers.
    """
    check_series("paths", paths)
    arrays = checked_paths(paths)
    figure, (axes,) = new_figure(title, WIDTH, WIDTH)
    landscape = Landscape.draw(axes, f, *window(f, np.concatenate(list(arrays.values()))))
    for (name, path), look in zip(arrays.items(), SERIES, strict=False):
        landscape.draw_path(path, look, name)
    legend_below(figure, 3)
    fit_height(figure)
    landscape.write_texts()
    return figure


def bowl_figure(steps: int = 20) -> Figure:
    """Draw AdaGrad on the quadratic bowl of the textbook chapter, and on the rotated bowl.

    The rates are 0.4 and 2.0, the bowl is :math:`0.1 x_1^2 + 2 x_2^2` and the start (-5, -2). In
    the lower row, bowl and start are rotated by 45 degrees.

    Parameters
    ----------
    steps : int, default 20
        Steps of each path.

    Returns
    -------
    matplotlib.figure.Figure
        5.2 x 5.5 inches, two by two panels; those of a row have the same, equal axes.
    """
    angle = math.pi / 4
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    rows = []
    for name, f, start in (
        ("", BOWL, np.array(BOWL_START)),
        (", rotated by 45°", BOWL.rotated(angle), turn @ BOWL_START),
    ):
        paths = {lr: trace(Rule(lr=lr), f, start, steps) for lr in (0.4, 2.0)}
        rows.append((name, f, paths, window(f, np.concatenate(list(paths.values())))))
    figure, panels = new_figure(
        f"AdaGrad on an ellipse, {steps} steps",
        WIDTH,
        WIDTH,
        2,
        2,
        [(high - low)[1] / (high - low)[0] for *_, (low, high) in rows],
    )
    landscapes = []
    for (name, f, paths, corners), row in zip(rows, (panels[:2], panels[2:]), strict=True):
        for (lr, path), axes in zip(paths.items(), row, strict=True):
            landscapes.append(Landscape.draw(axes, f, *corners))
            landscapes[-1].draw_path(path, SERIES[0], "AdaGrad")
            set_title(axes, f"lr = {lr}{name}\nf = {f(path[-1]):.2g} at the end")
    fit_height(figure, 2)
    for landscape in landscapes:
        landscape.write_texts()
    return figure


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
        5.2 x 3.2 inches. The loss axis is logarithmic if the losses span more than a decade.

    Raises
    ------
    ValueError
        There is no curve or more than six, or the arrays of a curve are empty or differ in length.
    TypeError
        `curves` is not a mapping, or a curve has something other than real numbers.
    """
    check_series("curves", curves)
    figure, (axes,) = new_figure(title, WIDTH, 3.2)
    finite, labels = [], []
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
            label=name,
        )
        finite.append(losses[np.isfinite(losses) & (losses > 0)])
        labels.append((_last(losses), f"{_wrapped(name)}\n{losses[-1]:.4g}", colour))
    spread = np.concatenate(finite)
    if len(spread) and spread.max() > 10 * spread.min():
        axes.set_yscale("log")
        label_logarithmic(axes.yaxis)
    if reference is not None:
        name, level = reference
        axes.axhline(level, color=GREY, linewidth=1, linestyle=DASHES, zorder=1, label=name)
        labels.append((level, _wrapped(name), GREY))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(number))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(textwrap.fill(ylabel, LONGEST_SIDE))
    label_right_edge(axes, labels)
    return figure


def _last(losses: npt.NDArray[np.float64]) -> float:
    """Return the last loss that is drawn."""
    drawn = losses[np.isfinite(losses)]
    return float(drawn[-1]) if len(drawn) else math.nan


def _wrapped(name: str) -> str:
    return textwrap.fill(name, LONGEST_LABEL)


def _points(name: str, curve: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if not isinstance(curve, (tuple, list)) or len(curve) != 2:
        raise ValueError(f"curve {name!r} must be a pair (examples, losses), got {curve!r}")
    examples, losses = (real(given, f"curve {name!r}").astype(np.float64) for given in curve)
    if examples.ndim != 1 or examples.shape != losses.shape or not len(losses):
        raise ValueError(
            f"curve {name!r} must be two arrays of one length, at least 1, got shapes"
            f" {examples.shape} and {losses.shape}"
        )
    return examples, losses
