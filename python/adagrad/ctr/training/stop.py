"""Signals that ask a training to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from adagrad.ctr.logs.sources import cancel_pipes

__all__ = ["Interrupted", "Stop"]

T = TypeVar("T")


class Interrupted(Exception):
    """Training stopped at a signal, `signal`, with everything up to then in the model file."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


class Stop:
    """SIGINT and SIGTERM ask to stop after the batch at hand; while waiting for data, at once.

    What has come of the standard input cannot be read again, and is learned before. A second signal
    stops at once in any case.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._waiting = self._finishing = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take the signals, in the main thread."""
        before = {number: signal.signal(number, self._take) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        again, self.signal = bool(self.signal), number
        self._finishing = not again and cancel_pipes()
        if again or (self._waiting and not self._finishing):
            self._waiting = False
            raise Interrupted(number)

    def wait(self, batches: Iterator[T]) -> T | None:
        """Return the next batch, None at the end; raise `Interrupted` where a signal came."""
        self._waiting = True
        try:
            if self.signal and not self._finishing:
                raise Interrupted(self.signal)
            batch = next(batches, None)
            if self.signal and batch is None:
                raise Interrupted(self.signal)
            return batch
        finally:
            self._waiting = False


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
