"""Processes of a server: one that listens and watches the model file, and workers that answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import adagrad._core as _core
from adagrad._atomic import try_lock
from adagrad._text import printable
from adagrad.serving.connection import Connection
from adagrad.serving.limits import Limits
from adagrad.serving.metrics import Counts, width
from adagrad.serving.service import Service
from adagrad.serving.source import Source

if sys.platform != "win32":
    import fcntl

__all__ = ["Setup", "answer", "log_to_stderr", "serve", "service"]

LOG = logging.getLogger("adagrad.serve")

BACKLOG = 2048
PREFIX = "adagrad-serve-"  # of folders for copies
AGAIN = 1.0  # seconds before a worker that died is replaced


class Setup(NamedTuple):
    """What a worker needs to know.

    Attributes
    ----------
    folder : Path
        Where the source publishes.
    path : Path
        The model file.
    limits : Limits
    n_columns : int
    threads : int
        Threads of a worker for large requests.
    access_log : bool
    """

    folder: Path
    path: Path
    limits: Limits
    n_columns: int
    threads: int
    access_log: bool


def serve(
    path: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    limits: Limits | None = None,
    access_log: bool = False,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve a model until SIGTERM or SIGINT.

    Parameters
    ----------
    path : Path
        The file of a model. The server replaces the model when the file is replaced, and on SIGHUP.
    host : str
        The address to listen on.
    port : int
        0 takes a free one.
    workers : int
        Processes that answer.
    limits : Limits, optional
    access_log : bool
        Whether to log each request.
    announce : callable
        Called with the URL when the server listens.

    Raises
    ------
    OSError
        The file cannot be read, or the address is in use.
    ValueError
        The file holds no sound model.
    """
    limits = limits or Limits()
    with _folder() as folder:
        source = Source(path, folder)
        listener = _listener(host, port)
        n_columns = len(source.scorer.columns)
        threads = max(1, (os.cpu_count() or 1) // workers)
        setup = Setup(folder, path, limits, n_columns, threads, access_log)
        # The first row is of the process that watches.
        context = multiprocessing.get_context("spawn")
        memory = context.RawArray("d", (workers + 1) * width(n_columns))
        counts = Counts(memory, 0, n_columns)
        source.on_published, source.on_refused = counts.published, counts.refused
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, lambda *_: source.wake())
        source.start()
        bound_host, bound_port = listener.getsockname()[:2]
        shown = f"[{bound_host}]" if ":" in bound_host else bound_host
        try:
            if workers == 1:
                one = service(setup, memory, 1)
                announce(f"http://{shown}:{bound_port}")
                asyncio.run(_until_a_signal(one, listener))
            else:
                pool = _Workers(context, workers, setup, memory, listener)
                with pool.running():
                    announce(f"http://{shown}:{bound_port}")
                    pool.wait()
        finally:
            source.stop()
            listener.close()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Return a folder for copies, and remove those that servers left behind when they were killed.

    A lock, which ends with its process, tells whether a server still has a folder.
    """
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        folder = Path(name)
        with (folder / "new").open("wb") as lock:
            if sys.platform != "win32":
                with contextlib.suppress(OSError):  # a file system without locks
                    try_lock(lock.fileno(), fcntl.LOCK_EX)
                    (folder / "new").rename(folder / "lock")
                for other in folder.parent.glob(f"{PREFIX}*/lock"):
                    _remove_abandoned(other)
            yield folder


def _remove_abandoned(lock: Path) -> None:
    """Remove the folder of a lock that no process holds, if it is of this user."""
    with contextlib.suppress(OSError), lock.open("rb") as file:
        is_ours = os.fstat(file.fileno()).st_uid == os.geteuid()
        if is_ours and try_lock(file.fileno(), fcntl.LOCK_EX):
            shutil.rmtree(lock.parent)
            LOG.info("removed %s, which a server that was killed had left", lock.parent)


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def service(setup: Setup, memory: Any, row: int) -> Service:
    """Return the service of a worker, whose counts are in a row of the memory."""
    _core.set_num_threads(1)  # requests are what runs in parallel
    counts = Counts(memory, row, setup.n_columns)
    return Service(
        setup.folder,
        setup.path,
        setup.limits,
        counts,
        threads=setup.threads,
        access_log=setup.access_log,
    )


async def answer(one: Service, listener: socket.socket, stopped: asyncio.Event) -> None:
    """Answer requests until an event, and those that clients send before they know of it.

    Connections are accepted for a while longer. Other processes have the listener too, so that
    what waits in its queue is lost only if the last of them closes it without a look.
    """
    loop = asyncio.get_running_loop()
    # A worker accepts as many connections at a time as its backlog, all of them if it could.
    server = await loop.create_server(lambda: Connection(one), sock=listener, backlog=1)
    listener.listen(BACKLOG)
    closed = asyncio.Event()
    try:
        due = asyncio.ensure_future(one.run(closed))
        await stopped.wait()
        one.stopping = True
        await asyncio.sleep(one.limits.drain)
        with contextlib.suppress(NotImplementedError):  # Windows has no readers
            loop.remove_reader(listener)
        await asyncio.sleep(0)  # what the loop has accepted becomes a connection
        with contextlib.suppress(OSError):  # nothing waits
            for _ in range(BACKLOG):
                await loop.connect_accepted_socket(lambda: Connection(one), listener.accept()[0])
        server.close()
        closed.set()
        await due
    finally:
        server.close()


async def _until_a_signal(one: Service, listener: socket.socket) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    ends = asyncio.ensure_future(_end_with_parent(stopped))
    with _on_end(lambda: loop.call_soon_threadsafe(stopped.set)):
        await answer(one, listener, stopped)
    ends.cancel()


@contextlib.contextmanager
def _on_end(call: Callable[[], Any]) -> Iterator[None]:
    """Call something on the signals that end a server."""
    before = {
        number: signal.signal(number, lambda *_: call())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _end_with_parent(stopped: asyncio.Event) -> None:
    """Stop a worker whose server was killed: it would keep the port."""
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        await asyncio.sleep(AGAIN)
    if parent is not None:
        stopped.set()


def _run(setup: Setup, memory: Any, row: int, listener: socket.socket) -> None:
    """Be a worker."""
    if hasattr(signal, "SIGHUP"):  # which is sent to the whole group when a terminal closes
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    log_to_stderr()
    asyncio.run(_until_a_signal(service(setup, memory, row), listener))


class _OneLine(logging.Formatter):
    """Formats messages so that a name in a model file cannot look like another message."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))


