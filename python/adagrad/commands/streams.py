"""Standard streams that are closed, full or broken. It imports only the standard library."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import threading
from typing import Any

from adagrad._atomic import WrittenFile

__all__ = ["flush", "hide_tracebacks", "prepare", "shows_tracebacks", "unbuffered"]


class _Closed(io.RawIOBase):
    """A standard stream that is closed: using it is an error of one line."""

    def __init__(self, name: str) -> None:
        self._error = OSError(errno.EBADF, f"the standard {name} is closed")

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise self._error

    def read(self, size: int = -1) -> bytes:
        raise self._error

    def write(self, data: Any) -> int:
        raise self._error


def prepare() -> None:
    """Give the descriptors of closed standard streams to /dev/null.

    Otherwise the next file that is opened gets the descriptor, and what is printed ends up in it.
    What uses a closed stream gets an OSError; errors that cannot be printed are lost. If the
    standard output cannot be written, the error says so.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest descriptor that is free
        if getattr(sys, name) is None:
            raw: Any = open(os.devnull, "wb") if name == "stderr" else _Closed(name[3:] + "put")  # noqa: PTH123, SIM115
            setattr(sys, name, io.TextIOWrapper(raw, "utf-8", write_through=True))
    if sys.platform != "win32" and not isinstance(sys.stdout.buffer, _Closed):
        raw = WrittenFile(1, "wb", closefd=False)
        raw.explain("the standard output", "")
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(raw),
            sys.stdout.encoding,
            "backslashreplace",
            line_buffering=sys.stdout.isatty(),
        )


def unbuffered() -> Any:
    """Return the standard output for bytes, without a buffer where that is possible.

    A buffer whose write a signal interrupts would write the same bytes again at the end.
    """
    sys.stdout.flush()
    raw = getattr(sys.stdout.buffer, "raw", None)
    return raw if isinstance(raw, WrittenFile) else sys.stdout.buffer


def flush() -> OSError | None:
    """Write what was printed; return the error if it cannot be written, and drop it."""
    failed = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            failed = failed or error
            # Python would try again at its end, and print a traceback.
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
    return failed


def shows_tracebacks() -> bool:
    """Return whether the environment asks for tracebacks: ``ADAGRAD_TRACEBACK=1``."""
    return os.environ.get("ADAGRAD_TRACEBACK", "0") not in ("", "0")


def hide_tracebacks() -> None:
    """Print no tracebacks of threads and finalizers; the error itself reaches the command."""
    if not shows_tracebacks():
        threading.excepthook = lambda arguments: None
        sys.unraisablehook = lambda unraisable: None
