"""The picture of bench/scale.py: simulated throughput and its bottlenecks."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from bench.picture import DPI, LONGEST_LABEL, looks
from bench.scale_model import Outcome


def draw(panels: dict[str, dict[str, list[Outcome]]], nodes: Sequence[int], path: str) -> None:
    """Draw examples per second against nodes; each line ends with its bottleneck.

    Parameters
    ----------
    panels : dict of str to dict of str to list of Outcome
        Outcomes by panel title and line name, one for each of the first `nodes`.
    """
    from matplotlib.ticker import FuncFormatter, NullLocator

    from adagrad.plotting import _style

    title = "Simulated examples per second, and what limits them"
    figure, every_axes = _style.new_figure(title, _style.WIDTH, 8.4, len(panels))
    labels = []
    for ax, (name, lines) in zip(every_axes, panels.items(), strict=True):
        best = max(outcomes[0].rate for outcomes in lines.values())
        ends = [(best * nodes[-1] / 1e6, "linear", "0.45")]
        ax.plot(nodes, [best * n / 1e6 for n in nodes], color="0.45", lw=1, ls=":")
        for (line, outcomes), (colour, marker) in zip(lines.items(), looks(), strict=False):
            rates = [outcome.rate / 1e6 for outcome in outcomes]
            ax.plot(nodes[: len(rates)], rates, color=colour, marker=marker, markersize=4, lw=1.3)
            text = textwrap.fill(f"{line}: {outcomes[-1].bottleneck}", LONGEST_LABEL)
            ends.append((rates[-1], text, colour))
        labels.append(ends)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=4)
        ax.set_xticks(nodes, [str(n) for n in nodes])
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g} M"))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.grid(color="0.9", lw=0.6)
        _style.set_title(ax, name)
    every_axes[-1].set_xlabel("nodes")
    for ax, ends in zip(every_axes, labels, strict=True):
        _style.label_right_edge(ax, ends)
    figure.savefig(path, dpi=DPI)