def log_to_stderr() -> None:
    """Write the log of the server to stderr, with times in UTC."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = _OneLine("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    LOG.setLevel(logging.INFO)


class _Workers:
    """The processes that answer; one that dies is replaced."""

    def __init__(
        self, context: Any, n: int, setup: Setup, memory: Any, listener: socket.socket
    ) -> None:
        self._context, self._arguments = context, (setup, memory, listener)
        self._processes: list[Any] = [None] * n
        self._grace = setup.limits.grace
        self._ended = False

    def _start(self, number: int) -> None:
        setup, memory, listener = self._arguments
        process = self._context.Process(
            target=_run, args=(setup, memory, number + 1, listener), daemon=True
        )
        process.start()
        self._processes[number] = process

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start the workers; stop them at the end, after the requests in flight."""
        with _on_end(self._end):
            try:
                for number in range(len(self._processes)):
                    self._start(number)
                yield
            finally:
                *_, listener = self._arguments
                listener.close()  # before the workers close theirs: this process accepts nothing
                started = [process for process in self._processes if process is not None]
                for process in started:
                    process.terminate()
                deadline = time.monotonic() + self._grace + 5
                for process in started:
                    process.join(max(0.1, deadline - time.monotonic()))
                    if process.is_alive():
                        process.kill()

    def _end(self) -> None:
        self._ended = True

    def wait(self) -> None:
        """Wait for a signal that ends the server, and replace workers that die."""
        while not self._ended:
            multiprocessing.connection.wait([one.sentinel for one in self._processes], 0.1)
            for number, process in enumerate(self._processes):
                if not self._ended and not process.is_alive():
                    LOG.error("worker %d ended with status %s", number + 1, process.exitcode)
                    time.sleep(AGAIN)
                    if not self._ended:
                        self._start(number)
