"""The experiments of the textbook: rates and errors of three schedules, and curves of any kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import FuncFormatter

from adagrad.plotting._style import (
    DASHES,
    GREY,
    SERIES,
    WIDTH,
    label_logarithmic,
    legend_below,
    new_figure,
    number,
)
from adagrad.textbook import CLOCKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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


def curves_figure(
    panels: Mapping[str, Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]],
    *,
    title: str,
    xlabel: str,
    references: Collection[str] = (),
    logarithmic: bool = True,
) -> Figure:
    """Draw curves in panels one above the other, with one legend.

    Parameters
    ----------
    panels : mapping of str to mapping of str to (x, y)
        The curves of each panel by name; the name of a panel labels its vertical axis. A curve of
        the same name looks the same in every panel.
    title : str
        Title of the figure.
    xlabel : str
        Label of the horizontal axis, which the panels share.
    references : collection of str, default ()
        Names of curves to compare with, which are thin, gray and dashed.
    logarithmic : bool, default True
        Whether the axes are logarithmic.

    Returns
    -------
    matplotlib.figure.Figure
        5.2 inches wide.

    Raises
    ------
    ValueError
        There is no panel, there are no or more than 6 curves besides references, or a curve is
        not two arrays of one length.
    """
    names = dict.fromkeys(name for curves in panels.values() for name in curves)
    compared = [name for name in names if name not in references]
    if not 1 <= len(compared) <= len(SERIES):
        raise ValueError(f"there must be 1 to {len(SERIES)} curves, got {len(compared)}")
    styles = dict(zip(compared, SERIES, strict=False))
    figure, axes_list = new_figure(title, WIDTH, 1.4 + 2.5 * len(panels), rows=len(panels))
    for axes, (ylabel, curves) in zip(axes_list, panels.items(), strict=True):
        for name, (x, y) in curves.items():
            _draw_curve(axes, name, x, y, styles.get(name))
        if logarithmic:
            axes.set_xscale("log")
            axes.set_yscale("log")
            label_logarithmic(axes.xaxis, axes.yaxis)
        else:
            axes.xaxis.set_major_formatter(FuncFormatter(number))
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
    legend_below(figure, 2)
    return figure


def _draw_curve(
    axes: Axes,
    name: str,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    style: tuple[str, str, object] | None,
) -> None:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ValueError(
            f"curve {name!r} must be two arrays of one length, at least 1, got shapes {x.shape}"
            f" and {y.shape}"
        )
    if style is None:
        axes.plot(x, y, color=GREY, linewidth=1, linestyle=DASHES, zorder=1, label=name)
        return
    colour, marker, dashes = style
    axes.plot(
        x,
        y,
        color=colour,
        linestyle=dashes,
        linewidth=1.8,
        marker=marker,
        markersize=5.5,
        markevery=0.11 if len(x) > 30 else None,
        label=name,
    )


def _series() -> list[tuple[str, tuple[str, str, object]]]:
    """Return clocks and styles; AdaGrad comes first, because it is blue in every picture."""
    return list(zip(reversed(CLOCKS), SERIES, strict=False))
