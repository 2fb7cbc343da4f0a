"""HTTP/1.1 of uvicorn and httptools, with limits on heads, slow clients and connections."""

from __future__ import annotations

import asyncio
import contextlib

from uvicorn import Server
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from adagrad.serving.refusals import error_body

__all__ = ["LimitedProtocol", "LimitedServer"]


class LimitedProtocol(HttpToolsProtocol):
    """A connection that keeps within the limits of the application.

    Attributes
    ----------
    began : float or None
        When the request began that has not arrived whole, or when the connection did; None if the
        connection waits for the next request.
    """

    began: float | None
    _head = 0  # bytes of the names and values in the head that arrives
    _pending = 0  # bytes of the chunks that lie in that head as a whole
    _in_head = True
    _fresh = False
    _fault: tuple[int, str] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take a connection, or refuse one too many."""
        super().connection_made(transport)
        self.began = self.loop.time()
        self._limits = self.app.limits
        if len(self.connections) > self._limits.connections:
            self.answer(503, "the server has too many connections")

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        if self.parser is None or self.transport.is_closing():
            return
        self._fresh = False
        super().data_received(data)
        # A name or a value that does not end yet is in no header.
        if self._in_head and not self._fresh:
            self._pending += len(data)
            if self._pending > self._limits.head:
                self.answer(431, self._too_long())

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._head, self._pending, self._in_head, self._fresh = 0, 0, True, True
        self.began = self.loop.time()

    def on_url(self, url: bytes) -> None:
        """Take a part of the first line."""
        self._grown(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._grown(len(name) + len(value) + 4)
        super().on_header(name, value)

    def _grown(self, size: int) -> None:
        self._head += size
        if self._head > self._limits.head:
            self._fault = 431, self._too_long()
            raise ValueError  # which ends the parsing

    def _too_long(self) -> str:
        return f"the head has more than {self._limits.head:,} bytes"

    def on_headers_complete(self) -> None:
        """Start the answer."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that a request has arrived whole."""
        super().on_message_complete()
        self.began = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        status, text = self._fault or (400, "the request is not HTTP/1.1")
        self.answer(status, text)

    def handle_websocket_upgrade(self) -> None:
        """Never upgrade."""
        self.answer(400, "the server has no websockets")

    def answer(self, status: int, text: str) -> None:
        """Send an error of the connection, unless an answer has begun, and close it."""
        if self.transport.is_closing():
            return
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            body = error_body(status, text)
            head = b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
            self.transport.write(STATUS_LINE[status] + head + b"connection: close\r\n\r\n" + body)
            self.app.counts.request("other", status)
        self.transport.close()

    def end_if_slow(self, now: float) -> None:
        """Close the connection if its request does not arrive in time."""
        if self.began is not None and now - self.began > self._limits.reading:
            self.answer(408, f"the request did not arrive within {self._limits.reading:g} s")


class LimitedServer(Server):
    """A server that looks for slow clients once a second."""

    async def on_tick(self, counter: int) -> bool:
        """Do what is due ten times a second."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                with contextlib.suppress(AttributeError):
                    connection.end_if_slow(now)
        return bool(await super().on_tick(counter))
