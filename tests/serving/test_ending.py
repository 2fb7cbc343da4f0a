"""A server that stops answers every request that was sent to it."""

from __future__ import annotations

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import numpy as np
import pytest

from checks import need_packages

need_packages("click", "sklearn", "pyarrow", "safetensors")
need_packages("httptools", "msgspec", "prometheus_client")


import command
from adagrad.serving import metrics, server
from adagrad.serving.limits import Limits
from adagrad.serving.source import Source
from served import served, until

GET = b"GET /health HTTP/1.1\r\n\r\n"
CLOSES = b"connection: close\r\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    command.train(command.write(folder / "log.tsv", command.clicks(200)), folder / "model")
    return folder / "model"


def post(rows):
    body = json.dumps(rows).encode()
    head = b"POST /predict HTTP/1.1\r\ncontent-type: application/json\r\n"
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def read_all(connection):
    return b"".join(iter(lambda: connection.recv(1 << 20), b""))


def asks_until_the_end(server):
    """Send requests on one connection until an answer says that it is the last; count them."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    n = 0
    while True:
        connection.request("POST", "/predict", b"{}", {"content-type": "application/json"})
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 200
        n += 1
        if reply.getheader("connection") == "close":
            return n


def test_clients_that_ask_all_the_time_get_every_answer(model, tmp_path):
    with (
        served(model, tmp_path / "copies", Limits()) as one,
        ThreadPoolExecutor(4) as pool,
        one.raw() as idle,
    ):
        jobs = [pool.submit(asks_until_the_end, one) for _ in range(4)]
        until(lambda: one.metric("adagrad_rows_total") > 100)
        one.stop()
        counts = [job.result() for job in jobs]
        assert one.get("/health").headers["connection"] == "close"  # it still accepts
        assert read_all(idle) == b""
    assert sum(counts) > 100
    with pytest.raises(ConnectionRefusedError):
        one.raw()


def test_requests_that_arrive_together_are_answered_before_the_end(model, tmp_path):
    with served(model, tmp_path / "copies", Limits()) as one, one.raw() as connection:
        connection.sendall(GET)
        assert CLOSES not in connection.recv(10_000)
        one.stop()
        until(lambda: one.get("/health").headers.get("connection") == "close")
        large = post([{"site": "site1"}] * 6000)  # a thread answers it
        connection.sendall(post({}) + large + GET + GET[:10])
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 3:
            answers += connection.recv(1 << 20)
        assert CLOSES not in answers
        connection.sendall(GET[10:])
        last = read_all(connection)
    assert (last.count(b"HTTP/1.1 200"), last.count(CLOSES)) == (1, 1)


def test_what_waits_to_be_accepted_is_answered(model, tmp_path):
    source = Source(model, tmp_path)
    n_columns = len(source.scorer.columns)
    setup = server.Setup(tmp_path, model, Limits(drain=0.01), n_columns, 1, False)
    one = server.service(setup, np.zeros(2 * metrics.width(n_columns)), 1)
    one.clock = lambda: 0.0  # no connection has been idle for long
    listener = server._listener("127.0.0.1", 0)
    clients = [socket.create_connection(listener.getsockname(), timeout=10) for _ in range(20)]
    for client in clients[1:]:
        client.sendall(GET)

    async def stops_at_once():
        stopped = asyncio.Event()
        stopped.set()
        ends = asyncio.ensure_future(server.answer(one, listener, stopped))
        while not ends.done() and (len(one.connections) != 1 or listener.fileno() >= 0):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        clients[0].sendall(GET)
        await ends

    asyncio.run(stops_at_once())
    for client in clients:
        with client:
            assert CLOSES in read_all(client)
