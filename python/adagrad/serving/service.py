"""What a worker does with requests: paths, the answers of a model, and its replacement.

Small requests are answered at once. Large ones, whose parsing and scoring take milliseconds, are
answered by threads, so that they hold up no small one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any

from adagrad.serving import bodies, openapi, unseen
from adagrad.serving.connection import Answer, Connection, Request
from adagrad.serving.limits import Limits
from adagrad.serving.metrics import Counts, Page
from adagrad.serving.refusals import Refused
from adagrad.serving.scorer import Scorer
from adagrad.serving.source import State, check_answers, published, read_state

__all__ = ["Service"]

LOG = logging.getLogger("adagrad.serve")

LARGE = 64 << 10  # bytes of a body that a thread parses
MOST_JOBS = 64  # large bodies that wait for a thread
MOST_HELD = 8  # largest bodies that a worker holds
TICK = 0.2  # seconds between looks at the source and at connections

# How bodies may be written.
_PLAIN = ((b"content-encoding", b"identity"), (b"transfer-encoding", b"chunked"))
_METHODS = {
    b"/predict": (b"POST", "predict"),
    b"/health": (b"GET", "health"),
    b"/metrics": (b"GET", "metrics"),
    b"/openapi.json": (b"GET", "docs"),
    b"/docs": (b"GET", "docs"),
}


class Service:
    """Answers requests from the model that is published in a folder.

    Parameters
    ----------
    folder : Path
        That of a `Source`.
    path : Path
        The model file, for people.
    limits : Limits
    counts : Counts
    threads : int
        Threads for large requests.
    access_log : bool
        Whether to log each request.

    Attributes
    ----------
    connections : set of Connection
        Those that are open.
    tasks : set of Future
        Requests that threads answer.
    held : int
        Bytes of bodies that are incomplete, or wait for a thread.
    stopping : bool
        Whether connections end after the answers that are due.
    """

    def __init__(
        self,
        folder: Path,
        path: Path,
        limits: Limits,
        counts: Counts,
        *,
        threads: int = 1,
        access_log: bool = False,
    ) -> None:
        self.folder, self.path, self.limits, self.counts = folder, path, limits, counts
        self.clock = time.monotonic
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Future[Answer]] = set()
        self.held, self.stopping = 0, False
        self.date = b""
        self._access_log = access_log
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="large")
        self._jobs = 0
        self._sample: Any = None  # rows that were answered since the last tick
        self._tag = (0, 0)
        self.state: State
        self.scorer: Scorer
        self.refresh()

    def answer(self, request: Request) -> Answer | Coroutine[Any, Any, Answer]:
        """Return the answer to a request, or what will."""
        begin = time.perf_counter()
        target = request.target.partition(b"?")[0]
        method, path = _METHODS.get(target, (b"", "other"))
        if path == "predict" and len(request.body) > LARGE and request.method == method:
            return self._answered_later(request, begin)
        try:
            if path == "other":
                raise Refused(404, f"there is no {target.decode('latin-1')!r:.80}: see /docs")
            if request.method != method and (method, request.method) != (b"GET", b"HEAD"):
                raise Refused(405, f"{target.decode()} takes {method.decode()} only")
            if path == "predict":
                found, rows = self._predicted(request)
                n = len(rows)
                self._sample = rows, self.scorer
            else:
                found, n = self._page(target), 0
        except Exception as error:
            found, n = _refusal(error, target, method), 0
        self._count(request, path, found.status, time.perf_counter() - begin, n)
        return found

    async def _answered_later(self, request: Request, begin: float) -> Answer:
        n = 0
        try:
            found, rows = await self._in_a_thread(request)
            n = len(rows)
            self._sample = rows, self.scorer
        except Exception as error:
            found = _refusal(error, request.target, b"POST")
        self._count(request, "predict", found.status, time.perf_counter() - begin, n)
        return found

    def _count(self, request: Request, path: str, status: int, seconds: float, rows: int) -> None:
        self.counts.request(path, status, seconds if path == "predict" else None, rows)
        if self._access_log:
            line = f"{request.method.decode('latin-1')} {request.target.decode('latin-1')!r:.200}"
            LOG.info("%s %d %.2f ms, %d bytes", line, status, 1e3 * seconds, len(request.body))

    def _predicted(self, request: Request) -> tuple[Answer, Any]:
        headers = request.headers
        for name, plain in _PLAIN:
            if (encoding := headers.get(name, plain).lower()) != plain:
                text = f"the {name.decode()} is {encoding.decode('latin-1')!r:.40}"
                raise Refused(415, f"{text}: send plain bodies")
        kind = bodies.media_type(headers.get(b"content-type"))
        body, media, rows = bodies.answer(request.body, kind, self.scorer, self.limits.rows)
        return Answer(200, body, media), rows

    async def _in_a_thread(self, request: Request) -> tuple[Answer, Any]:
        size = len(request.body)
        if self._jobs >= MOST_JOBS or not self.has_room():
            raise Refused(503, "too many large batches wait: try again later")
        self._jobs += 1
        self.held += size

        def done(job: asyncio.Future[Any]) -> None:
            self._jobs -= 1
            self.held -= size
            if not job.cancelled():
                job.exception()  # of one that nobody waits for any longer

        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._pool, self._predicted, request)
        job.add_done_callback(done)
        try:
            return await asyncio.wait_for(asyncio.shield(job), self.limits.seconds)
        except asyncio.TimeoutError:
            raise Refused(504, f"no answer within {self.limits.seconds:g} s") from None

    def has_room(self) -> bool:
        """Return whether another large body may be held."""
        return self.held <= MOST_HELD * self.limits.body

    def _page(self, target: bytes) -> Answer:
        if target == b"/docs":
            kind = b"text/html; charset=utf-8"
            return Answer(200, openapi.page(self.scorer, self.limits), kind)
        if target == b"/openapi.json":
            return Answer(200, openapi.description(self.scorer, self.limits))
        if target == b"/metrics":
            text, media = self._metrics().text()
            return Answer(200, text, media.encode())
        return Answer(200, json.dumps(self.health()).encode())

    def health(self) -> dict[str, Any]:
        """Return what /health says."""
        return {
            "status": "ready",
            "model": {
                "path": str(self.path),
                "version": self.scorer.version,
                "kind": self.scorer.kind,
                "label": self.scorer.label,
                "number": self.state.generation,
                "loaded_at": self.state.loaded_at,
            },
            "refused": self.state.refused,
            "workers": {str(number): n for number, n in self.counts.generations().items()},
        }

    def _metrics(self) -> Page:
        info = {"version": self.scorer.version, "kind": self.scorer.kind, "path": str(self.path)}
        state = {"loaded_at": self.state.loaded_at, "refused": self.state.refused is not None}
        return Page(self.counts, list(self.scorer.columns), info, state)

    # What is due now and then.

    async def run(self, closed: asyncio.Event) -> None:
        """Do what is due, until the listener is closed; then let the requests in flight end."""
        while not closed.is_set():
            await self._tick()
            try:
                await asyncio.wait_for(closed.wait(), TICK)
            except asyncio.TimeoutError:
                continue
        end = self.clock() + self.limits.grace - self.limits.drain
        await asyncio.sleep(TICK / 10)  # what was accepted last becomes a connection
        while self.connections and self.clock() < end:
            for connection in list(self.connections):
                connection.stop(self.clock())
                connection.look(self.clock())
            await asyncio.sleep(TICK / 10)
        for connection in list(self.connections):
            connection.transport.abort()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _tick(self) -> None:
        self.date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        now = self.clock()
        for connection in list(self.connections):
            connection.look(now)
        try:
            if published(self.folder) != self._tag or self._sample is not None:
                await asyncio.get_running_loop().run_in_executor(None, self._aside)
        except Exception:  # a tick that fails ends nothing: the next one tries again
            LOG.exception("internal error")

    def _aside(self) -> None:
        """Load what was published, and look at a sample of the rows, beside the event loop."""
        if published(self.folder) != self._tag:
            self.refresh()
        if self._sample is not None:
            (rows, scorer), self._sample = self._sample, None
            self.counts.sample(*unseen.looked_up(rows, scorer))

    def refresh(self) -> None:
        """Serve what is published now."""
        begin = time.perf_counter()
        tag, state = published(self.folder), read_state(self.folder)
        if not hasattr(self, "state") or state.generation != self.state.generation:
            scorer = Scorer(self.folder / state.file)
            unseen.looked_up([{}], scorer)  # what the first call makes is made now
            check_answers(scorer)
            self.scorer = scorer
            self.counts.loaded(state.generation, time.perf_counter() - begin)
        self.state, self._tag = state, tag


def _refusal(error: Exception, target: bytes, method: bytes) -> Answer:
    """Return the answer to a request that failed."""
    if not isinstance(error, Refused):
        LOG.error("a request to %r failed", target[:80], exc_info=error)
        error = Refused(500, "internal error: the log of the server says where")
    extra = b""
    if error.status == 405:
        extra = b"allow: %b\r\n" % method
    elif error.status == 503:
        extra = b"retry-after: 1\r\n"
    return Answer(error.status, error.body(), extra=extra)
