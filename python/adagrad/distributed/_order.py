"""When a shard may answer a pull, and when it may apply what was pushed.

Batches have numbers. With staleness N, the params that a batch reads may lack the steps of at most
N batches before it. Knows nothing of Ray, tables or time.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Async", "Order", "Sync", "window"]


def window(staleness: int) -> int:
    """Return how many batches may be under way: those of two rounds."""
    return 2 * (staleness + 1)


class Order:
    """What the two modes share.

    Parameters
    ----------
    staleness : int
        From 0.
    start : int
        The first batch of a pass: all before it have stepped before it reads.
    first : int
        The first batch that has not stepped.

    Attributes
    ----------
    applied : int
        All batches below it have stepped.
    """

    def __init__(self, staleness: int, start: int = 0, first: int = 0) -> None:
        self.staleness, self.start, self.applied = staleness, start, first
        self._end: int | None = None

    def end(self, batch: int) -> None:
        """Expect no batch of this pass from this one on."""
        self._end = batch

    def may_pull(self, batch: int) -> bool:
        """Whether a batch may read the params as they are now."""
        raise NotImplementedError

    def ready(self, pushed: Iterable[int]) -> list[int]:
        """Return which of the batches that were pushed may step now, together and in this order."""
        raise NotImplementedError

    def step(self, batches: list[int]) -> None:
        """Note that batches have stepped."""
        raise NotImplementedError

    def has(self, batch: int) -> bool:
        """Whether a batch has stepped."""
        return batch < self.applied


class Sync(Order):
    """Batches come in rounds of N + 1, which read the same params and take one step, of their sum.

    Nothing depends on who is faster, so the params have the same bits for any number of workers and
    shards: it is the training of one machine with batches that are N + 1 times as long.
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
    """Every batch reads what is there, and steps as soon as it comes.

    Downpour SGD (Dean et al., "Large Scale Distributed Deep Networks", NIPS 2012) with bounded
    staleness (Ho et al., "More Effective Distributed ML via a Stale Synchronous Parallel Parameter
    Server", NIPS 2013).
    """

    def __init__(self, staleness: int, start: int = 0, first: int = 0) -> None:
        super().__init__(staleness, start, first)
        self._beyond: set[int] = set()  # have stepped, though one before them has not

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
