"""Three learning rate schedules on rare and frequent features: their rates and their errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adagrad.plotting._style import (
    DASHES,
    GREY,
    SERIES,
    WIDTH,
    label_logarithmic,
    legend_below,
    new_figure,
)
from adagrad.textbook import CLOCKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from adagrad.textbook import RareFeatures


def rates_figure(result: RareFeatures) -> Figure:
    """Draw the rate of each feature after the last step, by clock, against its occurrences.

    Parameters
    ----------
    result : adagrad.textbook.RareFeatures
        The result of `adagrad.textbook.rare_features`.

    Returns
    -------
    matplotlib.figure.Figure
        5.2 x 4 inches, both axes logarithmic.
    """
    figure, (axes,) = new_figure("Effective learning rate of each feature", WIDTH, 4.0)
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
    axes.set_ylabel("rate after the last step")
    legend_below(figure, 1)
    return figure


def decile_figure(result: RareFeatures) -> Figure:
    """Draw the mean squared error of the weights, by clock, from frequent to rare features.

    Parameters
    ----------
    result : adagrad.textbook.RareFeatures
        The result of `adagrad.textbook.rare_features`.

    Returns
    -------
    matplotlib.figure.Figure
        5.2 x 4 inches.
    """
    figure, (axes,) = new_figure("Error of the weights, by frequency", WIDTH, 4.0)
    places = np.arange(1, 11)
    axes.set_yscale("log")
    axes.axhline(1, color=GREY, linewidth=1, linestyle=DASHES, label="nothing learned")
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
    axes.set_xlabel("mean occurrences in each tenth of the features")
    axes.set_ylabel("squared error of the weights")
    legend_below(figure, 1)
    return figure


def _series() -> list[tuple[str, tuple[str, str, object]]]:
    """Return clocks and styles; AdaGrad comes first, because it is blue in every picture."""
    return list(zip(reversed(CLOCKS), SERIES, strict=False))
