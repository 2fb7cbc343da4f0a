"""HTTP/1.1 on one connection: requests out of bytes, by httptools, and answers back, in order.

The server has no framework: a probability takes microseconds, and a layer between it and the parser
would take several times as long as both.
"""

from __future__ import annotations

import asyncio
import collections
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, cast

import httptools

from adagrad.serving.refusals import Refused

if TYPE_CHECKING:
    from adagrad.serving.service import Service

__all__ = ["Answer", "Connection", "Request"]

LINGER = 2.0  # seconds to read what a client still sends after it was refused

_STATUS = {one.value: f"HTTP/1.1 {one.value} {one.phrase}".encode() for one in HTTPStatus}
_WANTED = (b"content-type", b"content-encoding", b"transfer-encoding")


class Request(NamedTuple):
    """A request that has arrived whole.

    Attributes
    ----------
    method : bytes
    target : bytes
        Path and query.
    headers : dict of bytes to bytes
        Those that matter here.
    body : bytes
    keeps : bool
        Whether the connection stays open after the answer.
    """

    method: bytes
    target: bytes
    headers: dict[bytes, bytes]
    body: bytes
    keeps: bool


class Answer(NamedTuple):
    """An answer to a request.

    Attributes
    ----------
    status : int
    body : bytes
    kind : bytes
        Its media type.
    extra : bytes
        More lines of the head, each with its end.
    """

    status: int
    body: bytes
    kind: bytes = b"application/json"
    extra: bytes = b""


