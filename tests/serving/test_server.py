"""The server answers with the probabilities of the model, or refuses; never something else."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import threading

import numpy as np
import pytest

from checks import need_packages

need_packages("click", "sklearn", "pyarrow", "safetensors")
need_packages("httptools", "msgspec", "prometheus_client")

import pyarrow as pa

import command
from adagrad.ctr import FieldAwareFactorizationMachine, HashingEncoder, LogisticRegression
from adagrad.serving import Scorer, bodies, write_export
from adagrad.serving.limits import Limits
from adagrad.serving.server import log_to_stderr
from served import served, until

ARROW = "application/vnd.apache.arrow.stream"
ROWS = [{"site": "site1", "ad": "ad3", "depth": 2, "user": "user5"}, {"site": "site2"}, {}]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models of one log."""
    folder = tmp_path_factory.mktemp("models")
    log = command.write(folder / "log.tsv", command.clicks(2000))
    command.train(log, folder / "old")
    command.train(log, folder / "new", "--lr", "0.3")
    return folder


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    with served(models / "old", tmp_path_factory.mktemp("server") / "copies") as one:
        yield one


@pytest.fixture(scope="module")
def scorer(models):
    return Scorer(models / "old")


def as_arrow(table):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_a_row_gets_the_probability_of_the_model(server, scorer):
    for row in ROWS:
        reply = server.post(row)
        assert reply.status == 200
        assert reply.json == {"probability": scorer.predict_one(row), "model": scorer.version}


def test_a_batch_gets_probabilities_in_order(server, scorer):
    for rows in (ROWS, [], ROWS * 200):  # the last is scored by a thread
        expected = scorer.predict_proba(rows)[:, 1].tolist() if rows else []
        assert server.post(rows).json == {"probabilities": expected, "model": scorer.version}


def test_an_arrow_stream_gets_an_arrow_stream(server, scorer):
    table = pa.Table.from_pylist(ROWS)
    reply = server.post(as_arrow(table), content_type=ARROW)
    assert (reply.status, reply.headers["content-type"]) == (200, ARROW)
    found = pa.ipc.open_stream(reply.body).read_all()
    assert found.schema.metadata == {b"model": scorer.version.encode()}
    assert found["probability"].to_pylist() == scorer.predict_proba(ROWS)[:, 1].tolist()


@pytest.mark.parametrize(
    ("body", "status", "row", "column", "says"),
    [
        (b"", 400, None, None, "not JSON"),
        (b"{", 400, None, None, "not JSON"),
        (b"\xff", 400, None, None, "UTF-8"),
        (b"[" * 100_000, 400, None, None, "deep"),
        (b'{"depth": NaN}', 400, None, None, "NaN"),
        (b'{"depth": 1, "depth": 2}', 400, None, "depth", "twice"),
        (b'{"depth": ' + b"1" * 5000 + b"}", 400, None, None, "not JSON"),
        (b"7", 400, None, None, "neither"),
        (b"[{}, 7]", 422, 1, None, "object"),
        (b'[{}, {"depth": "deep"}]', 422, 1, "depth", "deep"),
    ],
    ids=lambda x: str(x)[:20],
)
def test_what_cannot_be_read_is_refused_by_name(server, body, status, row, column, says):
    reply = server.post(body)
    error = reply.error
    assert (reply.status, error["status"]) == (status, status)
    assert (error["row"], error["column"]) == (row, column)
    assert says in error["message"]
    assert len(reply.body) < 1000


@pytest.mark.parametrize("body", [{"Site": "site1"}, {"instances": [{"site": "site1"}]}])
def test_a_row_without_any_column_is_refused(server, scorer, body):
    """It is a misspelled one, or an envelope of another server."""
    reply = server.post([{}, body])
    assert (reply.status, reply.error["row"]) == (422, 1)
    assert (
        f"no name of the row, such as {next(iter(body))!r}, is a column" in reply.error["message"]
    )
    assert server.post(body | {"ad": "ad3"}).json["probability"] == scorer.predict_one(
        {"ad": "ad3"}
    )


def test_a_model_of_ids_is_served(tmp_path):
    """One of a libsvm log, or of a matrix."""
    model = LogisticRegression().fit([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]] * 50, [1, 0] * 50)
    model.save(tmp_path / "model")
    rows = [{"ids": [0, 2], "values": [1.0, 2.0]}, {"ids": [1]}, {"ids": []}]
    expected = [Scorer(tmp_path / "model").predict_one(row) for row in rows]
    with served(tmp_path / "model", tmp_path / "copies") as server:
        assert server.post(rows).json["probabilities"] == expected
        assert server.post({"0": 1}).status == 422
        reply = server.post(as_arrow(pa.Table.from_pylist(rows)), content_type=ARROW)
        found = pa.ipc.open_stream(reply.body).read_all()
        assert found["probability"].to_pylist() == expected
        assert server.get("/docs").status == server.get("/openapi.json").status == 200
        assert server.metric("adagrad_rows_total") == 6


