"""When a shard may answer a pull, and when it may apply a push.

Batches are numbered. With staleness N, the params that a batch reads may lack the steps of at most
N batches before it. This module does not depend on Ray, tables or time, so tests and the simulator
of the benchmarks use it alone.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Async", "Order", "Sync", "window"]


def window(staleness: int) -> int:
    """Return how many batches may be in flight: two rounds."""
    return 2 * (staleness + 1)


class Order:
    """Common part of the two modes.

    Parameters
    ----------
    staleness : int
        At least 0.
    start : int
        The first batch of the pass. It reads after all batches before it have stepped.
    first : int
        The first batch that has not stepped.

    Attributes
    ----------
    applied : int
        All batches below this number have stepped.
    """

    def __init__(self, staleness: int, start: int = 0, first: int = 0) -> None:
        self.staleness, self.start, self.applied = staleness, start, first
        self._end: int | None = None

    def end(self, batch: int) -> None:
        """End the pass before this batch."""
        self._end = batch

    def may_pull(self, batch: int) -> bool:
        """Return whether a batch may read the params now."""
        raise NotImplementedError

    def ready(self, pushed: Iterable[int]) -> list[int]:
        """Return the pushed batches that may step now, together and in this order."""
        raise NotImplementedError

    def step(self, batches: list[int]) -> None:
        """Record that batches have stepped."""
        raise NotImplementedError

    def has(self, batch: int) -> bool:
        """Return whether a batch has stepped."""
        return batch < self.applied


class Sync(Order):
    """Rounds of N + 1 batches read the same params; the sum of their gradients takes one step.

    The result does not depend on which process is faster, so the params have the same bits for any
    number of workers and shards. They are those of one machine with batches N + 1 times as long.
    """

    def may_pull(self, batch: int) -> bool:
        return self.applied == self._round(batch)[0]

    def ready(self, pushed: Iterable[int]) -> list[int]:
        first, last = self._round(self.applied)
        if self._end is not None:
            last = min(last, self._end)
        batches = list(range(first, last))
        return batches if set(batches) <= set(pushed) else []

    def step(self, batches: list[int]) -> None:
        self.applied = batches[-1] + 1

    def _round(self, batch: int) -> tuple[int, int]:
        length = self.staleness + 1
        first = batch - (batch - self.start) % length
        return first, first + length


class Async(Order):
    """Every batch reads the current params, and steps as soon as its gradients arrive.

    Downpour SGD (Dean et al., "Large Scale Distributed Deep Networks", NIPS 2012) with bounded
    staleness (Ho et al., "More Effective Distributed ML via a Stale Synchronous Parallel Parameter
    Server", NIPS 2013).
    """

    def __init__(self, staleness: int, start: int = 0, first: int = 0) -> None:
        super().__init__(staleness, start, first)
        self._beyond: set[int] = set()  # stepped, although a batch before them has not

    def may_pull(self, batch: int) -> bool:
        return self.applied >= batch - self.staleness

    def ready(self, pushed: Iterable[int]) -> list[int]:
        return [min(pushed)] if pushed else []

    def step(self, batches: list[int]) -> None:
        self._beyond.update(batches)
        while self.applied in self._beyond:
            self._beyond.remove(self.applied)
            self.applied += 1

    def has(self, batch: int) -> bool:
        return batch < self.applied or batch in self._beyond
