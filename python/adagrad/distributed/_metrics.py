"""What a training tells Ray's metrics, and so whatever reads them (Prometheus, the dashboard)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ray.util.metrics import Gauge

if TYPE_CHECKING:
    from adagrad.distributed.command import RayTraining

__all__ = ["HOT", "Metrics", "busiest"]

HOT = 1.5
"""A shard is hot that is asked for so many times the rows of the mean one."""


def busiest(load: list[dict[str, float]]) -> tuple[int, float]:
    """Return the shard that is asked for most rows, and how many times the mean that is."""
    rows = [shard["rows"] for shard in load]
    most = max(range(len(rows)), key=rows.__getitem__)
    mean = sum(rows) / len(rows)
    return most, rows[most] / mean if mean else 1.0


class Metrics:
    """Gauges of a training.

    Parameters
    ----------
    training : RayTraining
    """

    def __init__(self, training: RayTraining) -> None:
        self._training = training
        self._last = time.monotonic(), training.examples
        gauges = {
            "rows_per_second": "Examples learned a second.",
            "batches_in_flight": "Batches that workers have.",
            "staleness_batches": "Batches whose steps the params of a batch lacked, on average.",
            "logloss": "Progressive logloss of the first pass, in nats.",
        }
        self._gauges = {name: Gauge(f"adagrad_{name}", text) for name, text in gauges.items()}
        of_shards = {
            "shard_rows": "Rows that a shard was asked for.",
            "shard_busy_seconds": "Time that a shard was reading or stepping rows.",
            "shard_waiting_batches": "Batches whose gradients wait at a shard.",
        }
        self._of_shards = {
            name: Gauge(f"adagrad_{name}", text, tag_keys=("shard",))
            for name, text in of_shards.items()
        }

    def tell(self) -> None:
        """Set all gauges."""
        training, now = self._training, time.monotonic()
        then, examples = self._last
        self._last = now, training.examples
        self._gauges["rows_per_second"].set((training.examples - examples) / max(now - then, 1e-9))
        self._gauges["batches_in_flight"].set(training.in_flight)
        self._gauges["staleness_batches"].set(training.staleness)
        if training.progressive is not None:
            self._gauges["logloss"].set(training.progressive.metrics()["logloss"])
        for number, shard in enumerate(training.load):
            values = (shard["rows"], shard["busy"], shard["waiting"])
            for gauge, value in zip(self._of_shards.values(), values, strict=True):
                gauge.set(value, tags={"shard": str(number)})
