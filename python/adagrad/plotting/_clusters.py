"""Gershgorin's discs as they grow, and the eigenvalues that move inside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.patches import Circle

from adagrad.analysis import gershgorin_discs
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
    from matplotlib.figure import Figure

MOMENTS = 400  # of the way from t = 0 to 1, on the trails


def growing_discs_figure(M: npt.ArrayLike, times: Sequence[float] = (0.0, 0.3, 0.6, 1.0)) -> Figure:
    r"""Draw the Gershgorin discs of :math:`D + t\,(M - D)` as they grow with :math:`t`.

    :math:`D` is the diagonal of `M`. At :math:`t = 0` the discs are points, and at :math:`t = 1`
    they are the discs of `M`. No eigenvalue ever leaves the cluster of discs in which it starts
    (`adagrad.analysis.GershgorinDiscs.clusters`).

    Parameters
    ----------
    M : array_like, shape [d, d]
        A real matrix, symmetric or not.
    times : sequence of float, default (0.0, 0.3, 0.6, 1.0)
        The values of :math:`t`, from 0 to 1; each has a panel.

    Returns
    -------
    matplotlib.figure.Figure
        5.2 inches wide. Dashed circles are the discs of `M`, dots the way of the eigenvalues.

    Raises
    ------
    ValueError
        If `M` is not square or not finite, or `times` is empty or not from 0 to 1.
    """
    discs = gershgorin_discs(M)
    if len(times) == 0 or not all(0 <= t <= 1 for t in times):
        raise ValueError(f"times must be one or more numbers from 0 to 1, got {times!r}")
    center = np.diag(discs.centres)
    way = np.asarray(M, np.float64) - center
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
