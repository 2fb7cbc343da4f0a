"""A live log: rows that have arrived whole are there when the writer of the pipe pauses."""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from checks import need_packages

need_packages("pyarrow", "hypothesis")

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from adagrad.ctr.logs import LogError, blocks, open_log, pipes

SOON = 20  # seconds, in which a row that waits for others would not come
SCHEMA = pa.schema([("site", pa.string()), ("count", pa.int64())])
IDS = pa.schema([("ids", pa.list_(pa.int64())), ("values", pa.list_(pa.float32()))])
MAPS = pa.schema([("a", pa.map_(pa.string(), pa.float32()))])
FIELDS = pa.schema([("1", pa.map_(pa.int64(), pa.float32()))])
WIDE = "x" * (blocks.WIDE + 1)


class Pipe:
    """The writer's end of the standard input, and the rows of the log, as they come."""

    def __init__(self, file: int, found: queue.SimpleQueue[Any]) -> None:
        self._file, self._found = file, found
        self.rows: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        os.write(self._file, data)

    def expect(self, rows: int) -> None:
        """Wait until as many rows in all are there."""
        while len(self.rows) < rows:
            batch = self._found.get(timeout=SOON)
            if batch is None:
                return
            self.rows += batch.to_pylist()

    def rest(self) -> BaseException | None:
        """Close the pipe, take what is left, and return the error that ended the log."""
        with contextlib.suppress(OSError):
            os.close(self._file)
        while (batch := self._found.get(timeout=SOON)) is not None:
            self.rows += batch.to_pylist()
        error: BaseException | None = self._found.get(timeout=SOON)
        return error


@contextlib.contextmanager
def live(paths: Any = "-", schema: pa.Schema = SCHEMA, **how: Any) -> Iterator[Pipe]:
    reading, writing = os.pipe()
    found: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def read() -> None:
        error = None
        try:
            with open_log(paths, label=None, schema=schema, live=True, **how) as log:
                for batch in log:
                    found.put(batch)
        except Exception as raised:
            error = raised
        found.put(None)
        found.put(error)

    with (
        os.fdopen(reading, "rb") as stream,
        mock.patch.object(sys, "stdin", SimpleNamespace(buffer=stream)),
    ):
        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        yield Pipe(writing, found)
        thread.join(SOON)
        assert not thread.is_alive()


def csv_line(site: str, count: int) -> str:
    return f"{site},{count}\n"


def tsv_line(site: str, count: int) -> str:
    return f"{site}\t{count}\n"


def json_line(site: str, count: int) -> str:
    return json.dumps({"count": count, "site": site or None}) + "\n"


def vw_line(site: str, count: int) -> str:
    return f"|a {count}:1 {count + 1}:0.5\n"


def libffm_line(site: str, count: int) -> str:
    return f"0 1:{count}:1 1:{count + 1}:0.5\n"


def libsvm_line(site: str, count: int) -> str:
    return f"0 {count}:1 {count + 1}:0.5\n"


FORMATS: dict[str, tuple[str, Callable[[str, int], str], dict[str, Any]]] = {
    "csv": ("site,count\n", csv_line, {}),
    "csv, slowly": ("count,site\n", lambda site, count: f'{count},"{site}"\n', {}),
    "csv without a header": ("", csv_line, {"header": ("site", "count")}),
    "tsv": ("site\tcount\n", tsv_line, {}),
    "jsonl": ("", json_line, {"format": "jsonl"}),
    "vw": ("", vw_line, {"format": "vw", "schema": MAPS}),
    "libffm": ("", libffm_line, {"format": "libffm", "schema": FIELDS}),
    "libsvm": ("", libsvm_line, {"format": "libsvm", "schema": IDS}),
}


