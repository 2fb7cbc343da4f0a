"""The picture of bench/scale.py: simulated throughput and its bottlenecks."""

from __future__ import annotations

from collections.abc import Sequence

from bench.picture import COLOURS, MARKERS
from bench.scale_model import Outcome


def draw(panels: dict[str, dict[str, list[Outcome]]], nodes: Sequence[int], path: str) -> None:
    """Draw examples per second against nodes; each line ends with its bottleneck.

    Parameters
    ----------
    panels : dict of str to dict of str to list of Outcome
        Outcomes by panel title and line name, one for each of the first `nodes`.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.4 * len(panels), 4.2), sharey=True, layout="constrained"
    )
    for ax, (title, lines) in zip(axes, panels.items(), strict=True):
        best = max(outcomes[0].rate for outcomes in lines.values())
        ax.plot(nodes, [best * n / 1e6 for n in nodes], color="0.6", lw=1, ls=":", label="linear")
        for k, (name, outcomes) in enumerate(lines.items()):
            rates = [outcome.rate / 1e6 for outcome in outcomes]
            ax.plot(
                nodes[: len(rates)],
                rates,
                color=COLOURS[k],
                marker=MARKERS[k],
                markersize=4,
                lw=1.3,
                label=f"{name} ({outcomes[-1].bottleneck})",
            )
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        ax.set_xticks(nodes, [str(n) for n in nodes])
        ax.yaxis.set_major_formatter(lambda v, _: f"{v:g} M")
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("nodes")
        ax.grid(color="0.9", lw=0.6)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(fontsize=7, frameon=False, loc="upper left")
    axes[0].set_ylabel("examples a second, simulated")
    figure.savefig(path, dpi=110)
