"""``adagrad train --ray``: its options, and the lines about the cluster during and after training.

Nothing of Ray is imported before ``--ray`` is given.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adagrad._text import counted
from adagrad.commands.requirements import require

if TYPE_CHECKING:
    from adagrad.ctr.logs.log import Log
    from adagrad.ctr.training.options import Options
    from adagrad.ctr.training.run import Training

__all__ = [
    "check_cluster",
    "cluster_progress",
    "cluster_summary",
    "ray_options",
    "training_on_ray",
]

F = TypeVar("F", bound=Callable[..., Any])

# The options that go to `adagrad.distributed.Cluster`, by parameter.
OPTIONS = ("workers", "shards", "mode", "staleness", "batch_size")


def ray_options(command: F) -> F:
    """Add ``--ray`` and the options that need it."""
    for option in reversed(
        [
            click.option(
                "--ray",
                metavar="ADDRESS",
                help="Train on a Ray cluster: HOST:PORT, auto for one that runs here, or local"
                " to start one.  [default: train in this process]",
            ),
            click.option(
                "--workers",
                type=click.IntRange(1),
                metavar="N",
                help="With --ray: number of processes that compute gradients."
                "  [default: one per CPU of the cluster]",
            ),
            click.option(
                "--shards",
                type=click.IntRange(1),
                metavar="N",
                help="With --ray: number of processes that hold the model. It does not change the"
                " result.  [default: one per node]",
            ),
            click.option(
                "--mode",
                type=click.Choice(["sync", "async"]),
                help="With --ray: sync applies batches in a fixed order and is reproducible; async"
                " applies each as it arrives.  [default: sync]",
            ),
            click.option(
                "--staleness",
                type=click.IntRange(0),
                metavar="N",
                help="With --ray: number of preceding batches whose updates a batch may miss."
                "  [default: 1]",
            ),
            click.option(
                "--batch-size",
                type=click.IntRange(1),
                metavar="N",
                help="With --ray: examples per batch. Each batch takes one step.  [default: 8192]",
            ),
        ]
    ):
        command = option(command)
    return command


def check_cluster(given: dict[str, Any], logs: tuple[str, ...]) -> None:
    """Refuse options that exclude each other; connect to the cluster if ``--ray`` is given."""
    if given["ray"] is None:
        for name in OPTIONS:
            if given[name] is not None:
                raise click.ClickException(f"--{name.replace('_', '-')} needs --ray")
        return
    require("adagrad train --ray", "ray", extra="ray")
    if "-" in logs:
        raise click.ClickException(
            "--ray cannot read the standard input, because the workers read the log"
        )
    for name in ("early_stop", "half_life", "weight", "class_weight"):
        if given[name] is not None:
            raise click.ClickException(f"--{name.replace('_', '-')} does not work with --ray")
    if isinstance(given["negative_rate"], str):
        raise click.ClickException("--negative-rate with a column does not work with --ray")
    from adagrad.distributed import connect

    # Training recovers from failures and counts them; Ray would print a traceback for each call.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    connect(given["ray"])


def training_on_ray(
    given: dict[str, Any], log: Log, options: Options, how_long: dict[str, Any]
) -> Training:
    """Return a training on the cluster."""
    from adagrad.ctr.training.checkpoint import checkpoint_of
    from adagrad.distributed import Cluster
    from adagrad.distributed.command import RayTraining

    cluster = Cluster(
        checkpoint=checkpoint_of(given["model"]),
        checkpoint_every=given["checkpoint_every"],
        resume=given["resume"],
        **{name: given[name] for name in OPTIONS if given[name] is not None},
    )
    keep = given["report"] is not None
    return RayTraining(log, options, given["model"], cluster=cluster, keep=keep, **how_long)


def cluster_progress(training: Training) -> str:
    """Return the end of a progress line: batches under way and staleness; "" without Ray."""
    if not getattr(training, "load", None):
        return ""
    run: Any = training
    return (
        f"  {counted(run.in_flight, 'batch', 'batches')} in flight, staleness {run.staleness:.1f}"
    )


def cluster_summary(training: Training) -> list[str]:
    """Return the lines about the cluster at the end of a training; none without Ray."""
    load = getattr(training, "load", None)
    if not load:
        return []
    run: Any = training
    rows = [shard["rows"] for shard in load]
    lines = [f"mean staleness {run.staleness:.1f} batches; {counted(len(rows), 'shard')}"]
    if len(rows) > 1:
        busiest = max(rows) * len(rows) / max(sum(rows), 1)
        lines[0] += f", the busiest with {busiest:.2f} times the mean number of rows"
    workers, restarts = run.failures["worker"], run.failures["shard"]
    if workers or restarts:
        lines.append(
            f"{counted(workers, 'worker')} replaced;"
            f" went back to a checkpoint {counted(restarts, 'time')}"
        )
    return lines
