"""Tables past one machine: their rows on Ray actors, with the bits of one table.

Nothing else of adagrad imports ray, and this does with the first name that is taken from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adagrad.distributed.table import ShardedTable, ShardLostError, ShardStats

__all__ = ["ShardLostError", "ShardStats", "ShardedTable"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from adagrad.distributed import table
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ImportError(
            "adagrad.distributed runs on Ray, which is not here: pip install 'adagrad[ray]'"
        ) from error
    return getattr(table, name)
