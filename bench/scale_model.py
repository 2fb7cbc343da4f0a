"""The parameters and the outcome of a simulation by bench/scale_sim.py."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

WAITS = ("round", "reply", "idle")
FULL = 0.8  # a resource that is busy for at least this share of the time is the bottleneck

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Call:
    """Processor seconds at both ends of a call between processes, by the bytes of its message."""

    nbytes: tuple[float, ...] = (0.0, 1.0)  # ascending, from 0
    caller: tuple[float, ...] = (0.0, 0.0)
    callee: tuple[float, ...] = (0.0, 0.0)

    def sent(self, nbytes: float) -> float:
        """Return the cost to the caller."""
        return self._at(self.caller, nbytes)

    def taken(self, nbytes: float) -> float:
        """Return the cost to the callee."""
        return self._at(self.callee, nbytes)

    def _at(self, seconds: tuple[float, ...], nbytes: float) -> float:
        beyond = max(1.0, nbytes / self.nbytes[-1])
        return float(np.interp(nbytes, self.nbytes, seconds)) * beyond


@dataclass(frozen=True)
class Costs:
    """Processor seconds and bytes at one batch size."""

    read: float = 0.0  # per example: from a file to a block
    encode: float = 0.0  # per example
    compute: float = 0.0  # per example: compaction, dealing rows to shards, margins, gradients
    gather: float = 0.0  # per pulled row, at its shard
    step: float = 0.0  # per pushed row, at its shard
    track: float = 0.0  # per example, at the driver: progressive metrics
    call: Call = field(default_factory=Call)
    block: float = 0.0  # bytes per example before encoding

    def example(self, rows: float) -> float:
        """Return the processor seconds per example that pulls `rows` rows, without calls."""
        of_rows = rows * (self.gather + self.step)
        return self.read + self.encode + self.compute + self.track + of_rows


@dataclass(frozen=True)
class Cluster:
    """Nodes with one reader each, and the processes on them; the first node runs the driver."""

    nodes: int = 1
    workers: int = 1
    shards: int = 1
    processors: int = 2  # per node
    bandwidth: float = 1.25e9  # bytes per second of a node, in each direction
    latency: float = 50e-6  # seconds


@dataclass(frozen=True)
class Training:
    """The options of a training; see `adagrad.distributed.Cluster`."""

    mode: str = "sync"
    staleness: int = 1
    batch: int = 8192


@dataclass(frozen=True)
class Outcome:
    """The result of a simulation.

    Attributes
    ----------
    rate : float
        Examples per second, over about the middle half of the batches.
    seconds : float
        Duration of the whole run.
    busy : dict of str to float
        Shares of the time over which `rate` is measured. "worker", "shard", "reader", "driver",
        "network" (links) and "processors" (nodes) are how long the busiest of each kind works.
        "round", "reply" and "idle" are how long the average worker waits for the steps of other
        workers, for messages and for a batch. The rest of its time it waits for a processor.
    """

    rate: float
    seconds: float
    busy: dict[str, float]

    @property
    def bottleneck(self) -> str:
        """The busiest resource if its share is at least `FULL`, else the largest share of all."""
        work = {kind: share for kind, share in self.busy.items() if kind not in WAITS}
        most = max(work, key=work.__getitem__)
        return most if work[most] >= FULL else max(self.busy, key=self.busy.__getitem__)
