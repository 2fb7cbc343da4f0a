"""The pictures of the report: SVG by matplotlib, to be embedded in a page in its colors."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from adagrad._looks import BLUE, DASHES, SERIES, VERMILION, logarithmic_digits
from adagrad._text import printable, shortened
from adagrad.ctr.learners.mixture import EXPERTS
from adagrad.ctr.learners.progressive import Progressive
from adagrad.ctr.training import insight
from adagrad.ctr.training.contribution import Contributions
from adagrad.ctr.training.curve import PLAIN, mixed_at
from adagrad.metrics import entropy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = ["GROUPS", "contributed", "curves", "experts", "gains", "lift", "rates", "reliability"]

GROUPS = 20
MAX_DOTS = 3_000
MAX_BARS = 24
SQUARE = 4.0  # height in inches of a picture whose axes have one unit
OCTAVES = 12  # of a learning curve that are drawn: the last ones

# Text and axes take the color of the page's text, light or dark. matplotlib has no such color, so
# it draws them in colors that are used nowhere else, and the SVG text replaces those.
INK, PALE = "#123456", "#654321"

Floats = npt.NDArray[np.float64]


def gains(board: Progressive) -> tuple[Floats, Floats]:
    """Return the shares of examples and of positives above each threshold, from 0 to 1."""
    negatives, positives = board.bins[:, ::-1]
    both = np.cumsum(negatives + positives)
    some = np.flatnonzero(negatives + positives)
    shown = np.concatenate([[0.0], both[some] / both[-1]])
    hit = np.concatenate([[0.0], np.cumsum(positives)[some] / (positives.sum() or 1.0)])
    return shown, hit


@contextmanager
def _drawing(
    name: str, columns: int, height: float = 3.2
) -> Iterator[tuple[Sequence[Axes], list[str]]]:
    """Yield axes, and a list that receives one SVG per axes when the context ends."""
    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "adagrad",
        "font.family": "sans-serif",
        "text.color": INK,
        "axes.edgecolor": PALE,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.formatter.use_mathtext": False,
        "font.size": 10,
    }
    pictures: list[str] = []
    with rc_context(style):
        figures = [Figure(figsize=(4.4, height), layout="constrained") for _ in range(columns)]
        yield [figure.subplots() for figure in figures], pictures
        for figure in figures:
            figure.patch.set_visible(False)
            for axes in figure.axes:
                axes.patch.set_visible(False)
            text = io.StringIO()
            figure.savefig(text, format="svg", metadata={"Date": None})
            pictures.append(_inline(text.getvalue(), f"{name}{len(pictures)}-", figure))


def _inline(svg: str, prefix: str, figure: Figure) -> str:
    """Return an SVG file as an element of the page, in the colors and fonts of its text."""
    svg = svg[svg.index("<svg") :]
    svg = svg.replace(INK, "currentColor").replace(PALE, "currentColor")
    svg = svg.replace(BLUE.lower(), "var(--blue)")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href")
    # The name of the font is a property of its own since matplotlib 3.11.
    svg = re.sub(r'font: [^;"]*?(\d+(\.\d+)?)px [^;"]*', r"font-size: \1px", svg)
    svg = re.sub(r' font-family: [^;"]*;', "", svg)
    svg = svg.replace("<svg", '<svg font-family="system-ui, sans-serif"', 1)
    # Identifiers must be unique in the page, and matplotlib's are unique in one picture only.
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}", svg)
    label = "; ".join(f"{a.get_ylabel()} against {a.get_xlabel()}" for a in figure.axes)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)


def curves(curve: list[list[float]]) -> str:
    """Draw NE, logloss and AUC against the examples of the first pass, of two or more points."""
    points = np.array([point[:PLAIN] for point in curve], np.float64)
    windows = np.diff(points[:, :3], axis=0, prepend=0.0)
    late = points[:, 0] >= points[-1, 0] / 2**OCTAVES
    points, windows = points[late], windows[late]
    examples, positive, loss, _, auc = points.T
    drawn: list[tuple[str, Floats, Floats | None]] = []
    for name, loss_of in (("NE", _normalized_entropy), ("logloss", _mean_loss)):
        drawn.append((name, loss_of(examples, positive, loss), loss_of(*windows.T)))
    drawn.append(("AUC", auc, None))
    # Labels that are all alike have no NE and no AUC; and one point is no curve.
    drawn = [line for line in drawn if np.isfinite(line[1]).sum() > 1]
    if not drawn:
        return "<p>There are too few examples for a curve.</p>"
    with _drawing("curve", len(drawn), 2.6) as (axes, pictures):
        for ax, (name, total, window) in zip(axes, drawn, strict=True):
            if window is not None:
                ax.plot(examples, window, color=BLUE, alpha=0.45, linewidth=1)
            ax.plot(examples, total, color=BLUE, linewidth=2, marker="o", markersize=2.5)
            if name == "NE":
                ax.axhline(1, color=VERMILION, linewidth=1, linestyle=DASHES)
            _count_axis(ax, examples)
            ax.set_ylabel(f"{name} so far")
    return _figures(pictures)


def experts(curve: list[list[float]]) -> str:
    """Draw the weights of the experts of a mixture, and their losses beside its own."""
    points = [point for point in curve if len(point) > PLAIN]
    if len(points) < 2:
        return ""
    points = [point for point in points if point[0] >= points[-1][0] / 2**OCTAVES]
    examples = np.array([point[0] for point in points])
    weights, losses = (np.array(x) for x in zip(*map(mixed_at, points), strict=True))
    with _drawing("experts", 2, 3.4) as (axes, pictures):
        for e, (expert, (color, _, line)) in enumerate(zip(EXPERTS, SERIES, strict=False)):
            for ax, values in zip(axes, (weights, losses), strict=True):
                ax.plot(examples, values[:, e], color=color, ls=line, lw=1.4, label=expert.name)
        axes[0].axhline(0, color=PALE, linewidth=1, linestyle=DASHES)
        axes[0].set_ylabel("weight in the mixture")
        axes[1].plot(examples, losses[:, -1], color=INK, lw=2, label="mixture")
        axes[1].set_ylabel("logloss so far")
        # The first examples of an expert that begins badly would hide all the rest.
        late = losses[len(losses) // 3 :]
        low, high = float(np.nanmin(late)), float(np.nanmax(late))
        pad = 0.05 * (high - low) or 1e-3
        axes[1].set_ylim(low - pad, high + pad)
        for ax in axes:
            _count_axis(ax, examples)
            handles, labels = ax.get_legend_handles_labels()
            ax.figure.legend(handles, labels, loc="outside upper left", ncols=2, frameon=False)
    return _figures(pictures)


def _mean_loss(examples: Floats, positive: Floats, loss: Floats) -> Floats:
    return np.asarray(loss / np.maximum(examples, 1.0), np.float64)


def _normalized_entropy(examples: Floats, positive: Floats, loss: Floats) -> Floats:
    share = positive / np.maximum(examples, 1.0)
    known = [entropy(float(rate)) if 0 < rate < 1 else np.nan for rate in share]
    return np.asarray(_mean_loss(examples, positive, loss) / np.array(known), np.float64)


def _count_axis(ax: Axes, counts: Floats) -> None:
    if counts[-1] < 10 * counts[0]:
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.xaxis.set_major_formatter(FuncFormatter(_short))
    else:
        ax.set_xlim(counts[0] / 1.2, counts[-1] * 1.2)
        ax.set_xscale("log")
        _plain_ticks(ax.xaxis)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel("examples seen")


def _plain_ticks(*axes: Axis) -> None:
    """Label logarithmic axes, whose limits are final, with plain numbers."""
    for axis in axes:
        axis.set_major_locator(LogLocator(subs=logarithmic_digits(*axis.get_view_interval())))
        axis.set_major_formatter(FuncFormatter(_short))
        axis.set_minor_formatter(NullFormatter())


def _short(value: float, _: object = None) -> str:
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def reliability(board: Progressive) -> str:
    """Draw the share of positives against the mean prediction, and the ratio of the two."""
    predicted, observed, weight = insight.calibration_groups(board, GROUPS)
    some = observed > 0
    with _drawing("calibration", 2 if some.sum() > 1 else 1, SQUARE) as (axes, pictures):
        ends = [0.0, 1.08 * max(float(predicted.max()), float(observed.max()), 1e-6)]
        axes[0].plot(ends, ends, color=VERMILION, linewidth=1, linestyle=DASHES)
        error = np.sqrt(observed * (1 - observed) / weight)
        axes[0].errorbar(predicted, observed, error, fmt="o-", color=BLUE, markersize=4, lw=1.2)
        axes[0].set_xlim(*ends)
        axes[0].set_ylim(*ends)
        axes[0].set_aspect("equal")
        axes[0].set_xlabel("mean prediction")
        axes[0].set_ylabel("share of positives ± 1 σ")
        for ax in axes[1:]:
            ax.axhline(1, color=VERMILION, linewidth=1, linestyle=DASHES)
            ax.plot(
                predicted[some],
                predicted[some] / observed[some],
                "o-",
                color=BLUE,
                markersize=4,
                lw=1.2,
            )
            ax.set_xscale("log")
            _plain_ticks(ax.xaxis)
            ax.set_xlabel("mean prediction")
            ax.set_ylabel("mean prediction / share")
    return _figures(pictures)


def lift(board: Progressive) -> str:
    """Draw gains and lift: the share of positives among the likeliest examples, and its ratio."""
    shown, hit = gains(board)
    if not hit.any():
        return "<p>There are no positives.</p>"
    grid = np.linspace(0, 1, 201)
    share = np.interp(grid, shown, hit)
    with _drawing("gains", 2, SQUARE) as (axes, pictures):
        axes[0].plot([0, 1], [0, 1], color=VERMILION, linewidth=1, linestyle=DASHES)
        axes[0].plot(grid, share, color=BLUE, linewidth=2)
        axes[0].set_aspect("equal")
        axes[0].set_ylabel("share of positives")
        axes[1].axhline(1, color=VERMILION, linewidth=1, linestyle=DASHES)
        axes[1].plot(grid[2:], share[2:] / grid[2:], color=BLUE, linewidth=2)
        axes[1].set_ylabel("lift")
        axes[1].set_ylim(bottom=0)
        for ax in axes:
            ax.set_xlabel("share of examples, most likely first")
    return _figures(pictures)


def rates(found: insight.Slots, name: str) -> str:
    """Draw rates or variances, by their name, and absolute weights against counts."""
    assert found.counts is not None
    counts, rates = found.counts, found.rates.astype(np.float64)
    order = np.random.default_rng(0).permutation(len(counts))[:MAX_DOTS]
    with _drawing("rates", 2) as (axes, pictures):
        axes[0].plot(counts[order], rates[order], "o", color=BLUE, ms=2.5, alpha=0.5, mew=0)
        axes[0].set_yscale("log")
        axes[0].set_ylabel(name)
        sizes = np.abs(found.weights[order])
        axes[1].plot(counts[order], sizes, "o", color=BLUE, ms=2.5, alpha=0.5, mew=0)
        axes[1].set_ylabel("absolute weight")
        _plain_ticks(axes[0].yaxis)
        axes[1].yaxis.set_major_formatter(FuncFormatter(_short))
        for ax in axes:
            ax.set_xscale("log")
            _plain_ticks(ax.xaxis)
            ax.set_xlabel("occurrences in the sample")
    return _figures(pictures)


def contributed(found: Contributions) -> str:
    """Draw the rise in logloss without each of the strongest columns."""
    shown = found.columns[:MAX_BARS][::-1]
    rises = [one.rise for one in shown]
    with _drawing("contribution", 1, 0.8 + 0.24 * max(6, len(shown))) as (axes, pictures):
        ax = axes[0]
        ax.axvline(0, color=VERMILION, linewidth=1, linestyle=DASHES)
        ax.barh(
            range(len(shown)),
            rises,
            xerr=[one.error for one in shown],
            color=BLUE,
            height=0.6,
            error_kw={"ecolor": PALE, "elinewidth": 1.2},
        )
        names = [shortened(printable(one.column), 24) for one in shown]
        ax.set_yticks(range(len(shown)), names, parse_math=False)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.xaxis.set_major_formatter(FuncFormatter(_short))
        ax.set_ylim(-0.6, len(shown) - 0.4)
        ax.set_xlabel("rise in logloss ± 1 σ")
        ax.set_ylabel("without the column")
    return _figures(pictures)


def _figures(pictures: list[str]) -> str:
    return '<div class="pictures">' + "".join(f"<figure>{p}</figure>" for p in pictures) + "</div>"
