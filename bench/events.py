"""Discrete-event simulation: simulated time, processes that wait for events, shared resources.

A process is a generator that yields the events it waits for. Ties are resolved in the order of the
requests, so a simulation is deterministic.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Generator

Process = Generator["Event", None, None]


class Event:
    """Something that happens once and resumes the processes waiting for it, in order of arrival."""

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
    """The simulated time in seconds, and a queue of scheduled events."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Event]] = []
        self._asked = 0

    def after(self, seconds: float) -> Event:
        """Return an event that happens after `seconds`."""
        event = Event()
        self._asked += 1
        heapq.heappush(self._due, (self.now + seconds, self._asked, event))
        return event

    def run(self) -> None:
        """Run scheduled events in order of time until none is left."""
        while self._due:
            self.now, _, event = heapq.heappop(self._due)
            event.happen()


class Resource:
    """`count` identical units, granted in order of request; `busy` sums their seconds of use."""

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
    """A machine: processors, and one network link in each direction."""

    def __init__(self, clock: Clock, processors: int) -> None:
        self.processors = Resource(clock, processors)
        self.sending, self.receiving = Resource(clock), Resource(clock)


class Thread:
    """The only thread of a process; tasks that share it take its `turn`."""

    def __init__(self, clock: Clock, node: Node) -> None:
        self.node, self.busy, self.turn = node, 0.0, Resource(clock)

    def work(self, seconds: float) -> Process:
        """Occupy a processor for `seconds`; the caller is the thread or holds its turn."""
        yield from self.node.processors.use(seconds)
        self.busy += seconds
