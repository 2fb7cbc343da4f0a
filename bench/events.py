"""Discrete events: simulated time, processes that wait for events, and resources they share.

A process is a generator that yields the events it waits for. Ties are resolved in the order of
asking, so a simulation is a function of its arguments.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Generator

Process = Generator["Event", None, None]


class Event:
    """Something that happens once; processes that wait for it go on in the order they came."""

    def __init__(self) -> None:
        self.happened = False
        self._waiting: list[Process] = []

    def happen(self) -> None:
        self.happened = True
        waiting, self._waiting = self._waiting, []
        for process in waiting:
            start(process)

    def wait(self, process: Process) -> None:
        self._waiting.append(process)


def start(process: Process) -> None:
    """Run a process until it waits for an event that has not happened."""
    for event in process:
        if not event.happened:
            event.wait(process)
            return


class Clock:
    """Simulated seconds, and what is due."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Event]] = []
        self._asked = 0

    def after(self, seconds: float) -> Event:
        """Return an event that happens so much later."""
        event = Event()
        self._asked += 1
        heapq.heappush(self._due, (self.now + seconds, self._asked, event))
        return event

    def run(self) -> None:
        """Let happen what is due, until nothing is."""
        while self._due:
            self.now, _, event = heapq.heappop(self._due)
            event.happen()


class Resource:
    """So many of something, given in the order of asking; `busy` is in seconds of one."""

    def __init__(self, clock: Clock, count: int = 1) -> None:
        self.busy = 0.0
        self._clock, self._free = clock, count
        self._queue: deque[Event] = deque()

    def take(self) -> Process:
        if self._free:
            self._free -= 1
            return
        event = Event()
        self._queue.append(event)
        yield event

    def give(self) -> None:
        if self._queue:
            self._queue.popleft().happen()
        else:
            self._free += 1

    def use(self, seconds: float) -> Process:
        yield from self.take()
        yield self._clock.after(seconds)
        self.busy += seconds
        self.give()


class Node:
    """A machine: processors, and a link each way."""

    def __init__(self, clock: Clock, processors: int) -> None:
        self.processors = Resource(clock, processors)
        self.sending, self.receiving = Resource(clock), Resource(clock)


class Thread:
    """The one thread of a process; others wait for its `turn`."""

    def __init__(self, clock: Clock, node: Node) -> None:
        self.node, self.busy, self.turn = node, 0.0, Resource(clock)

    def work(self, seconds: float) -> Process:
        """Work: who calls this is the thread, or has its turn."""
        yield from self.node.processors.use(seconds)
        self.busy += seconds
