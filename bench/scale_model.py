"""What a simulated cluster is made of, and what comes out: the numbers of bench/scale_sim.py."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

WAITS = ("round", "reply", "idle")
FULL = 0.8  # share of the time from which on a resource is the bottleneck

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Call:
    """Processor seconds of a call between two processes, at each end, by the bytes it carries."""

    nbytes: tuple[float, ...] = (0.0, 1.0)  # ascending, from 0
    caller: tuple[float, ...] = (0.0, 0.0)
    callee: tuple[float, ...] = (0.0, 0.0)

    def sent(self, nbytes: float) -> float:
        """Return the cost to the caller."""
        return self._at(self.caller, nbytes)

    def taken(self, nbytes: float) -> float:
        """Return the cost to the process that is called."""
        return self._at(self.callee, nbytes)

    def _at(self, seconds: tuple[float, ...], nbytes: float) -> float:
        beyond = max(1.0, nbytes / self.nbytes[-1])
        return float(np.interp(nbytes, self.nbytes, seconds)) * beyond


@dataclass(frozen=True)
class Costs:
    """Processor seconds, and bytes, at one length of batches."""

    read: float = 0.0  # an example: from a file to a block
    encode: float = 0.0  # an example
    compute: float = 0.0  # an example: compaction, dealing rows to shards, margins, gradients
    gather: float = 0.0  # a row that is pulled, at its shard
    step: float = 0.0  # a row that is pushed, at its shard
    track: float = 0.0  # an example, at the driver: progressive metrics
    call: Call = field(default_factory=Call)
    block: float = 0.0  # bytes of an example before it is encoded

    def example(self, rows: float) -> float:
        """Return the processor seconds of an example, without calls, if it pulls `rows` rows."""
        of_rows = rows * (self.gather + self.step)
        return self.read + self.encode + self.compute + self.track + of_rows


@dataclass(frozen=True)
class Cluster:
    """Nodes, each with a reader, and the processes dealt to them; the driver is on the first."""

    nodes: int = 1
    workers: int = 1
    shards: int = 1
    processors: int = 2  # of a node
    bandwidth: float = 1.25e9  # bytes a second, of a node, each way
    latency: float = 50e-6  # seconds


@dataclass(frozen=True)
class Training:
    """How it trains; see `adagrad.distributed.Cluster`."""

    mode: str = "sync"
    staleness: int = 1
    batch: int = 8192


@dataclass(frozen=True)
class Outcome:
    """What came out.

    Attributes
    ----------
    rate : float
        Examples a second, without about the first and the last quarter of the batches.
    seconds : float
        Of the whole run.
    busy : dict of str to float
        The share of that time that the busiest "worker", "shard", "reader", the "driver", the
        busiest link ("network") and node ("processors") are at work; and the share for which the
        mean worker waits for the steps of others ("round"), for messages ("reply") or for a batch
        ("idle"). The rest of its time it waits for a processor.
    """

    rate: float
    seconds: float
    busy: dict[str, float]

    @property
    def bottleneck(self) -> str:
        """What is at work for most of the time, or else the largest share."""
        work = {kind: share for kind, share in self.busy.items() if kind not in WAITS}
        most = max(work, key=work.__getitem__)
        return most if work[most] >= FULL else max(self.busy, key=self.busy.__getitem__)
