"""``adagrad train --ray``: its options, and what is said of a cluster while and after it trains."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from adagrad.commands.requirements import require

if TYPE_CHECKING:
    from adagrad.ctr.logs.log import Log
    from adagrad.ctr.training.options import Options
    from adagrad.ctr.training.run import Training

__all__ = ["check_cluster", "on_cluster", "on_ray", "spread"]

OPTIONS = ("workers", "shards", "mode", "staleness", "batch_size")


def check_cluster(given: dict[str, Any], logs: tuple[str, ...]) -> None:
    """Refuse options that do not go together, and connect where there is an address."""
    if given["ray"] is None:
        for name in OPTIONS:
            if given[name] is not None:
                raise click.ClickException(f"--{name.replace('_', '-')} needs --ray")
        return
    require("adagrad train --ray", "ray", extra="ray")
    if "-" in logs:
        raise click.ClickException("--ray cannot read the standard input: workers read the log")
    if given["early_stop"] is not None:
        raise click.ClickException("--early-stop cannot be had with --ray")
    from adagrad.distributed import connect

    # What dies is dealt with, and told at the end; Ray would print a traceback for each call.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    connect(given["ray"])


def on_ray(given: dict[str, Any], log: Log, options: Options, how_long: dict[str, Any]) -> Training:
    """Return a training on the cluster."""
    from adagrad.distributed import Cluster
    from adagrad.distributed.command import RayTraining

    spread_over = {name: given[name] for name in OPTIONS if given[name] is not None}
    cluster = Cluster(
        checkpoint=given["model"].absolute().with_name(given["model"].name + ".checkpoint"),
        checkpoint_every=given["checkpoint_every"],
        resume=given["resume"],
        **spread_over,
    )
    keep = given["report"] is not None
    return RayTraining(log, options, given["model"], cluster=cluster, keep=keep, **how_long)


def on_cluster(training: Training) -> str:
    """Return how a cluster is doing, for the line that shows the progress."""
    load = getattr(training, "load", None)
    if not load:
        return ""
    from adagrad.distributed._metrics import busiest

    shard, times = busiest(load)
    return (
        f"  {training.in_flight} in flight, staleness {training.staleness:.1f},"  # type: ignore[attr-defined]
        f" shard {shard} {times:.2f}x"
    )


def spread(training: Training) -> list[str]:
    """Return what is to be said of a cluster at the end."""
    load = getattr(training, "load", None)
    if not load:
        return []
    from adagrad.distributed._metrics import HOT, busiest

    run: Any = training
    shard, times = busiest(load)
    lines = [
        f"{len(load)} shard{'s' if len(load) > 1 else ''}; the one with the most to do has"
        f" {times:.2f} times the mean, staleness {run.staleness:.1f} batches"
    ]
    if times > HOT:
        lines.append(f"shard {shard} is hot: fewer shards would do as well")
    if any(run.failures.values()):
        lines.append(
            f"{run.failures['worker']} workers were replaced, and {run.failures['shard']} times"
            " the training went back to a checkpoint"
        )
    return lines
