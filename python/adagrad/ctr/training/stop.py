"""Signals that ask a training to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from adagrad.ctr.logs.pipes import cancel_pipes

__all__ = ["Interrupted", "Stop"]

T = TypeVar("T")

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Interrupted(Exception):
    """A signal stopped a training; the model file holds everything learned before it.

    Attributes
    ----------
    signal : int
        Number of the signal.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


class Stop:
    """Stop after the current batch at SIGINT, SIGTERM or SIGHUP; at once while waiting for data.

    Data that was read from the standard input cannot be read again, so it is learned first. A
    second signal stops at once in any case.

    Attributes
    ----------
    signal : int
        Number of the signal that arrived; 0 if none.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._waiting = self._finishing = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals within the context; only in the main thread.

        SIGHUP stays ignored where it is, so that a training outlives its terminal under nohup.
        """
        handled = [
            number
            for number in _SIGNALS
            if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN
        ]
        before = {number: signal.signal(number, self._handle) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.signal = bool(self.signal), number
        self._finishing = not again and cancel_pipes()
        if again or (self._waiting and not self._finishing):
            self._waiting = False
            raise Interrupted(number)

    def wait(self, batches: Iterator[T]) -> T | None:
        """Return the next batch, or None at the end.

        Raises
        ------
        Interrupted
            A signal arrived.
        """
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
