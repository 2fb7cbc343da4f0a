"""The standard input of a log, whose reads a signal handler or another thread can end.

The sources and the commands use it. Nothing here knows formats.
"""

from __future__ import annotations

import io
import os
import queue
import select
import sys
import threading
import weakref
from typing import Any

from adagrad.ctr.logs.compression import SNIFFED, may_be_compressed

__all__ = ["Pipe", "cancel_pipes"]

READ = 1 << 16  # bytes of a pipe of Windows at once
CAN_SELECT_FILES = sys.platform != "win32"  # there, select() takes sockets only


class Pipe(io.RawIOBase):
    """The standard input, with reads that another thread or a signal handler can cancel.

    A plain read from a silent pipe would block its thread until the writer closes the pipe.

    Attributes
    ----------
    is_live : bool
        Whether the writer waits for answers, so that what has arrived must not wait for more.
    has_paused : bool
        Whether the pipe is live and the writer has paused after what a reader yields now. Readers
        of text set it. What other readers yield never waits.
    cancelled : bool
        Whether `cancel` was called.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        try:
            self._file: int | None = stream.fileno()
        except (OSError, AttributeError):
            self._file = None  # bytes in memory
        self._wake, self._waker = os.pipe()
        self._arrived: queue.SimpleQueue[bytes | OSError] = queue.SimpleQueue()
        self._read = 0
        self._ahead = b""  # read, but not yet taken
        self._reads_in_thread = False
        self.is_live = self.has_paused = False
        self.cancelled = False
        _PIPES.add(self)

    def readable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes read."""
        return self._read

    def readinto(self, buffer: Any) -> int:
        """Read what is available, at least one byte; 0 at the end or after `cancel`."""
        if self.cancelled:
            return 0
        data = self._ahead or self._wait_for_bytes(len(buffer))
        data, self._ahead = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(data)] = data
        self._read += len(data)
        return len(data)

    def peek(self) -> bytes:
        """Return the first bytes without taking them: as many as tell a compression."""
        while not self.cancelled and may_be_compressed(self._ahead):
            data = self._wait_for_bytes(SNIFFED)
            if not data:
                break
            self._ahead += data
        return self._ahead

    def pauses(self) -> bool:
        """Return whether the pipe is live and everything that has arrived is read.

        Even at full speed, batches stay large: while the consumer is busy, the pipe fills.
        """
        if not self.is_live or self._ahead or self._file is None or self.cancelled:
            return False
        return not self._has_arrived(self._file, 0.0)

    def _wait_for_bytes(self, size: int) -> bytes:
        if self._file is None:
            data: bytes = self._stream.read(size)
            return data
        self._has_arrived(self._file, None)
        if CAN_SELECT_FILES:
            return b"" if self.cancelled else os.read(self._file, size)
        arrived, self._reads_in_thread = self._arrived.get(), False
        if isinstance(arrived, OSError):
            raise arrived
        return arrived

    def _has_arrived(self, file: int, seconds: float | None) -> bool:
        """Wait for bytes, the end or `cancel`; return False if none comes in time."""
        if CAN_SELECT_FILES:
            return any(select.select([file, self._wake], [], [], seconds))
        # The thread of a cancelled read stays behind until the pipe has data or is closed.
        if not self._reads_in_thread:
            self._reads_in_thread = True
            threading.Thread(target=self._read_in_thread, args=(file,), daemon=True).start()
        try:
            arrived = self._arrived.get(timeout=seconds)
        except queue.Empty:
            return False
        self._arrived.put(arrived)
        return True

    def _read_in_thread(self, file: int) -> None:
        try:
            self._arrived.put(os.read(file, READ))
        except OSError as error:
            self._arrived.put(error)

    def cancel(self) -> None:
        """Let the read under way and all later ones return without data."""
        if not self.closed:
            self.cancelled = True
            os.write(self._waker, b"x")
            self._arrived.put(b"")

    def close(self) -> None:
        """Release what `cancel` needs; the standard input itself stays open."""
        if not self.closed:
            os.close(self._wake)
            os.close(self._waker)
        super().close()


_PIPES: weakref.WeakSet[Pipe] = weakref.WeakSet()


def cancel_pipes() -> bool:
    """End all reading of the standard input at the last whole line; return whether there was any.

    A signal handler may call this.
    """
    being_read = [pipe for pipe in _PIPES if not pipe.closed]
    for pipe in being_read:
        pipe.cancel()
    return bool(being_read)
