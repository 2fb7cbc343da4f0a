"""A Ray cluster of two nodes on this machine, each with its own processes and object store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

# A lost node counts as dead after a few seconds instead of fifteen; a slow node does not.
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 700,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 4,
}
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}


@contextlib.contextmanager
def two_nodes() -> Iterator[Any]:
    """Run a cluster of two nodes of one processor each, and connect this process to it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    from adagrad.distributed._connection import connect

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "_system_config": HEALTH})
    try:
        cluster.add_node(**NODE)
        connect(cluster.address)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