@pytest.mark.parametrize("format", FORMATS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_whole_rows_are_there_at_each_pause(format: str, data: st.DataObject) -> None:
    header, line, how = FORMATS[format]
    sites = data.draw(st.lists(st.sampled_from(["a", "b", "", "né", WIDE]), min_size=1, max_size=9))
    counts = range(1, len(sites) + 1)
    text = header + "".join(map(line, sites, counts))
    content = text.encode()
    cuts = data.draw(st.lists(st.integers(1, len(content)), max_size=6).map(sorted))
    with live(**how) as pipe:
        begin = 0
        for end in [*cuts, len(content)]:
            pipe.write(content[begin:end])
            pipe.expect(content[:end].count(b"\n") - bool(header))
            begin = end
        assert pipe.rest() is None
    if format == "libsvm":
        assert pipe.rows == [{"ids": [k, k + 1], "values": [1.0, 0.5]} for k in counts]
    elif "schema" in how:
        keys = [str(k) if format == "vw" else k for k in range(len(sites) + 2)]
        expected = [[(keys[k], 1.0), (keys[k + 1], 0.5)] for k in counts]
        assert [next(iter(row.values())) for row in pipe.rows] == expected
    else:
        expected = [
            {"site": site or None, "count": k} for site, k in zip(sites, counts, strict=True)
        ]
        assert pipe.rows == expected


@pytest.mark.parametrize("can_select", [True, False], ids=["select", "thread"])
def test_one_row_at_a_time(monkeypatch: pytest.MonkeyPatch, can_select: bool) -> None:
    if can_select and not pipes.CAN_SELECT_FILES:
        pytest.skip("select() takes no pipes here")
    monkeypatch.setattr(pipes, "CAN_SELECT_FILES", can_select)
    with live() as pipe:
        pipe.write(b"site,count\n")
        for row in range(20):
            pipe.write(b"a,%d\n" % row)
            pipe.expect(row + 1)
        pipe.write(b"a,2")  # no line yet
        pipe.write(b"0")
        assert pipe.rest() is None
    assert [row["count"] for row in pipe.rows] == [*range(21)]


def test_rows_do_not_wait_behind_a_full_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that is full does not end at a pause; what follows it may be half a line."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 64)
    full = b"site,count\n" + b"abc,1\n" * 8 + b"ab,1\n"
    assert len(full) == blocks.BLOCK_BYTES
    for wide in (blocks.WIDE, 4):  # wide lines are joined before they are parsed
        monkeypatch.setattr(blocks, "WIDE", wide)
        with live() as pipe:
            pipe.write(full + b"abc")
            pipe.expect(9)
            pipe.write(b",2\n" + b"def,3\n" * 20)
            pipe.expect(30)
            assert pipe.rest() is None
    with live() as pipe:
        pipe.write(b"site,count\n" + b"abc,1\n" * 20 + b"abc")
        pipe.expect(20)
        pipe.write(b",2\n\n\n")  # empty lines at the end are no rows
        pipe.expect(21)
        pipe.write(b"\n")
        assert pipe.rest() is None
    assert len(pipe.rows) == 21


@pytest.mark.parametrize("broken", [b"b\n", b"b,x\n", b'"b,1\n', b"\xff,1\n", b"\n"])
def test_a_broken_row(broken: bytes) -> None:
    lines = b"site,count\na,1\n" + broken + b"c,3\n"
    with live() as pipe:
        pipe.write(lines)
        pipe.expect(1)
        error = pipe.rest()
        assert isinstance(error, LogError)
        assert (error.path, error.line) == ("-", 3)
        assert pipe.rows == [{"site": "a", "count": 1}]
    with live(skip_bad=True) as pipe:
        pipe.write(lines)
        pipe.expect(2)
        pipe.write(b"d,4\n")
        pipe.expect(3)
        assert pipe.rest() is None
        assert [row["count"] for row in pipe.rows] == [1, 3, 4]


def test_each_batch_of_an_arrow_stream() -> None:
    with live(format="arrow") as pipe:
        sink = io.BytesIO()
        sent = 0
        with pa.ipc.new_stream(sink, SCHEMA) as writer:
            for rows in (1, 3, 2):
                table = pa.table({"site": ["a"] * rows, "count": [*range(rows)]}, schema=SCHEMA)
                writer.write_batch(table.to_batches()[0])
                pipe.write(sink.getvalue()[sent:])
                sent = len(sink.getvalue())
                pipe.expect(len(pipe.rows) + rows)
        assert pipe.rest() is None
    assert [row["count"] for row in pipe.rows] == [0, 0, 1, 2, 0, 1]


def test_a_compressed_pipe_that_is_flushed() -> None:
    packer = zlib.compressobj(wbits=31)
    with live() as pipe:
        for row in range(3):
            text = b"site,count\n" * (row == 0) + b"a,%d\n" % row
            pipe.write(packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))
            pipe.expect(row + 1)
        pipe.write(packer.flush())
        assert pipe.rest() is None
    assert [row["count"] for row in pipe.rows] == [0, 1, 2]


def test_a_file_before_the_pipe(tmp_path: Any) -> None:
    (tmp_path / "a.csv").write_text("site,count\na,1\n", encoding="utf-8")
    with live([tmp_path / "a.csv", "-"]) as pipe:
        pipe.expect(1)
        pipe.write(b"site,count\nb,2\n")
        pipe.expect(2)
        assert pipe.rest() is None
    assert [row["count"] for row in pipe.rows] == [1, 2]


def test_what_has_arrived_is_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"site,count\n" + b"a,1\n" * 1000
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    with open_log("-", label=None, schema=SCHEMA, rows=640, live=True) as log:
        assert [batch.num_rows for batch in log] == [640, 360]


def test_live_needs_types() -> None:
    with pytest.raises(ValueError, match="live needs schema"):
        open_log("-", label=None, live=True)
