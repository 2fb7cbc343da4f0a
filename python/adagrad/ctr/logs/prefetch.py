"""A generator that runs in a thread, a few items ahead of its consumer.

Reading and encoding of logs both use it. Nothing here knows what the items are.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["Prefetcher"]

Item = TypeVar("Item")

# Items that wait: one to take now, and one in case the next takes longer.
DEPTH = 2


class _End:
    """The last entry of the queue: the generator ended, with an error or without."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Prefetcher(Generic[Item]):
    """Iterate over a generator that runs in a thread, at most `DEPTH` items ahead.

    An error of the generator is raised where the items are consumed, after the items before it.
    Call `cancel` and then `join` to leave before the end.
    """

    def __init__(self, items: Generator[Item, None, None]) -> None:
        self._ready: queue.SimpleQueue[Item | _End] = queue.SimpleQueue()
        self._room = threading.Semaphore(DEPTH)
        self._cancelled = False
        self._thread = threading.Thread(
            target=self._run, args=(items,), name="adagrad-log", daemon=True
        )
        self._thread.start()

    def _run(self, items: Generator[Item, None, None]) -> None:
        error: BaseException | None = None
        try:
            for item in items:
                self._room.acquire()
                if self._cancelled:
                    break
                self._ready.put(item)
        except BaseException as raised:
            error = raised
        finally:
            items.close()
            self._ready.put(_End(error))

    def __iter__(self) -> Iterator[Item]:
        while True:
            item = self._ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            self._room.release()
            yield item

    def cancel(self) -> None:
        """Let the generator produce no further item."""
        self._cancelled = True
        self._room.release()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()
