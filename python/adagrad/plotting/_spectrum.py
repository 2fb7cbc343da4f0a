"""Gershgorin's discs and the eigenvalues in them: before and after preconditioning, and growing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.patches import Circle

from adagrad.analysis import Quadratic, condition_number, gershgorin_discs, jacobi_precondition
from adagrad.analysis.spectrum import matrix
from adagrad.plotting._style import (
    BLUE,
    DASHES,
    GREY,
    SKY,
    VERMILION,
    WIDTH,
    fit_height,
    legend_below,
    new_figure,
    set_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_DISCS = 50
MOMENTS = 400  # of the way from t = 0 to 1, on the trails


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
    _check_legible("Q", before)
    after = jacobi_precondition(before)
    figure, panels = new_figure("Gershgorin's discs contain every eigenvalue", WIDTH, 6.0, 2)
    for axes, A, name in zip(panels, (before, after), ("Q", "scaled Q"), strict=True):
        _draw_discs(axes, A, name)
    legend_below(figure, 3)
    return figure


def _check_legible(name: str, A: npt.NDArray[np.float64]) -> None:
    if len(A) > MOST_DISCS:
        raise ValueError(f"{name} has {len(A)} rows; at most {MOST_DISCS} discs are legible")


def _draw_discs(axes: Axes, A: npt.NDArray[np.float64], name: str) -> None:
    discs = gershgorin_discs(A)
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
    values = np.linalg.eigvalsh(A)
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
        f"{name}: κ = {condition_number(A):.3g}, "
        + (f"the discs give κ ≤ {bound:.3g}" if bound < math.inf else "a disc reaches 0: no bound"),
    )
    axes.set_xlabel("real part")
    axes.set_ylabel("imaginary part")


def growing_discs_figure(M: npt.ArrayLike, times: Sequence[float] = (0.0, 0.3, 0.6, 1.0)) -> Figure:
    r"""Draw the Gershgorin discs of :math:`D + t\,(M - D)` as they grow with :math:`t`.

    :math:`D` is the diagonal of `M`. At :math:`t = 0` the discs are points, and at :math:`t = 1`
    they are the discs of `M`. No eigenvalue ever leaves the cluster of discs in which it starts
    (`adagrad.analysis.GershgorinDiscs.clusters`).

    Parameters
    ----------
    M : array_like, shape [d, d]
        A real matrix, symmetric or not; ``d`` at most 50.
    times : sequence of float, default (0.0, 0.3, 0.6, 1.0)
        The values of :math:`t`, from 0 to 1; each has a panel.

    Returns
    -------
    matplotlib.figure.Figure
        5.2 inches wide. Dashed circles are the discs of `M`, dots the way of the eigenvalues.

    Raises
    ------
    TypeError
        If `M` is not an array of real numbers.
    ValueError
        If `M` is not square, not finite or has more than 50 rows, or `times` is empty or not from 0
        to 1.
    """
    entries = matrix(M, "M")
    discs = gershgorin_discs(entries)
    _check_legible("M", entries)
    if len(times) == 0 or not all(0 <= t <= 1 for t in times):
        raise ValueError(f"times must be one or more numbers from 0 to 1, got {times!r}")
    center = np.diag(discs.centres)
    way = entries - center
    margin = 0.05 * max(discs.upper - discs.lower, 1.0)
    left, right = discs.lower - margin, discs.upper + margin
    top = float(discs.radii.max()) + margin
    figure, panels = new_figure(
        "Growing discs, and the eigenvalues in them", WIDTH, 2.0 * len(times), len(times)
    )
    for axes, t in zip(panels, times, strict=True):
        for x, radius in zip(discs.centres, discs.radii, strict=True):
            axes.add_patch(Circle((x, 0), radius, fill=False, edgecolor=GREY, linestyle=DASHES))
            axes.add_patch(
                Circle((x, 0), t * radius, facecolor=SKY, edgecolor=BLUE, alpha=0.35, linewidth=1.2)
            )
        moments = np.linspace(0.0, t, round(MOMENTS * t) + 1)[:, np.newaxis, np.newaxis]
        values = np.linalg.eigvals(center + moments * way)
        axes.plot(values.real, values.imag, ".", color=VERMILION, markersize=1)
        axes.plot(discs.centres, 0 * discs.centres, "+", color=BLUE, markersize=9, label="center")
        last = values[-1]
        axes.plot(
            last.real, last.imag, "D", color=VERMILION, markersize=5, mfc="none", label="eigenvalue"
        )
        axes.set_xlim(left, right)
        axes.set_ylim(-top, top)
        axes.set_aspect("equal")
        axes.set_ylabel("imaginary part")
        set_title(axes, f"t = {t:g}")
    panels[-1].set_xlabel("real part")
    legend_below(figure, 2)
    fit_height(figure)
    return figure
