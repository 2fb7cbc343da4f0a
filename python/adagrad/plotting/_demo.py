"""The picture of ``adagrad demo``: learning curves and the rate of every feature."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from adagrad._text import printable, shortened
from adagrad.metrics import learning_curve
from adagrad.plotting._style import (
    BLUE,
    DASHES,
    GREEN,
    GREY,
    SKY,
    TITLE_POINTS,
    VERMILION,
    WIDTH,
    label_logarithmic,
    label_right_edge,
    legend_below,
    new_figure,
    number,
    set_title,
)
from adagrad.rule import Rule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adagrad.demo import Comparison

HEIGHT = 5.8
LONGEST_LABEL = 13  # characters in a line of text at the right edge
# Before this share of the log, a learning curve is mostly noise that would stretch the axis.
SETTLED = 0.05
FEW = 20  # up to this many points of a curve, each has a marker


def demo_figure(comparison: Comparison) -> Figure:
    """Draw the result of :func:`adagrad.demo.compare`.

    Top: learning curves, the normalized entropy of all examples so far against the number of
    examples, from 5 % of the log on. Bottom: AdaGrad's effective rate of every feature against its
    number of occurrences, with the rates that the two kinds of SGD use for all features.

    Parameters
    ----------
    comparison : adagrad.demo.Comparison
        The result.

    Returns
    -------
    matplotlib.figure.Figure
        5.2 x 5.8 inches; ``savefig(path, dpi=180)`` gives 936 x 1044 pixels.
    """
    log = comparison.log
    name = shortened(printable(log.name), 30)
    figure, (top, bottom) = new_figure("", WIDTH, HEIGHT, 2)
    figure.suptitle(
        f"{name}: {len(log):,} examples, {100 * comparison.base_rate:.3g} % positive",
        x=0.01,
        ha="left",
        fontsize=TITLE_POINTS,
        parse_math=False,
    )
    curves = _learning_curves(top, comparison)
    rates = _effective_rates(bottom, comparison)
    legend_below(figure, 1, bottom)
    label_right_edge(top, curves)
    label_right_edge(bottom, rates)
    return figure


def _learning_curves(axes: Axes, comparison: Comparison) -> list[tuple[float, str, str]]:
    """Draw the curves, and return what to write at their ends."""
    log = comparison.log
    curves = []
    for run, colour in zip(comparison.runs, (BLUE, VERMILION, GREEN), strict=True):
        seen, entropy = learning_curve(log.labels, run.predictions)
        settled = (seen >= SETTLED * len(log)) & np.isfinite(entropy)
        if settled.sum() > 1:
            curves.append((run.learner.title, colour, seen[settled], entropy[settled]))
    if not curves:
        text = "too few examples for a curve"
        axes.text(0.5, 0.25, text, ha="center", color=GREY, transform=axes.transAxes)
    labels = []
    for title, colour, seen, entropy in curves:
        marker = "o" if len(seen) <= FEW else ""
        axes.plot(seen, entropy, color=colour, linewidth=1.8, marker=marker, markersize=4)
        labels.append(
            (
                float(entropy[-1]),
                textwrap.fill(f"{title} {entropy[-1]:.3f}", LONGEST_LABEL),
                colour,
            )
        )
    low = min((float(entropy.min()) for *_, entropy in curves), default=0.9)
    high = max((float(entropy.max()) for *_, entropy in curves), default=1.1)
    # Show the base rate only if that does not flatten the curves.
    if low - (high - low) <= 1 <= high + (high - low):
        low, high = min(low, 1.0), max(high, 1.0)
        axes.axhline(1, color=GREY, linewidth=1, linestyle=DASHES, zorder=1)
        labels.append((1.0, "base rate 1", GREY))
    margin = 0.05 * (high - low) + 1e-4
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlim(0, len(log))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(number))
    axes.set_xlabel("examples seen")
    axes.set_ylabel("normalized entropy so far")
    set_title(axes, "Learning curves (lower is better)")
    return labels


def _effective_rates(axes: Axes, comparison: Comparison) -> list[tuple[float, str, str]]:
    """Draw a dot for each feature, and return what to write beside the lines."""
    from adagrad.demo import EPS  # imported here because it needs the extra "ctr"

    adagrad, constant, decaying = (run.learner for run in comparison.runs)
    counts, rates = comparison.counts, comparison.effective_rates
    last = decaying.lr / len(comparison.log) ** 0.5
    axes.set_xscale("log")
    axes.set_yscale("log")
    alpha = float(np.clip(10 / np.sqrt(max(len(counts), 1)), 0.25, 0.8))
    for met, colour, text in (
        (False, SKY, "AdaGrad, feature that occurs in negatives only"),
        (True, BLUE, "AdaGrad, feature that occurs in a positive"),
    ):
        chosen = comparison.met_positive == met
        # As vectors, so many dots would make an SVG or PDF of megabytes.
        axes.plot(
            counts[chosen],
            rates[chosen],
            "o",
            color=colour,
            markersize=3.5,
            markeredgewidth=0,
            alpha=alpha,
            rasterized=True,
        )
        axes.plot([], [], "o", color=colour, markersize=5, label=text)
    everything = np.array([*rates, constant.lr, last])
    low, high = float(everything.min()), float(everything.max())
    most = int(counts.max(initial=10))
    axes.set_ylim(low / 1.6, high * 1.6)
    axes.set_xlim(0.8, most * 1.3)
    steps = np.array([1, most])
    axes.plot(
        steps,
        Rule(lr=adagrad.lr, eps=EPS).rate(steps),
        color="black",
        linewidth=1,
        linestyle=(0, (1, 2)),
        label=f"{adagrad.lr:g} / √occurrences: AdaGrad, if every |g| were 1",
    )
    axes.axhline(constant.lr, color=VERMILION, linewidth=1.8)
    axes.axhline(last, color=GREEN, linewidth=1.8)
    label_logarithmic(axes.xaxis, axes.yaxis)
    axes.set_xlabel("occurrences of the feature in the log")
    axes.set_ylabel("learning rate at the end\nlr / √(s + ε)")
    set_title(axes, "AdaGrad's learning rate of each feature")
    return [
        (constant.lr, f"constant\nrate {constant.lr:.2g}", VERMILION),
        (last, f"global\nrate {last:.2g}", GREEN),
    ]