class Connection(asyncio.Protocol):
    """A connection of a client.

    Attributes
    ----------
    since : float or None
        When the request began that has not arrived whole, or when the connection did; None while
        none is on its way.
    idle : float
        When the last answer was written.
    """

    transport: asyncio.Transport

    def __init__(self, service: Service) -> None:
        self.service, self._limits = service, service.limits
        self.since: float | None = service.clock()
        self.idle = self.since
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: collections.deque[Request | Refused] = collections.deque()
        self._busy = False  # with a request that a thread answers
        self._refused = False  # nothing more is read
        self._lingers: float | None = None
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._size = 0  # of the body
        self._head = 0  # bytes of the names and values in the head that arrives
        self._pending = 0  # bytes of the chunks that lie in that head as a whole
        self._in_head, self._fresh = True, False
        self._begun = False  # a request is on its way
        self._fault: Refused | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, or refuse one too many."""
        self.transport = cast(asyncio.Transport, transport)
        self.service.connections.add(self)
        if len(self.service.connections) > self._limits.connections:
            self._refuse(Refused(503, "the server has too many connections: try again later"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._drop_body()
        self._waiting.clear()
        self._refused = True
        self.service.connections.discard(self)

    def eof_received(self) -> bool:
        """Answer what has arrived whole, then close; the client sends no more."""
        if self._busy or self._waiting:
            self._refused = True
            return True
        return False

    def pause_writing(self) -> None:
        """Read no more while the client does not read its answers."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        if not self._busy:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        if self._refused:
            return
        self._fresh = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(Refused(400, "the server speaks HTTP/1.1 only"))
        except httptools.HttpParserError:
            self._refuse(self._fault or Refused(400, "the request is not HTTP/1.1"))
        if self.service.stopping and not self._busy:
            self._next()
        # A name or a value that does not end yet is in no header.
        if self._in_head and not self._fresh and not self._refused:
            self._pending += len(data)
            if self._pending > self._limits.head:
                self._refuse(self._too_long())

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._target, self._headers = b"", {}
        self._head = self._pending = 0
        self._in_head = self._fresh = self._begun = True
        self.since = self.service.clock()

    def on_url(self, url: bytes) -> None:
        """Take a part of the first line."""
        self._target += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._grow(len(name) + len(value) + 4)
        if not self._in_head:
            return  # a trailer, which may be anyone's
        name = name.lower()
        if name in _WANTED:
            known = self._headers.get(name)
            self._headers[name] = value if known is None else known + b", " + value
        elif name == b"content-length" and int(value) > self._limits.body:
            self._fail(self._too_large())
        elif name == b"expect":
            self._headers[name] = value.lower()

    def on_headers_complete(self) -> None:
        """Take the end of the head."""
        self._in_head = False
        if self._headers.get(b"expect") == b"100-continue" and not self._busy:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._parts.append(body)
        self._size += len(body)
        self.service.held += len(body)
        if self._size > self._limits.body:
            self._fail(self._too_large())
        if not self.service.has_room():
            self._fail(Refused(503, "the server holds too many large bodies: try again later"))

    def on_message_complete(self) -> None:
        """Answer a request."""
        parts = self._parts
        body = b"".join(parts) if len(parts) != 1 else parts[0]
        self._drop_body()
        self.since, self._begun = None, False
        parser = self._parser
        request = Request(
            parser.get_method(), self._target, self._headers, body, parser.should_keep_alive()
        )
        # The last answer of a stopping server says so: it must be known which one is the last.
        if self._busy or self._waiting or self.service.stopping:
            self._waiting.append(request)
            self.transport.pause_reading()
        else:
            self._answer(request)

    def _drop_body(self) -> None:
        self.service.held -= self._size
        self._parts, self._size = [], 0

    def _grow(self, size: int) -> None:
        self._head += size
        if self._head > self._limits.head:
            self._fail(self._too_long())

    def _fail(self, why: Refused) -> None:
        """End the parsing, from within the parser."""
        self._fault = why
        raise why

    def _too_long(self) -> Refused:
        return Refused(431, f"the head has more than {self._limits.head:,} bytes")

    def _too_large(self) -> Refused:
        return Refused(413, f"the body has more than {self._limits.body:,} bytes: send fewer rows")

    # Answers.

    def _answer(self, request: Request) -> None:
        if self.transport.is_closing():
            return
        found = self.service.answer(request)
        if isinstance(found, Answer):
            self._write(request, found)
            return
        self._busy = True
        task = asyncio.ensure_future(found)
        self.service.tasks.add(task)

        def done(task: asyncio.Future[Answer]) -> None:
            self.service.tasks.discard(task)
            self._busy = False
            if not task.cancelled() and not self.transport.is_closing():
                self._write(request, task.result())
                self._next()

        task.add_done_callback(done)

    def _next(self) -> None:
        """Answer what has waited for the answer before it."""
        while self._waiting and not self._busy and not self.transport.is_closing():
            one = self._waiting.popleft()
            if isinstance(one, Refused):
                self._end(one)
            else:
                self._answer(one)
        if not self._busy and not self.transport.is_closing():
            self.transport.resume_reading()

    def _write(self, request: Request, answer: Answer) -> None:
        more = self._waiting or self._begun or self._lingers is not None
        keeps = request.keeps and (more or not self.service.stopping)
        body = b"" if request.method == b"HEAD" else answer.body
        self.transport.write(
            b"%b\r\n%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n%b"
            % (
                _STATUS[answer.status],
                self.service.date,
                answer.kind,
                len(answer.body),
                answer.extra,
                b"" if keeps else b"connection: close\r\n",
                body,
            )
        )
        self.idle = self.service.clock()
        if not keeps or (self._refused and not self._waiting and self._lingers is None):
            self.transport.close()

    def _refuse(self, why: Refused) -> None:
        """Read no more, and say why after the answers that are due."""
        self._drop_body()
        self._refused, self._begun = True, False
        self.since = None
        if self._busy or self._waiting:
            self._waiting.append(why)
        else:
            self._end(why)

    def _end(self, why: Refused) -> None:
        """Write the last answer. A close while the client still sends would lose it."""
        if self.transport.is_closing():
            return
        self._lingers = self.service.clock()
        self.service.counts.request("other", why.status)
        request = Request(b"", b"", {}, b"", keeps=True)
        self._write(request, Answer(why.status, why.body(), extra=b"connection: close\r\n"))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    # What the service calls.

    def look(self, now: float) -> None:
        """End the connection if its client is slow, or has sent nothing for long."""
        limits = self._limits
        if self._lingers is not None:
            if now - self._lingers > LINGER:
                self.transport.abort()
        elif self._busy:
            pass
        elif self.transport.get_write_buffer_size():
            if now - self.idle > limits.reading:
                self.transport.abort()
        elif self.since is not None:
            if now - self.since > limits.reading:
                text = f"the request did not arrive within {limits.reading:g} s"
                self._refuse(Refused(408, text))
        elif now - self.idle > limits.idle:
            self.transport.close()

    def stop(self, now: float) -> None:
        """Close the connection if no answer is due, and none was for a while."""
        due = self._busy or self._waiting or self._begun or self._lingers is not None
        if not due and now - self.idle >= self._limits.drain:
            self.transport.close()
