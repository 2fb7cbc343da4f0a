"""Sharded tables, and training of click learners, on a Ray cluster (extra ``ray``).

Ray starts the processes, moves the arrays, reads the data and notices failures. This package
decides which process has which rows, in what order they step, and where training resumes. No other
part of adagrad imports ray, and this one imports it with the first name taken from it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adagrad.distributed._checkpoint import Mismatch
    from adagrad.distributed._connection import connect
    from adagrad.distributed._driver import Lost
    from adagrad.distributed._table_shard import ShardStats
    from adagrad.distributed.cluster import Cluster
    from adagrad.distributed.fitting import fit
    from adagrad.distributed.table import ShardedTable, ShardLostError

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

_MODULES = {
    "Cluster": "cluster",
    "Lost": "_driver",
    "Mismatch": "_checkpoint",
    "ShardLostError": "table",
    "ShardStats": "_table_shard",
    "ShardedTable": "table",
    "connect": "_connection",
    "fit": "fitting",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ImportError("adagrad.distributed needs Ray: pip install 'adagrad[ray]'") from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
