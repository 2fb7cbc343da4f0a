"""The picture of ``adagrad diagnose``: frequencies, gradient scales and eigenvalues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

from adagrad._text import printable, three_digits
from adagrad.plotting._style import (
    BLUE,
    DASHES,
    GREY,
    LABEL_POINTS,
    TITLE_POINTS,
    VERMILION,
    WIDTH,
    label_logarithmic,
    legend_below,
    new_figure,
    set_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adagrad.ctr.diagnosis.conditioning import Spectrum
    from adagrad.ctr.diagnosis.diagnosis import Diagnosis

LONGEST_NAME = 28
FEW = 50  # up to this many features, each has a visible marker


def diagnosis_figure(diagnosis: Diagnosis, name: str) -> Figure:
    r"""Draw a diagnosis.

    Top: occurrences of each feature, by rank. Middle: the root mean square of each feature's
    gradient at :math:`w = 0`, against its occurrences. Bottom: the eigenvalues of :math:`X^\top X /
    n` before and after rescaling to ones on its diagonal, with the bounds that Gershgorin's discs
    give.

    Parameters
    ----------
    diagnosis : adagrad.ctr.diagnosis.Diagnosis
        The diagnosis.
    name : str
        Name of the data, for the title.

    Returns
    -------
    matplotlib.figure.Figure
        5.2 x 8.4 inches.
    """
    name = printable(name)
    name = name if len(name) <= LONGEST_NAME else f"...{name[3 - LONGEST_NAME :]}"
    figure, panels = new_figure("", WIDTH, 8.4, 3)
    figure.suptitle(
        f"{name}: {diagnosis.rows:,} rows, {diagnosis.features.value:,.0f} features",
        x=0.01,
        ha="left",
        fontsize=TITLE_POINTS,
        parse_math=False,
    )
    _frequencies(panels[0], diagnosis)
    _scales(panels[1], diagnosis)
    _eigenvalues(panels[2], diagnosis)
    legend_below(figure, 1, panels[2])
    return figure


def _frequencies(axes: Axes, diagnosis: Diagnosis) -> None:
    axes.loglog()
    ranks, counts = diagnosis.ranks, diagnosis.counts
    few = len(ranks) <= FEW
    axes.plot(ranks, counts, color=BLUE, linewidth=1.8, marker="o" if few else "", markersize=5)
    axes.set_xlim(0.8, max(10, int(ranks[-1])) * 1.3)
    rare = diagnosis.RARE
    axes.set_ylim(0.7, max(int(counts.max()), 2 * rare) * 1.6)
    axes.axhline(rare, color=GREY, linewidth=1, linestyle=DASHES)
    share = 100 * diagnosis.rare.value
    axes.annotate(
        f"{share:.0f} % of the features: {rare} times or fewer",
        (0.02, rare),
        xycoords=("axes fraction", "data"),
        xytext=(0, -4),
        textcoords="offset points",
        va="top",
        color=GREY,
        fontsize=LABEL_POINTS,
    )
    label_logarithmic(axes.xaxis, axes.yaxis)
    axes.set_xlabel("rank of the feature, most frequent first")
    axes.set_ylabel("occurrences")
    set_title(axes, "How often features occur")


def _scales(axes: Axes, diagnosis: Diagnosis) -> None:
    axes.loglog()
    axes.plot(
        diagnosis.counts,
        diagnosis.rms,
        "o",
        color=BLUE,
        markersize=3.5 if len(diagnosis.rms) > FEW else 6,
        markeredgewidth=0,
        alpha=float(np.clip(10 / np.sqrt(len(diagnosis.rms)), 0.3, 0.9)),
        rasterized=True,  # as vectors, so many dots would make an SVG of megabytes
    )
    low, _, high = diagnosis.scales
    least, most = float(diagnosis.rms.min()), float(diagnosis.rms.max())
    axes.set_ylim(min(least, low / 2) / 1.6, most * 1.6)
    axes.set_xlim(0.8, max(10, int(diagnosis.counts.max())) * 1.3)
    for place, text, up in ((high, "99 % are below", True), (low, "1 % are below", False)):
        axes.axhline(place, color=VERMILION, linewidth=1.2, linestyle=(0, (5, 2)))
        axes.annotate(
            text,
            (0.02, place),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3 if up else -3),
            textcoords="offset points",
            va="bottom" if up else "top",
            color=VERMILION,
            fontsize=LABEL_POINTS,
        )
    label_logarithmic(axes.xaxis, axes.yaxis)
    axes.set_xlabel("occurrences")
    axes.set_ylabel("gradient at w = 0\n(root mean square)")
    set_title(axes, f"Gradient scales: {three_digits(diagnosis.scale_ratio)} to 1")


def _eigenvalues(axes: Axes, diagnosis: Diagnosis) -> None:
    axes.set_yscale("log")
    at = diagnosis.conditioning
    series = (
        (at.before, "unscaled", BLUE, "o"),
        (at.after, "ones on the diagonal", VERMILION, "s"),
    )
    for spectrum, what, colour, marker in series:
        values = spectrum.eigenvalues[-at.rank :][::-1]
        axes.plot(
            np.arange(1, at.rank + 1),
            np.maximum(values, np.finfo(np.float64).tiny),
            color=colour,
            marker=marker,
            markersize=4,
            markevery=max(1, at.rank // 12),
            linewidth=1.6,
            label=f"{what}: condition number {three_digits(spectrum.condition)}",
        )
        _bounds(axes, spectrum, colour)
    axes.plot([], [], color=GREY, linewidth=1, linestyle=(0, (1, 1.5)), label="Gershgorin's bound")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    label_logarithmic(axes.yaxis)
    axes.set_xlabel("rank of the eigenvalue of X'X / n, largest first")
    axes.set_ylabel("eigenvalue")
    set_title(axes, f"Conditioning of the {at.features} most frequent features")


def _bounds(axes: Axes, spectrum: Spectrum, colour: str) -> None:
    for bound in (spectrum.discs.lower, spectrum.discs.upper):
        if bound > 0:
            axes.axhline(bound, color=colour, linewidth=1, linestyle=(0, (1, 1.5)))
