"""What a server accepts: sizes, times and numbers, in one place."""

from __future__ import annotations

import dataclasses

__all__ = ["Limits"]


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a server; each protects a worker from one client.

    Attributes
    ----------
    body : int
        Bytes of the body of a request.
    rows : int
        Rows of a request.
    seconds : float
        From the end of a request to its answer, waiting included.
    connections : int
        Open connections of a worker.
    head : int
        Bytes of the first line and the headers of a request.
    reading : float
        Seconds from the first byte of a request to its last.
    idle : float
        Seconds that a connection stays open between two requests.
    grace : float
        Seconds that a stopping worker gives to the requests in flight.
    drain : float
        The first of these, in which it still accepts; then idle connections are closed.
    """

    body: int = 8 << 20
    rows: int = 10_000
    seconds: float = 10.0
    connections: int = 1_000
    head: int = 16 << 10
    reading: float = 20.0
    idle: float = 75.0
    grace: float = 30.0
    drain: float = 0.5
