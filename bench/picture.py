"""One picture a question: time relative to adagrad's, on log axes, with the lines named."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MARKERS = "osD^vPX*"
LONGEST_LABEL = 14  # characters in a line of text beside a line of the plot
DPI = 180


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


def _tick(x: float) -> str:
    """Return a number as text: sizes of tables as powers of two."""
    bits = int(x).bit_length() - 1
    return f"$2^{{{bits}}}$" if x == 1 << bits and bits >= 10 else f"{x:g}"


def looks() -> list[tuple[str, str]]:
    """Return the color and marker of each line."""
    from adagrad.plotting import _style

    colours = [colour for colour, _, _ in _style.SERIES] + ["#000000", "#8A7A00"]
    return [
        (colours[i % len(colours)], MARKERS[(i + i // len(colours)) % len(MARKERS)])
        for i in range(len(colours) * len(MARKERS))
    ]


def draw(
    panels: Sequence[Panel], path: str, title: str, facts: dict[str, Any] | None = None
) -> None:
    """Draw panels above each other, with one vertical scale; `facts` go into the file."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    from adagrad.plotting import _style

    heading = f"{title}: time relative to adagrad's\n(gray: adagrad is slower)"
    height = (2.2 if len(panels) > 1 else 3.4) * len(panels) + 0.5
    figure, every_axes = _style.new_figure(heading, _style.WIDTH, height, len(panels))
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    names.sort(key=lambda name: name.endswith("limit"))  # gray, so that they use up no color
    every = [r for panel in panels for _, ratios in panel.series.values() for r in ratios]
    low, high = min([*every, 0.7]) / 1.15, max([*every, 1.5]) * 1.15
    labels = []
    for ax, panel in zip(every_axes, panels, strict=True):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_ylim(low, high)
        ax.axhspan(low, 1.0, color="0.93", lw=0, zorder=0)
        ax.axhline(1.0, color="0.2", lw=1)
        ends = [(1.0, "adagrad", "0.2")]
        for name, (x, y) in panel.series.items():
            colour, marker = looks()[names.index(name)]
            colour = "0.45" if name.endswith("limit") else colour
            ax.plot(
                x,
                y,
                color=colour,
                marker=marker,
                linestyle="--" if name.endswith("limit") else "-",
                markersize=4,
                linewidth=1.3,
            )
            ends.append((y[-1], textwrap.fill(name, LONGEST_LABEL), colour))
        labels.append(ends)
        _style.set_title(ax, panel.title)
        ax.grid(True, which="major", color="0.88", lw=0.6)
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}x"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    for x in dict.fromkeys(panel.x for panel in panels):
        alike = [k for k, panel in enumerate(panels) if panel.x == x]
        points = sorted({x for k in alike for xs, _ in panels[k].series.values() for x in xs})
        for k in alike:
            ax = every_axes[k]
            if k != alike[0]:
                ax.sharex(every_axes[alike[0]])
            if points[-1] < 100 * points[0]:  # too short for powers of ten
                ax.set_xticks(points, [_tick(x) for x in points])
                ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel(x)
    for ax, ends in zip(every_axes, labels, strict=True):
        _style.label_right_edge(ax, ends)
    figure.savefig(path, dpi=DPI, metadata=facts)
