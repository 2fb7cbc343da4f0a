"""For tests of the server: one in this process, and clients that speak HTTP to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adagrad.serving import metrics, server
from adagrad.serving.limits import Limits
from adagrad.serving.source import Source


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


class Served:
    """A server that answers from the model in a file."""

    def __init__(
        self, source: Source | None, port: int, stop: Callable[[], Any] = lambda: None
    ) -> None:
        self.source, self.port, self.stop = source, port, stop

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, names)
            found = connection.getresponse()
            return Reply(found.status, dict(found.getheaders()), found.read())
        finally:
            connection.close()

    def get(self, path: str) -> Reply:
        return self.request("GET", path)

    def post(self, rows: Any, **headers: str) -> Reply:
        headers = {"content_type": "application/json", **headers}
        body = rows if isinstance(rows, bytes) else json.dumps(rows).encode()
        return self.request("POST", "/predict", body, **headers)

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def metric(self, name: str) -> float:
        lines = self.get("/metrics").body.decode().splitlines()
        return sum(float(x.rpartition(" ")[2]) for x in lines if x.startswith(name))


@contextlib.contextmanager
def served(path: Path, folder: Path, limits: Limits | None = None) -> Iterator[Served]:
    """Serve the model in a file by a thread; the folder is for its copies."""
    folder.mkdir()
    source = Source(path, folder)
    n_columns = len(source.scorer.columns)
    memory = np.zeros(2 * metrics.width(n_columns))
    counts = metrics.Counts(memory, 0, n_columns)
    source.on_published, source.on_refused = counts.published, counts.refused
    listener = server._listener("127.0.0.1", 0)
    limits = limits or Limits(drain=0)
    setup = server.Setup(folder, path, limits, n_columns, 2, False)
    one = server.service(setup, memory, 1)
    started = threading.Event()
    loops: list[Any] = []

    async def run() -> None:
        stopped = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stopped))
        started.set()
        await server.answer(one, listener, stopped)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    started.wait()
    loop, stopped = loops[0]

    def stop() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(stopped.set)

    try:
        yield Served(source, listener.getsockname()[1], stop)
    finally:
        stop()
        thread.join()
        source.stop()
        listener.close()


def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
