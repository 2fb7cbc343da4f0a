"""Requests of a hostile client: bodies, heads and sizes that are wrong in one way or several."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuzz import damaged

ARROW = b"application/vnd.apache.arrow.stream"


class Hostile(NamedTuple):
    """Bytes to send, and the body among them if the head is sound."""

    data: bytes
    body: bytes | None
    kind: bytes


def request(seed: int, columns: dict[str, str]) -> Hostile:
    """Return the request of a seed."""
    rng = np.random.default_rng(seed)
    kind = b"application/json"
    body = json.dumps(_rows(rng, columns), allow_nan=True).encode()
    way = int(rng.integers(10))
    if way == 0:
        body = damaged(body, seed)
    elif way == 1:
        body, kind = damaged(_stream(rng, columns), seed), ARROW
    elif way == 2:
        body = _soup(rng)
    elif way == 3:
        kind = bytes(
            rng.choice([b"text/plain", b"", b"\xff/\x00x", ARROW, b"application/json;charset=x"])
        )
    elif way == 4:
        body = body[: int(rng.integers(len(body) + 1))]
    elif way == 5:
        body, kind = _stream(rng, columns), ARROW
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: " + kind + b"\r\n"
    sound = head + b"content-length: %d\r\n\r\n" % len(body) + body
    if way == 6:  # in chunks
        size = int(rng.integers(1, 200))
        parts = [body[at : at + size] for at in range(0, len(body), size)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        return Hostile(
            head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n", body, kind
        )
    if way == 7:  # what is no HTTP, or says another size
        return Hostile(damaged(sound, seed), None, kind)
    if way == 8:
        value = _letters(rng, 20).encode("utf-8")
        name = value if rng.random() < 0.3 else b"x-name"
        extra = (name + b": " + value + b"\r\n") * int(rng.choice([1, 100, 2000]))
        return Hostile(sound.replace(b"host: x\r\n", extra), None, kind)
    return Hostile(sound, body, kind)


def _rows(rng: np.random.Generator, columns: dict[str, str]) -> Any:
    row = lambda: {name: _value(rng, 2) for name in columns if rng.random() < 0.7}  # noqa: E731
    if rng.random() < 0.4:
        return row()
    return [row() if rng.random() < 0.97 else _value(rng, 1) for _ in range(int(rng.integers(6)))]


def _value(rng: np.random.Generator, depth: int) -> Any:
    way = int(rng.integers(24))
    if way < 10:
        return int(rng.integers(-5, 50))
    if way < 16:
        return _letters(rng, 8)
    plain: list[Any] = [None, True, 0.5, -0.0, 1e308, 2**53 + 1, -(2**63), 2**64]
    plain += [1e999] if rng.random() < 0.05 else []
    if way < 21 or not depth:
        return plain[int(rng.integers(len(plain)))]
    some = [_value(rng, depth - 1) for _ in range(int(rng.integers(4)))]
    return some if way < 23 else {_letters(rng, 3): one for one in some}


def _letters(rng: np.random.Generator, most: int) -> str:
    letters = [*'abc019 .:-_*"\\', "\0", "\n", "é", "😀", "ad1", "site2"]
    return "".join(rng.choice(letters, int(rng.integers(most + 1))).tolist())


def _soup(rng: np.random.Generator) -> bytes:
    """Return pieces of JSON in any order."""
    pieces = [b"{", b"}", b"[", b"]", b",", b":", b'"site"', b'"', b"\\", b"\\ud800", b"1", b"-"]
    pieces += [b"e9", b".", b"NaN", b"null", b"true", b" ", b"\0", b"\xff", b"\xc3\xa4", b'{"ad":']
    return b"".join(pieces[k] for k in rng.integers(0, len(pieces), int(rng.integers(1, 30))))


def _stream(rng: np.random.Generator, columns: dict[str, str]) -> bytes:
    n = int(rng.integers(0, 5))
    numbers = pa.array(rng.integers(0, 9, n))
    texts = numbers.cast(pa.string())
    lists = pa.array([[one] for one in texts.to_pylist()], pa.list_(pa.string()))
    kinds = [texts] * 9 + [numbers, numbers.cast(pa.float32()), lists, pa.nulls(n)]
    kinds += [texts.dictionary_encode(), pc.equal(numbers, 1)]
    table = pa.table({name: kinds[int(rng.integers(len(kinds)))] for name in columns})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4" if rng.random() < 0.1 else None)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
