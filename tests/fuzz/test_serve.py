"""Hostile requests: the server answers what it can read, refuses the rest, and lives."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest

from checks import need_packages

need_packages("click", "sklearn", "pyarrow", "safetensors")
need_packages("httptools", "msgspec", "prometheus_client")

import pyarrow as pa

import command
import hostile
from adagrad.serving import Scorer
from adagrad.serving.limits import Limits
from fuzz import seeds
from served import served

STATUS = {400, 404, 405, 408, 413, 415, 422, 431}


class Client:
    """Sends requests, over one connection as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket: socket.socket | None = None

    def ask(self, data: bytes, *, ends: bool) -> tuple[int, bytes] | None:
        """Return the status and the body of the answer; None if the connection ended first."""
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        found = b""
        try:
            self.socket.sendall(data)
            if ends:  # the server may wait for more
                self.socket.shutdown(socket.SHUT_WR)
            while b"\r\n\r\n" not in found:
                found += self._some()
            head, _, body = found.partition(b"\r\n\r\n")
            status = int(head.split()[1])
            lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            while len(body) < int(lines[b"content-length"]):
                body += self._some()
        except OSError:
            self.close()
            return None
        if ends or lines.get(b"connection") == b"close":
            self.close()
        return status, body[: int(lines[b"content-length"])]

    def _some(self) -> bytes:
        found = self.socket.recv(1 << 16)
        if not found:
            raise ConnectionResetError
        return found

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    log = command.write(folder / "log.tsv", command.clicks(2000))
    command.train(log, folder / "model")
    return folder / "model"


def test_hostile_requests(model, tmp_path):
    limits = Limits(body=100_000, rows=50, reading=5, drain=0)
    scorer = Scorer(model)
    with served(model, tmp_path / "copies", limits) as server:
        client = Client(server.port)
        for seed in seeds(300):
            one = hostile.request(seed, scorer.columns)
            reply = client.ask(one.data, ends=one.body is None)
            context = (seed, one, reply)
            if reply is None:
                assert one.body is None, context
                continue
            status, body = reply
            if status != 200:
                assert status in STATUS, context
                assert json.loads(body)["error"]["message"], context
            elif one.body is not None:
                assert answered(body, one.kind) == expected(one.body, one.kind, scorer), context
        client.close()
        assert server.get("/health").status == 200
        assert server.metric('adagrad_requests_total{code="500"') == 0


def test_slow_clients_do_not_hold_up_others(model, tmp_path):
    """Clients that send a part of a request and wait are let go; the others get answers."""
    limits = Limits(body=100_000, reading=1, connections=150, drain=0)
    count = min(len(seeds(100)), 1000)
    with served(model, tmp_path / "copies", limits) as server:
        for first in range(0, count, 100):
            slow = [server.raw() for _ in range(100)]
            for seed, one in enumerate(slow, first):
                data = hostile.request(seed, {"site": "string"}).data
                with contextlib.suppress(OSError):
                    one.sendall(data[: seed % len(data)])
            assert server.post({}).status == 200
            for one in slow:
                with contextlib.suppress(OSError):
                    while one.recv(1 << 16):
                        pass
                one.close()
        assert server.post({}).status == 200


def answered(body: bytes, kind: bytes) -> list[float]:
    if kind == hostile.ARROW:
        return pa.ipc.open_stream(body).read_all()["probability"].to_pylist()
    found = json.loads(body)
    return found["probabilities"] if "probabilities" in found else [found["probability"]]


def expected(body: bytes, kind: bytes, scorer: Scorer) -> list[float]:
    """Return what a careful reader of the body would answer, row by row."""
    if kind == hostile.ARROW:
        table = pa.ipc.open_stream(body).read_all()
        return scorer.predict_proba(table)[:, 1].tolist() if len(table) else []
    rows = json.loads(body, object_pairs_hook=unique)
    return [scorer.predict_one(row) for row in (rows if isinstance(rows, list) else [rows])]


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)
