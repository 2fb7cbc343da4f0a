"""The standard input, the thread that reads ahead, and the memory of reading."""

import io
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from checks import need_packages

need_packages("pyarrow")

import pyarrow as pa
from pyarrow import parquet

from adagrad.ctr.logs import blocks, open_log, pipes
from log_files import ROWS, made_up, write_csv


def test_standard_input(monkeypatch):
    stdin = SimpleNamespace(buffer=io.BytesIO(b"click\tx\n1\t2\n0\t3\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    with open_log("-", label="click") as log:
        assert log.total_bytes is None
        assert [batch.to_pydict() for batch in log] == [{"click": [1.0, 0.0], "x": [2, 3]}]
        assert log.position.bytes_read == 16
        with pytest.raises(ValueError, match="can be read only once"):
            list(log)
    with pytest.raises(ValueError, match="can be read only once"):
        open_log(["-", "-"], label="click")


@pytest.mark.parametrize("format", ["arrow", "libsvm"])
def test_standard_input_of_other_formats(monkeypatch, format):
    if format == "arrow":
        sink = pa.BufferOutputStream()
        table = made_up(300)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        data, names = sink.getvalue().to_pybytes(), ["click", "site", "count", "price"]
    else:
        data, names = b"1 2:3\n" * 300, ["click", "ids", "values"]
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as writer:
        writer.write(data)
    with os.fdopen(reading, "rb") as stream:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        with open_log("-", label="click", format=format) as log:
            assert sum(batch.num_rows for batch in log) == 300
            assert log.schema.names == names


def test_an_arrow_stream_that_arrives_in_pieces(monkeypatch):
    sink = pa.BufferOutputStream()
    table = made_up(300)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    reading, writing = os.pipe()

    def write():
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            for start in range(0, len(data), 100):
                pipe.write(data[start : start + 100])
                time.sleep(0.001)

    thread = threading.Thread(target=write)
    with os.fdopen(reading, "rb") as stream:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        thread.start()
        with open_log("-", label="click", format="arrow") as log:
            assert sum(batch.num_rows for batch in log) == 300
        thread.join()


@pytest.mark.parametrize("can_select", [True, False], ids=["select", "thread"])
def test_a_silent_pipe_does_not_block_the_thread(monkeypatch, can_select):
    if can_select and not pipes.CAN_SELECT_FILES:
        pytest.skip("select() takes no pipes here")
    monkeypatch.setattr(pipes, "CAN_SELECT_FILES", can_select)
    reading, writing = os.pipe()
    os.write(writing, b"click,x\n" + b"1,2\n" * 3)

    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb") as writer:
        monkeypatch.setattr(blocks, "BLOCK_BYTES", 16)  # else opening waits for more
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        log = open_log("-", label="click", rows=ROWS)
        batches = log.batches()
        taker = threading.Thread(target=lambda: next(batches, None))
        taker.start()
        time.sleep(0.05)
        assert taker.is_alive()
        log.close()
        taker.join(10)
        assert not taker.is_alive()
        writer.flush()


def test_leaving_early_ends_the_thread(tmp_path, small_blocks):
    write_csv(made_up(5000), tmp_path / "a.csv")
    running = lambda: [t for t in threading.enumerate() if t.name == "adagrad-log"]  # noqa: E731
    log = open_log(tmp_path / "a.csv", label="click", rows=ROWS)
    batches = log.batches()
    next(batches)
    assert running()
    batches.close()
    assert not running()
    for _ in log:
        break
    assert not running()
    again = log.batches()
    next(again)
    assert sum(batch.num_rows for batch in log) == 5000  # a new pass ends the one before
    log.close()
    assert not running()


def test_memory_does_not_grow_with_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 16)
    lines = 500_000
    (tmp_path / "a.csv").write_bytes(b"click,s,n\n" + b"1,some text,12345\n" * lines)
    before = pa.total_allocated_bytes()
    peak = rows = size = 0
    with open_log(tmp_path / "a.csv", label="click", rows=4096) as log:
        for batch in log:
            rows += batch.num_rows
            size += batch.nbytes
            del batch
            peak = max(peak, pa.total_allocated_bytes() - before)
    assert rows == lines
    assert peak < size / 10  # about six batches of 123


def test_memory_does_not_grow_with_a_parquet_file(tmp_path):
    pytest.importorskip("resource")  # not on Windows
    code = (
        "import resource, sys; from adagrad.ctr.logs import open_log\n"
        "for path in sys.argv[1:]:\n"
        "    sum(b.num_rows for b in open_log(path, label='click'))\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    random = np.random.default_rng(0)
    columns = {"click": np.zeros(65_536, np.int64)}
    columns |= {f"x{k}": random.random(65_536) for k in range(10)}
    table = pa.table(columns)
    paths = []
    for groups in (3, 24):
        paths.append(tmp_path / f"{groups}.parquet")
        with parquet.ParquetWriter(paths[-1], table.schema, use_dictionary=False) as writer:
            for _ in range(groups):
                writer.write_table(table)
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, check=True)
    small, large = map(int, done.stdout.split())
    assert large - small < 40 * 1024  # KiB; the second file is 105 MiB longer


def test_importing_adagrad_needs_no_pyarrow():
    code = "import adagrad, adagrad.datasets, sys; assert 'pyarrow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
