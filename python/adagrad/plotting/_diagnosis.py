"""The picture of ``adagrad diagnose``: frequencies, gradient scales and eigenvalues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

from adagrad._text import printable, three_digits
from adagrad.plotting._style import (
    BLUE,
    GREY,
    LABEL_POINTS,
    VERMILION,
    label_logarithmic,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adagrad.ctr.diagnosis.conditioning import Spectrum
    from adagrad.ctr.diagnosis.diagnosis import Diagnosis

FEW = 50  # up to this many features, each has a visible marker


def diagnosis_figure(diagnosis: Diagnosis, name: str) -> Figure:
    """Draw a diagnosis.

    Left: occurrences of each feature, by rank. Middle: the root mean square of each feature's
    gradient at w = 0, against its occurrences. Right: the eigenvalues of ``X^T X / n`` before and
    after rescaling to ones on its diagonal, with the bounds that Gershgorin's discs give.

    Parameters
    ----------
    diagnosis : adagrad.ctr.diagnosis.Diagnosis
        The diagnosis.
    name : str
        Name of the data, for the title.

    Returns
    -------
    matplotlib.figure.Figure
        13.5 x 4.6 inches.
    """
    name = printable(name)
    name = name if len(name) <= 60 else f"...{name[-57:]}"
    figure, panels = new_figure("", 13.5, 4.6, 1, 3)
    figure.suptitle(
        f"{name}: {diagnosis.rows:,} rows, {diagnosis.features.value:,.0f} features",
        x=0.01,
        ha="left",
        fontsize=12,
        parse_math=False,
    )
    _frequencies(panels[0], diagnosis)
    _scales(panels[1], diagnosis)
    _eigenvalues(panels[2], diagnosis)
    return figure


def _frequencies(axes: Axes, diagnosis: Diagnosis) -> None:
    _logarithmic(axes)
    ranks, counts = diagnosis.ranks, diagnosis.counts
    few = len(ranks) <= FEW
    axes.plot(ranks, counts, color=BLUE, linewidth=1.8, marker="o" if few else "", markersize=5)
    axes.set_xlim(0.8, max(10, int(ranks[-1])) * 1.3)
    rare = diagnosis.RARE
    axes.set_ylim(0.7, max(int(counts.max()), 2 * rare) * 1.6)
    axes.axhline(rare, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
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
    axes.set_xlabel("rank of the feature, most frequent first")
    axes.set_ylabel("occurrences")
    axes.set_title("How often features occur", loc="left", fontsize=11)


def _scales(axes: Axes, diagnosis: Diagnosis) -> None:
    _logarithmic(axes)
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
    axes.set_ylim(least / 1.6, most * 1.6)
    axes.set_xlim(0.8, max(10, int(diagnosis.counts.max())) * 1.3)
    for place, text, up in ((high, "99 % of the features are below", True), (low, "1 %", False)):
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
    axes.set_xlabel("occurrences")
    axes.set_ylabel("root mean square of the gradient at w = 0")
    axes.set_title(
        f"Gradient scales: {three_digits(diagnosis.scale_ratio)} to 1", loc="left", fontsize=11
    )


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
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.3)  # room for the legend
    axes.set_xlabel(f"eigenvalue of X'X / n, {at.features} most frequent features")
    axes.set_title("Conditioning", loc="left", fontsize=11)
    axes.legend(loc="upper right", frameon=False, fontsize=LABEL_POINTS, borderaxespad=0)


def _bounds(axes: Axes, spectrum: Spectrum, colour: str) -> None:
    for bound in (spectrum.discs.lower, spectrum.discs.upper):
        if bound > 0:
            axes.axhline(bound, color=colour, linewidth=1, linestyle=(0, (1, 1.5)))


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    label_logarithmic(axes.xaxis, axes.yaxis)
