"""``adagrad train --ray``: the lines about the cluster. The training itself is tested with Ray."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from checks import need_packages

need_packages("click")

from adagrad.commands.cluster import cluster_progress, cluster_summary


def run(rows: list[int], workers: int = 0, shards: int = 0) -> Any:
    return SimpleNamespace(
        load=[{"rows": count} for count in rows],
        in_flight=3,
        staleness=1.25,
        failures={"worker": workers, "shard": shards},
    )


def test_a_training_without_a_cluster_has_no_lines() -> None:
    assert cluster_progress(SimpleNamespace()) == ""  # type: ignore[arg-type]
    assert cluster_summary(SimpleNamespace()) == []  # type: ignore[arg-type]


def test_progress() -> None:
    assert cluster_progress(run([5])) == "  3 batches in flight, staleness 1.2"


@pytest.mark.parametrize(
    ("training", "lines"),
    [
        (run([0]), ["mean staleness 1.2 batches; 1 shard"]),
        (
            run([100, 300, 200], workers=1, shards=2),
            [
                "mean staleness 1.2 batches; 3 shards,"
                " the busiest with 1.50 times the mean number of rows",
                "1 worker replaced; went back to a checkpoint 2 times",
            ],
        ),
    ],
)
def test_summary(training: Any, lines: list[str]) -> None:
    assert cluster_summary(training) == lines