def test_a_damaged_arrow_stream_is_refused(server):
    body = as_arrow(pa.Table.from_pylist(ROWS))
    for damaged in (b"", body[:100], body[:-40], b"{}"):
        reply = server.post(damaged, content_type=ARROW)
        assert reply.status == 400, damaged


def test_other_media_types_are_refused(server):
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
    ):
        assert server.post(b"{}", content_type=kind).status == 415
    assert server.post(b"{}", content_encoding="gzip").status == 415
    assert server.post(b"{}", content_type="application/json; charset=utf-8").status == 200


def test_other_paths_and_methods_are_refused(server):
    assert server.get("/").status == 404
    reply = server.get("/predict")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert server.request("POST", "/health").status == 405


def test_the_pages_describe_the_model(server, scorer):
    assert server.get("/health").json["model"]["version"] == scorer.version
    described = server.get("/openapi.json").json
    assert list(described["components"]["schemas"]["Row"]["properties"]) == list(scorer.columns)
    page = server.get("/docs").body.decode()
    assert all(name in page for name in scorer.columns)
    assert "://" not in page.replace("http://HOST", "")  # it loads nothing


def test_metrics_count_requests_rows_and_unseen_values(server):
    answered = server.metric("adagrad_rows_total")
    refused = server.metric('adagrad_requests_total{code="422"')
    server.post(ROWS)
    server.post(b"[7]")
    assert server.metric("adagrad_rows_total") == answered + len(ROWS)
    assert server.metric('adagrad_requests_total{code="422"') == refused + 1
    unseen = 'adagrad_column_unseen_total{column="site"}'
    before = server.metric(unseen)
    until(lambda: server.post({"site": "nowhere"}) and server.metric(unseen) > before)


class Seen(threading.Thread):
    """A client that asks all the time, and keeps what it was answered."""

    def __init__(self, server):
        super().__init__()
        self.server, self.replies, self.ends = server, set(), False

    def run(self):
        while not self.ends:
            reply = self.server.post({})
            found = reply.json
            self.replies.add((reply.status, found.get("probability"), found.get("model")))

    def stop(self):
        self.ends = True
        self.join()


def test_a_new_file_replaces_the_model_and_a_bad_one_does_not(models, tmp_path):
    path = tmp_path / "model"
    shutil.copy(models / "old", path)
    with served(path, tmp_path / "copies") as server:
        server.source.start()
        seen = Seen(server)
        seen.start()
        old = server.get("/health").json["model"]["version"]
        shutil.copy(models / "new", tmp_path / "next")
        (tmp_path / "next").rename(path)
        until(lambda: server.get("/health").json["model"]["version"] != old)
        new = server.post({}).json
        assert new["probability"] == Scorer(models / "new").predict_one({})
        path.write_bytes((models / "old").read_bytes()[:-1000])  # in place, and not whole
        until(lambda: server.get("/health").json["refused"])
        assert server.metric("adagrad_model_refused") == 1
        assert server.post({}).json == new
        path.write_bytes((models / "old").read_bytes())
        until(lambda: server.get("/health").json["model"]["version"] == old)
        assert server.get("/health").json["refused"] is None
        assert server.metric("adagrad_model_refused") == 0
        seen.stop()
    p_old, p_new = (Scorer(models / name).predict_one({}) for name in ("old", "new"))
    assert seen.replies == {(200, p_old, old), (200, p_new, new["model"])}


def test_limits(models, tmp_path):
    limits = Limits(body=1000, rows=3, connections=2, head=2000, reading=0.2, drain=0)
    with served(models / "old", tmp_path / "copies", limits) as server:
        assert server.post([{}] * 3).status == 200
        assert server.post([{}] * 4).status == 413
        assert server.post(b"[" + b" " * 1000 + b"]").status == 413
        assert server.request("GET", "/health", x=2100 * "x").status == 431
        for begun in (
            b"POST /predict HTTP/1.1\r\n",
            b"",
            b"POST /predict HTTP/1.1\r\ncontent-length: 9\r\n\r\n{",
        ):
            with server.raw() as slow:
                slow.sendall(begun)
                assert b"408" in slow.recv(1000)
        with server.raw(), server.raw():
            assert server.get("/health").status == 503
        until(lambda: server.get("/health").status == 200)


