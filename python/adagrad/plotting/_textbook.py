"""Three clocks on features of different frequency: their rates, and what they have learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adagrad.plotting._style import GREY, LABEL_POINTS, SERIES, label_logarithmic, new_figure
from adagrad.textbook import CLOCKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from adagrad.textbook import RareFeatures


def rates_figure(result: RareFeatures) -> Figure:
    """Draw the rate that each clock has left for a feature, against how often it occurred.

    Parameters
    ----------
    result : adagrad.textbook.RareFeatures
        From `adagrad.textbook.rare_features`.

    Returns
    -------
    matplotlib.figure.Figure
        7.2 x 4.8 inches, both axes logarithmic.
    """
    figure, (axes,) = new_figure("The rate that is left for a feature", 7.2, 4.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for clock, (colour, marker, _) in _series():
        axes.plot(
            result.counts,
            result.rates[clock],
            marker,
            color=colour,
            markersize=3.5,
            markeredgewidth=0,
            alpha=0.6,
            rasterized=True,
        )
        label = f"{clock} (best lr {result.lr[clock]:g})"
        axes.plot([], [], marker, color=colour, markersize=6, label=label)
    label_logarithmic(axes.xaxis, axes.yaxis)
    axes.set_xlabel("occurrences of the feature")
    axes.set_ylabel("effective learning rate after the last step")
    axes.legend(loc="upper right", frameon=False, fontsize=LABEL_POINTS)
    return figure


def decile_figure(result: RareFeatures) -> Figure:
    """Draw how wrong the weights of frequent and of rare features still are.

    Parameters
    ----------
    result : adagrad.textbook.RareFeatures
        From `adagrad.textbook.rare_features`.

    Returns
    -------
    matplotlib.figure.Figure
        7.2 x 4.8 inches.
    """
    figure, (axes,) = new_figure("A global schedule starves rare features", 7.2, 4.8)
    places = np.arange(1, 11)
    axes.set_yscale("log")
    axes.axhline(1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="nothing learnt")
    for clock, (colour, marker, line) in _series():
        axes.plot(
            places,
            result.by_decile(result.errors[clock]),
            color=colour,
            marker=marker,
            linestyle=line,
            markersize=7,
            linewidth=1.8,
            label=f"{clock} (best lr {result.lr[clock]:g})",
        )
    mean_counts = result.by_decile(result.counts.astype(np.float64))
    axes.set_xticks(places, [f"{count:,.0f}" for count in mean_counts])
    label_logarithmic(axes.yaxis)
    axes.set_xlabel("mean occurrences in each tenth of the features, frequent to rare")
    axes.set_ylabel("mean squared error of the weights\n(the true ones have variance 1)")
    axes.legend(loc="lower right", frameon=False, fontsize=LABEL_POINTS)
    return figure


def _series() -> list[tuple[str, tuple[str, str, object]]]:
    """Return AdaGrad in blue, as everywhere, and the others after it."""
    return list(zip(reversed(CLOCKS), SERIES, strict=False))
