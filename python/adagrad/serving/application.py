"""The ASGI application: paths, the answers of a model, and its replacement in a worker.

Small requests are answered on the event loop. Large ones, whose parsing and scoring take
milliseconds, are answered by threads, so that they hold up no small one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from adagrad.serving import bodies, openapi
from adagrad.serving.limits import Limits
from adagrad.serving.metrics import Counts, Page
from adagrad.serving.refusals import Refused
from adagrad.serving.scorer import Scorer
from adagrad.serving.source import STATE, State, read_state
from adagrad.serving.unseen import Sampler

__all__ = ["Application"]

LOG = logging.getLogger("adagrad.serve")

LARGE = 16 << 10  # bytes of a body that a thread parses
MOST_JOBS = 64  # large bodies that wait for a thread
MOST_HELD = 8  # largest bodies that a worker holds
LOOK = 0.2  # seconds between looks at what the source has published

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_JSON = b"application/json"
_METHODS = {
    "/predict": (b"POST", "predict"),
    "/health": (b"GET", "health"),
    "/health/live": (b"GET", "health"),
    "/health/ready": (b"GET", "health"),
    "/metrics": (b"GET", "metrics"),
    "/openapi.json": (b"GET", "docs"),
    "/docs": (b"GET", "docs"),
}


class Disconnected(Exception):
    """The client has left."""


class Application:
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
        self._access_log = access_log
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="large")
        self._jobs = 0
        self._held = 0  # bytes of bodies that are incomplete, or wait for a thread
        self.state: State
        self.scorer: Scorer
        self._tag = (0, 0)
        self._look()
        self._sampler = Sampler(counts)
        self._watcher: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or the life of the server."""
        if scope["type"] != "http":
            await self._live(receive, send)
            return
        begin = time.perf_counter()
        path, extra, rows = "other", [], 0
        try:
            method, path = _METHODS.get(scope["path"], (b"", "other"))
            if path == "other":
                raise Refused(404, f"there is no {scope['path']!r:.80}: see /docs")
            if scope["method"].encode() != method:
                extra = [(b"allow", method)]
                raise Refused(405, f"{scope['path']} takes {method.decode()} only")
            if path == "predict":
                body, kind, rows, begin = await self._predict(scope, receive)
                status = 200
            else:
                status, body, kind = self._page(scope["path"])
        except Disconnected:
            return
        except Refused as refused:
            status, body, kind = refused.status, refused.body(), _JSON
            if status == 503:
                extra = [(b"retry-after", b"1")]
        except Exception:
            LOG.exception("a request to %s failed", scope["path"])
            failed = Refused(500, "internal error: the log of the server says where")
            status, body, kind = 500, failed.body(), _JSON
        seconds = time.perf_counter() - begin
        self.counts.request(path, status, seconds if path == "predict" else None, rows)
        headers = [
            (b"content-type", kind),
            (b"content-length", b"%d" % len(body)),
            *extra,
        ]
        if status in (408, 413):  # the rest of the body is not read
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if self._access_log:
            LOG.info("%s %s %d %.2f ms", scope["method"], scope["path"], status, 1e3 * seconds)

    async def _predict(self, scope: Scope, receive: Receive) -> tuple[bytes, bytes, int, float]:
        content_type = encoding = length = None
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value
            elif name == b"content-length":
                length = int(value)
            elif name == b"content-encoding":
                encoding = value
        if encoding not in (None, b"identity"):
            raise Refused(415, f"the content-encoding is {encoding!r:.40}: send plain bodies")
        kind = bodies.media_type(content_type)
        if length is not None and length > self.limits.body:
            raise self._too_large()
        body = await self._body(receive)
        begin = time.perf_counter()
        scorer = self.scorer
        if len(body) <= LARGE:
            data, media, rows = bodies.answer(body, kind, scorer, self.limits.rows)
        else:
            data, media, rows = await self._in_a_thread(body, kind, scorer)
        self._sampler.offer(rows, scorer)
        return data, media, len(rows), begin

    async def _body(self, receive: Receive) -> bytes:
        """Return the body of a request; it is never larger than the limit."""
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        if not message.get("more_body", False):
            return self._within(message["body"])
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                part = message["body"]
                parts.append(part)
                size += len(part)
                self._held += len(part)
                if size > self.limits.body:
                    raise self._too_large()
                if not message.get("more_body", False):
                    return b"".join(parts)
                self._check_room()
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
        finally:
            self._held -= size

    def _within(self, body: bytes) -> bytes:
        if len(body) > self.limits.body:
            raise self._too_large()
        return body

    def _too_large(self) -> Refused:
        return Refused(413, f"the body has more than {self.limits.body:,} bytes: send fewer rows")

    async def _in_a_thread(self, body: bytes, kind: str, scorer: Scorer) -> bodies.Answer:
        if self._jobs >= MOST_JOBS:
            raise Refused(503, "too many large batches wait: try again later")
        self._check_room()
        self._jobs += 1
        self._held += len(body)

        def done(job: asyncio.Future[Any]) -> None:
            self._jobs -= 1
            self._held -= len(body)
            if not job.cancelled():
                job.exception()  # of one that nobody waits for any longer

        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._pool, bodies.answer, body, kind, scorer, self.limits.rows)
        job.add_done_callback(done)
        try:
            return await asyncio.wait_for(asyncio.shield(job), self.limits.seconds)
        except asyncio.TimeoutError:
            raise Refused(504, f"no answer within {self.limits.seconds:g} s") from None

    def _check_room(self) -> None:
        if self._held > MOST_HELD * self.limits.body:
            raise Refused(503, "the server holds too many large bodies: try again later")

    def _page(self, path: str) -> tuple[int, bytes, bytes]:
        if path == "/docs":
            return 200, openapi.page(self.scorer, self.limits), b"text/html; charset=utf-8"
        if path == "/openapi.json":
            return 200, openapi.description(self.scorer, self.limits), _JSON
        if path == "/metrics":
            text, kind = self._metrics().text()
            return 200, text, kind.encode()
        return 200, json.dumps(self.health()).encode(), _JSON

    def health(self) -> dict[str, Any]:
        """Return what /health says."""
        generations = self.counts.generations()
        return {
            "status": "ready",
            "model": {
                "path": str(self.path),
                "version": self.scorer.version,
                "kind": self.scorer.kind,
                "label": self.scorer.label,
                "generation": self.state.generation,
                "loaded_at": self.state.loaded_at,
            },
            "refused": self.state.refused,
            "workers": {str(number): n for number, n in generations.items()},
        }

    def _metrics(self) -> Page:
        info = {"version": self.scorer.version, "kind": self.scorer.kind, "path": str(self.path)}
        state = {"loaded_at": self.state.loaded_at, "refused": self.state.refused is not None}
        return Page(self.counts, list(self.scorer.columns), info, state)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Watch what the source publishes, from the start to the end of the server."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._watcher = asyncio.create_task(self._watch())
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._watcher is not None:
                    self._watcher.cancel()
                self._pool.shutdown(wait=False)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK)
            if self._published() != self._tag:
                try:
                    await loop.run_in_executor(None, self._look)
                except Exception:  # it is published again, or the next look succeeds
                    LOG.exception("cannot load what was published")

    def _published(self) -> tuple[int, int]:
        found = (self.folder / STATE).stat()
        return found.st_mtime_ns, found.st_ino

    def _look(self) -> None:
        """Serve what is published now."""
        begin = time.perf_counter()
        tag, state = self._published(), read_state(self.folder)
        if not hasattr(self, "state") or state.generation != self.state.generation:
            scorer = Scorer(self.folder / state.file)
            scorer.predict_one({})  # what is made at the first call is made now
            self.scorer = scorer
            self.counts.loaded(state.generation, time.perf_counter() - begin)
        self.state, self._tag = state, tag
