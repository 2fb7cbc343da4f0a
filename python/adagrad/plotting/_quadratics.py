"""Quadratics in the plane: their level sets, and what moves their minimizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from adagrad._arguments import check_real
from adagrad.analysis import Quadratic, condition_number
from adagrad.plotting._landscape import checked_paths
from adagrad.plotting._style import (
    BLUE,
    GREEN,
    GREY,
    SKY,
    VERMILION,
    WIDTH,
    check_series,
    legend_below,
    new_figure,
    set_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

MOST_PANELS = 3
LEVELS = 5
ANGLES = np.linspace(0, 2 * np.pi, 181)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)])


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
        5.2 inches wide. The unit has the same length along both axes of a panel, and each panel
        shows its condition number. The arrows from the minimizer are the eigenvectors. They end
        at the outermost level, which passes through the start of the path, or else through the
        origin.

    Raises
    ------
    TypeError
        `functions` or `paths` is not a mapping, or has something other than quadratics or arrays of
        real numbers.
    ValueError
        There are no functions or more than three, one is not positive definite or not of two
        variables, or a path has another shape or no function.
    """
    check_series("functions", functions, MOST_PANELS)
    if paths is not None:
        check_series("paths", paths, MOST_PANELS)
    arrays = checked_paths(paths or {})
    for name in arrays:
        if name not in functions:
            raise ValueError(f"path {name!r} has no function")
    height = 3.3 if len(functions) > 1 else 4.6
    figure, panels = new_figure(title, WIDTH, height, columns=len(functions))
    for axes, (name, f) in zip(panels, functions.items(), strict=True):
        _draw_levels(axes, f, arrays.get(name))
        set_title(axes, f"in {name}: κ = {condition_number(f.Q):.3g}")
        axes.set_xlabel(f"{name}₁")
        axes.set_ylabel(f"{name}₂", rotation=0, labelpad=10)
    legend_below(figure, 4)
    return figure


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
    axes.locator_params(nbins=5, steps=[1, 2, 5, 10])


def _ellipse(f: Quadratic) -> tuple[Array, Array]:
    """Return the center and, as columns, the half axes of the level 1/2 above the minimum."""
    if not isinstance(f, Quadratic):
        raise TypeError(f"only a Quadratic can be drawn, got {type(f).__name__}")
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
        5.2 inches wide; two panels with the same scale. The disc becomes an ellipse along the
        eigenvectors, whose half axes are `radius` divided by the eigenvalues.

    Raises
    ------
    TypeError
        `f` is not a quadratic, or `radius` is not a real number.
    ValueError
        The function is not positive definite or not of two variables, or `radius` is not positive.
    """
    radius = check_real("radius", radius)
    if radius == 0:
        raise ValueError("radius must be positive, got 0")
    center, _ = _ellipse(f)
    figure, panels = new_figure("What a change of c does to the minimizer", WIDTH, 3.3, columns=2)
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
        set_title(axes, name)
        half = 1.15 * radius * max(1.0, 1 / f.eigenvalues[0])
        axes.set_xlim(place[0] - half, place[0] + half)
        axes.set_ylim(place[1] - half, place[1] + half)
        axes.set_aspect("equal")
        axes.locator_params(nbins=5, steps=[1, 2, 5, 10])
        axes.set_xlabel(f"{letter}₁")
        axes.set_ylabel(f"{letter}₂", rotation=0, labelpad=10)
    legend_below(figure, 2)
    return figure