def test_a_stream_that_grows_in_memory_is_refused(server):
    table = pa.table({"site": pa.array(["site1"] * 1000), "user": pa.array(["u"] * 1000)})
    for plain, code in (
        (table, 422),
        (table.set_column(0, "site", table["site"].dictionary_encode()), 422),
    ):
        assert (
            server.post(as_arrow(plain), content_type=ARROW).status == code
        )  # columns are missing
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(sink, plain.schema, options=options) as writer:
            writer.write_table(plain)
        reply = server.post(sink.getvalue().to_pybytes(), content_type=ARROW)
        assert (reply.status, "compressed" in reply.error["message"]) == (415, True)
    views = pa.table({"site": pa.array(["a"]).cast(pa.string_view())})
    assert server.post(as_arrow(views), content_type=ARROW).error["column"] == "site"


def test_a_stream_of_values_without_bytes_is_refused(server):
    many = pa.nulls(10**9)
    for column in (
        pa.FixedSizeListArray.from_arrays(many, 10**8),
        pa.ListArray.from_arrays(pa.array(np.arange(11) * 10**8, pa.int32()), many),
        pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.null(), [10**8]),
            pa.FixedSizeListArray.from_arrays(many, 10**8),
        ),
    ):
        reply = server.post(as_arrow(pa.table({"site": column})), content_type=ARROW)
        assert (reply.status, reply.error["column"]) == (413, "site")
    some = pa.table({"site": [[None, "site1"], ["site2"]], "ad": [[], None]})
    assert server.post(as_arrow(some), content_type=ARROW).status in (200, 422)


def test_long_lists_that_a_model_combines_are_refused(tmp_path):
    encoder = HashingEncoder(bits=12, crosses=[("a", "b")])
    rows = [{"a": ["x", "y"], "b": ["u"]}, {"a": ["x"], "b": ["v"]}]
    write_export(LogisticRegression(encoder=encoder).fit(rows, [0, 1]), tmp_path / "model")
    with served(tmp_path / "model", tmp_path / "copies") as server:
        long = {"a": ["x"] * 2000, "b": ["u"] * 2000}
        for reply in (
            server.post(long),
            server.post(as_arrow(pa.Table.from_pylist([long])), content_type=ARROW),
        ):
            assert (reply.status, reply.error["column"]) == (413, "a")
        some = {"a": ["x"] * 500, "b": ["u"] * 500}
        assert server.post([some] * 4).status == 200
        assert server.post([some] * 5).error["row"] == 4  # the work of a request is limited
        assert server.post({**some, "other": ["z"] * 9000}).status == 200
        short = {"a": ["x"] * 200, "b": ["u"] * 200}
        expected = Scorer(tmp_path / "model").predict_one(short)
        assert server.post(short).json["probability"] == expected
        reply = server.post(as_arrow(pa.Table.from_pylist([short])), content_type=ARROW)
        assert pa.ipc.open_stream(reply.body).read_all()["probability"].to_pylist() == [expected]


def test_long_lists_that_a_model_pairs_are_refused(tmp_path):
    rows = [{"a": ["x", "y"], "b": "u"}, {"a": ["x"], "b": "v"}]
    model = FieldAwareFactorizationMachine(2, encoder=HashingEncoder(bits=12))
    write_export(model.fit(rows, [0, 1]), tmp_path / "model")
    with served(tmp_path / "model", tmp_path / "copies") as server:
        long = {"a": ["x"] * 5000, "b": "u"}
        arrow = as_arrow(pa.Table.from_pylist([long]))
        for reply in (
            server.post(long),
            server.post({"a": "x", "b": ["u"] * 1_000_000}),  # hours of work
            server.post([{"a": ["x"] * 2000}] * 5),
            server.post(arrow, content_type=ARROW),
        ):
            assert reply.status == 413
            assert "too many combinations" in reply.error["message"]
        assert server.post({"a": ["x"] * 2000, "c": ["x"] * 5000}).status == 200
        assert server.post([{"a": "x", "b": "u"}] * 9000).status == 200


def http(body, extra=b""):
    head = b"POST /predict HTTP/1.1\r\ncontent-type: application/json\r\n" + extra
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def read_all(connection):
    return b"".join(iter(lambda: connection.recv(1 << 20), b""))


