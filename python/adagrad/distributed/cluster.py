"""`Cluster`: how a training is spread over a Ray cluster, and how often it is saved."""

from __future__ import annotations

import dataclasses
import os

from adagrad._arguments import check_integer

__all__ = ["Cluster"]

MODES = ("sync", "async")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """How a training is spread over a cluster, and how often it is saved.

    Attributes
    ----------
    workers : int, optional
        Number of processes that encode and compute gradients. By default one per processor of the
        cluster, but at most two rounds of batches.
    shards : int, optional
        Number of processes that hold the model, by default one per node. With "sync" the result
        has the same bits for any number of workers and shards.
    mode : {"sync", "async"}, default "sync"
        "sync": the batches of a round read the same params, and the sum of their gradients takes
        one step. "async": each batch reads and steps on its own, as soon as it can.
    staleness : int, default 1
        The params that a batch reads may lack the steps of up to this many batches before it. A
        round of "sync" has ``staleness + 1`` batches.
    batch_size : int, default 8192
        Examples per batch.
    checkpoint : str or PathLike, optional
        Directory for checkpoints, which every node must see under this path. Without it, training
        starts over after a failure.
    checkpoint_every : int, default 10_000_000
        Examples between two checkpoints, rounded up to whole rounds.
    resume : bool, default False
        Continue from the checkpoint if there is one.

    Raises
    ------
    TypeError, ValueError
        If an option has the wrong type or is out of range.
    """

    workers: int | None = None
    shards: int | None = None
    mode: str = "sync"
    staleness: int = 1
    batch_size: int = 8192
    checkpoint: str | os.PathLike[str] | None = None
    checkpoint_every: int = 10_000_000
    resume: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode must be 'sync' or 'async', got {self.mode!r}")
        check_integer("staleness", self.staleness, 0, 10_000)
        check_integer("batch_size", self.batch_size, 1, 2**24)
        check_integer("checkpoint_every", self.checkpoint_every, 1, 2**62)
        for name in ("workers", "shards"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 1, 65_536)
        if self.resume and self.checkpoint is None:
            raise ValueError("resume=True needs checkpoint, the directory to resume from")
