"""One picture a question: time relative to adagrad's, on log axes, with the lines named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Okabe and Ito, "Color universal design" (2008): eight colors that the color-blind tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A7A00")
MARKERS = "osD^vPX*"


@dataclass(frozen=True)
class Panel:
    """A plot of ``series[name] = (x, ratio)``; 1 is adagrad, below it a variant is faster."""

    title: str
    x: str
    series: dict[str, tuple[Sequence[float], Sequence[float]]]

    def as_dict(self) -> dict[str, Any]:
        """Return the panel for a JSON file, with four digits of each number."""
        series = {}
        for name, (x, ratios) in self.series.items():
            known = [(a, b) for a, b in zip(x, ratios, strict=True) if b is not None]
            series[name] = [
                [float(f"{v:.4g}") for v in values] for values in zip(*known, strict=True)
            ]
        return {"title": self.title, "x": self.x, "series": {k: v for k, v in series.items() if v}}


def _spread(values: Sequence[float], gap: float) -> np.ndarray:
    """Move sorted positions apart until none is nearer than `gap` to the next."""
    y = np.sort(np.asarray(values, dtype=float))
    for _ in range(200):
        close = np.diff(y) < gap
        if not close.any():
            break
        y[:-1][close] -= gap / 8
        y[1:][close] += gap / 8
    return y


def _tick(x: float) -> str:
    """Return a number as text: sizes of tables as powers of two."""
    bits = int(x).bit_length() - 1
    return f"$2^{{{bits}}}$" if x == 1 << bits and bits >= 10 else f"{x:g}"


def draw(
    panels: Sequence[Panel], path: str, title: str, facts: dict[str, Any] | None = None
) -> None:
    """Draw panels two or three to a row, with one vertical axis; `facts` go into the file."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(4.2 * columns + 1.6, (3.4 if rows > 1 else 4.2) * rows + 0.5),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    names.sort(key=lambda name: name.endswith("limit"))  # gray, so that they use up no color
    every = [r for panel in panels for _, ratios in panel.series.values() for r in ratios]
    low, high = min([*every, 0.7]) / 1.15, max([*every, 1.5]) * 1.15
    for k, ax in enumerate(axes.flat):
        if k >= len(panels):
            ax.set_axis_off()
            continue
        panel = panels[k]
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_ylim(low, high)
        ax.axhspan(low, 1.0, color="0.93", lw=0, zorder=0)
        ax.axhline(1.0, color="0.2", lw=1)
        ax.text(0.02, 0.015, "adagrad is slower", transform=ax.transAxes, color="0.5", zorder=1)
        ends = []
        for name, (x, y) in panel.series.items():
            i = names.index(name)
            colour = "0.45" if name.endswith("limit") else COLOURS[i % 8]
            ax.plot(
                x,
                y,
                color=colour,
                marker=MARKERS[(i + i // 8) % 8],
                linestyle="--" if name.endswith("limit") else "-",
                markersize=4,
                linewidth=1.3,
            )
            ends.append((np.log(y[-1]), x[-1], name, colour))
        ends.sort()
        places = _spread([end[0] for end in ends], 0.05 * np.log(high / low))
        for (_, x_end, name, colour), y_text in zip(ends, places, strict=True):
            ax.annotate(
                name,
                (x_end, np.exp(y_text)),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                color=colour,
                fontsize=8,
                annotation_clip=False,
            )
        ax.set_title(panel.title, fontsize=10)
        ax.set_xlabel(panel.x)
        ax.grid(True, which="major", color="0.88", lw=0.6)
        points = sorted({x for xs, _ in panel.series.values() for x in xs})
        if points[-1] < 100 * points[0]:  # too short for powers of ten
            ax.set_xticks(points, [_tick(x) for x in points])
            ax.xaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}x"))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("time / adagrad's (above 1: adagrad is faster)")
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=120, metadata=facts)
    plt.close(figure)