def test_requests_of_one_connection_are_answered_in_order(server, scorer):
    rows = json.dumps([{"site": "site2"}] * 6000).encode()  # a thread answers them
    last = b"HEAD /health HTTP/1.1\r\nconnection: close\r\n\r\n"
    with server.raw() as connection:
        connection.sendall(http(b"{}") + http(rows) + http(b'{"site": "site1"}') + b"\r\n" + last)
        _, *answers = read_all(connection).split(b"HTTP/1.1 200 OK\r\n")
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers]
    assert json.loads(bodies[0])["probability"] == scorer.predict_one({})
    assert json.loads(bodies[1])["probabilities"] == [scorer.predict_one({"site": "site2"})] * 6000
    assert json.loads(bodies[2])["probability"] == scorer.predict_one({"site": "site1"})
    assert bodies[3:] == [b""]  # HEAD


def test_a_client_that_asks_whether_to_send_a_body_is_answered(server):
    expects = b"expect: 100-continue\r\n"
    with server.raw() as connection:
        whole = http(b"{}", expects)
        connection.sendall(whole[:-2])
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(whole[-2:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    with server.raw() as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\n" + expects + b"content-length: 9999999\r\n\r\n"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_an_answer_that_takes_too_long_is_given_up(models, tmp_path, monkeypatch):
    given_up, answer = threading.Event(), bodies.answer

    def slow(body, *arguments):
        if len(body) > 10:
            given_up.wait(10)
        return answer(body, *arguments)

    monkeypatch.setattr(bodies, "answer", slow)
    with served(models / "old", tmp_path / "copies", Limits(seconds=0.01, drain=0)) as server:
        reply = server.post([{}] * 9000 + [{"site": 50_000 * "x"}])
        given_up.set()
        assert (reply.status, server.post({}).status) == (504, 200)


ROW = b'{"site": "site1"}'
CHUNKS = b"%x\r\n%b\r\n0\r\n" % (len(ROW), ROW)
CHUNKED = b"transfer-encoding: chunked\r\n"
LENGTH = b"content-length: %d\r\n" % len(ROW)


@pytest.mark.parametrize(
    ("headers", "body", "statuses"),
    [
        (LENGTH, ROW, [200]),
        (CHUNKED, CHUNKS + b"\r\n", [200]),
        # A trailer changes nothing: a proxy may have let it pass unseen.
        (CHUNKED, CHUNKS + b"content-encoding: gzip\r\n\r\n", [200]),
        (CHUNKED, CHUNKS + b"content-type: text/plain\r\n\r\n", [200]),
        # A body that claims to be compressed is not read, however it is said.
        (b"content-encoding: GZIP\r\n" + LENGTH, ROW, [415]),
        (b"content-encoding: gzip\r\ncontent-encoding: identity\r\n" + LENGTH, ROW, [415]),
        (b"transfer-encoding: gzip, chunked\r\n", CHUNKS + b"\r\n", [415]),
        (b"transfer-encoding: gzip\r\n" + CHUNKED, CHUNKS + b"\r\n", [415]),
        # What two parsers could read as two different requests is no request.
        (LENGTH + CHUNKED, b"0\r\n\r\n" + ROW, [400]),
        (CHUNKED + LENGTH, CHUNKS + b"\r\n", [400]),
        (LENGTH + LENGTH, ROW, [400]),
        (b"content-length : %d\r\n" % len(ROW), ROW, [400]),
        (b"content-length: +%d\r\n" % len(ROW), ROW, [400]),
        (b"x: a\rcontent-length: 0\r\n" + LENGTH, ROW, [400]),
        (b"transfer-encoding: xchunked\r\n", CHUNKS + b"\r\n", [400]),
        (CHUNKED, b"f" * 17 + b"\r\n" + ROW, [400]),
        # A client that closes before its body is whole gets no answer.
        (b"content-length: 99\r\n", ROW, []),
        (CHUNKED, b"7fffffffffffffff\r\n" + ROW, []),
    ],
)
def test_a_body_has_one_meaning_or_none(server, headers, body, statuses):
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    with server.raw() as connection:
        connection.sendall(head + headers + b"\r\n" + body)
        connection.shutdown(socket.SHUT_WR)
        answers = read_all(connection).split(b"HTTP/1.1 ")[1:]
    assert [int(answer[:3]) for answer in answers] == statuses


def test_names_in_models_write_no_lines_of_the_log(capfd):
    handlers = logging.getLogger().handlers[:]
    try:
        log_to_stderr()
        logging.getLogger("adagrad.serve").error("refused: %s", "a\n2026 INFO all is well\x1b[2J")
    finally:
        logging.getLogger().handlers[:] = handlers
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith(r"ERROR refused: a\n2026 INFO all is well\x1b[2J")
