"""The same tables and learners past one machine, on a cluster of Ray (the extra ``ray``).

Ray starts the processes, moves the arrays, reads the data and notices what dies; here is which rows
are where, in what order they step, and from where a training goes on. Nothing else of adagrad
imports ray, and this does with the first name that is taken from it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adagrad.distributed._checkpoint import Mismatch
    from adagrad.distributed._cluster import connect
    from adagrad.distributed._run import Lost
    from adagrad.distributed.table import ShardedTable, ShardLostError, ShardStats
    from adagrad.distributed.training import Cluster, fit

__all__ = [
    "Cluster",
    "Lost",
    "Mismatch",
    "ShardLostError",
    "ShardStats",
    "ShardedTable",
    "connect",
    "fit",
]

_HOMES = {
    "Cluster": "training",
    "Lost": "_run",
    "Mismatch": "_checkpoint",
    "ShardLostError": "table",
    "ShardStats": "table",
    "ShardedTable": "table",
    "connect": "_cluster",
    "fit": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ImportError(
            "adagrad.distributed runs on Ray, which is not here: pip install 'adagrad[ray]'"
        ) from error
