"""Gershgorin's discs and the eigenvalues in them, before and after preconditioning."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.patches import Circle

from adagrad.analysis import Quadratic, condition_number, gershgorin_discs, jacobi_precondition
from adagrad.plotting._style import (
    BLUE,
    SKY,
    VERMILION,
    WIDTH,
    legend_below,
    new_figure,
    set_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_DISCS = 50


def gershgorin_figure(Q: npt.ArrayLike) -> Figure:
    """Draw the discs of a matrix, before and after `adagrad.analysis.jacobi_precondition`.

    Parameters
    ----------
    Q : array_like, shape [d, d]
        Symmetric, positive semidefinite, with a positive diagonal; ``d`` at most 50.

    Returns
    -------
    matplotlib.figure.Figure
        5.2 x 6 inches, before above after. Each panel has equal axes and shows the condition number
        and the bound that the discs give.

    Raises
    ------
    ValueError
        `Q` is not such a matrix, or has more than 50 rows.
    """
    before = Quadratic(Q).Q
    if len(before) > MOST_DISCS:
        raise ValueError(f"Q has {len(before)} rows; at most {MOST_DISCS} discs are legible")
    after = jacobi_precondition(before)
    figure, panels = new_figure("Gershgorin's discs contain every eigenvalue", WIDTH, 6.0, 2)
    for axes, matrix, name in zip(panels, (before, after), ("Q", "scaled Q"), strict=True):
        _draw_discs(axes, matrix, name)
    legend_below(figure, 3)
    return figure


def _draw_discs(axes: Axes, matrix: npt.NDArray[np.float64], name: str) -> None:
    discs = gershgorin_discs(matrix)
    order = np.argsort(-discs.radii, kind="stable")
    for place, i in enumerate(order):
        axes.add_patch(
            Circle(
                (discs.centres[i], 0),
                discs.radii[i],
                facecolor=SKY,
                edgecolor=BLUE,
                alpha=max(0.1, 0.5 / len(order) ** 0.5),
                linewidth=1.2,
                label="disc" if place == 0 else None,
            )
        )
    values = np.linalg.eigvalsh(matrix)
    zeros = np.zeros_like(values)
    axes.plot(discs.centres, zeros, "+", color=BLUE, markersize=9, label="center")
    axes.plot(values, zeros, "D", color=VERMILION, markersize=5, mfc="none", label="eigenvalue")
    low, high = min(discs.lower, 0.0), discs.upper
    margin = 0.06 * (high - low)
    axes.set_xlim(low - margin, high + margin, auto=None)
    axes.set_aspect("equal", adjustable="datalim")
    axes.axvline(0, color="black", linewidth=0.8)
    bound = discs.condition_bound
    set_title(
        axes,
        f"{name}: κ = {condition_number(matrix):.3g}, "
        + (f"the discs give κ ≤ {bound:.3g}" if bound < math.inf else "a disc reaches 0: no bound"),
    )
    axes.set_xlabel("real part")
    axes.set_ylabel("imaginary part")
