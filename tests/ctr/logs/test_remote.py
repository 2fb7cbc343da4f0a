"""Logs of other machines: S3 through pyarrow, and the web, from servers on this machine."""

from __future__ import annotations

import gzip
import io
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from checks import need_packages

need_packages("pyarrow")

import pyarrow as pa
from pyarrow import parquet

from adagrad.ctr.logs import LogError, open_log
from log_files import compressed, read
from object_store import ObjectStore

CSV = b"click,n\n1,2\n0,3\n"
ROWS = [{"click": 1.0, "n": 2}, {"click": 0.0, "n": 3}]


@contextmanager
def moto() -> Iterator[Any]:
    """Start moto's S3, which is large, so that it is not a package of the tests."""
    server_of_moto = pytest.importorskip("moto.server")
    from pyarrow import fs

    server = server_of_moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        address = f"127.0.0.1:{server.get_host_and_port()[1]}"
        how = {"endpoint_override": address, "scheme": "http", "region": "us-east-1"}
        system = fs.S3FileSystem(allow_bucket_creation=True, **how)
        system.create_dir("bucket")

        class Store:
            options = "?" + "&".join(f"{name}={value}" for name, value in how.items())

            def put(self, key: str, data: bytes) -> None:
                with system.open_output_stream(key, compression=None) as file:
                    file.write(data)

        yield Store()
    finally:
        server.stop()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(params=[ObjectStore, moto])
def s3(request):
    with request.param() as store:
        yield store


@pytest.fixture
def store():
    with ObjectStore() as store:
        yield store


def parquet_bytes(table: pa.Table) -> bytes:
    out = io.BytesIO()
    parquet.write_table(table, out)
    return out.getvalue()


def test_a_bucket(s3):
    s3.put("bucket/log/country=de/a.csv", CSV)
    s3.put("bucket/log/country=us/b.csv.gz", gzip.compress(CSV))
    s3.put("bucket/log/_SUCCESS", b"")
    both = {"click": 1.0, "n": 2, "country": "de"}, {"click": 0.0, "n": 3, "country": "us"}
    for uri in ("s3://bucket/log", "s3://bucket/log/", "s3://bucket/log/*/*.csv*"):
        table, log = read(uri + s3.options)
        assert (table.to_pylist()[0], table.to_pylist()[-1]) == both
        assert log.paths[0] == "s3://bucket/log/country=de/a.csv"
        assert log.position.bytes_read == log.total_bytes
        assert table.num_rows == 4
    s3.put("bucket/a.parquet", parquet_bytes(pa.table({"click": [1, 0], "n": [2, 3]})))
    s3.put("bucket/a.jsonl.xz", compressed(b'{"click":1,"n":2}\n{"n":3,"click":0}\n', ".xz"))
    for name in ("a.parquet", "a.jsonl.xz"):
        assert read(f"s3://bucket/{name}{s3.options}")[0].to_pylist() == ROWS
    for uri in ("s3://bucket/none.csv", "s3://none/a.csv", "s3://bucket/log/*.tsv"):
        with pytest.raises(FileNotFoundError, match=f"^{uri.replace('*', '.')}: no such file$"):
            open_log(uri + s3.options, label="click")


def test_several_passes_over_a_large_file(store):
    rows = b"".join(b"%d,%d\n" % (k % 2, k) for k in range(200_000))
    store.put("bucket/a.csv.gz", gzip.compress(b"click,n\n" + rows, 1))
    for uri in (f"s3://bucket/a.csv.gz{store.options}", f"http://{store.address}/bucket/a.csv.gz"):
        with open_log(uri, label="click") as log:
            for _ in range(2):
                assert pa.Table.from_batches(log).column("n").to_pylist() == [*range(200_000)]


def test_no_permission(store):
    store.put("secret/a.csv", CSV)
    with pytest.raises(OSError, match=r"^s3://secret/a.csv: access is denied: check the cred"):
        open_log(f"s3://secret/a.csv{store.options}", label="click")
    with pytest.raises(OSError, match=r"^http://.*/secret/a.csv: access is denied$"):
        open_log(f"http://{store.address}/secret/a.csv", label="click")


def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(OSError, match=r"^http://.*/a.csv: cannot connect: .*refused$"):
        open_log(f"http://{address}/a.csv?token=x", label="click")


@pytest.mark.skipif(
    not os.environ.get("ADAGRAD_SLOW_SERVERS"), reason="ADAGRAD_SLOW_SERVERS is not set"
)
def test_no_server_of_objects_listens():
    """Their clients try for some seconds."""
    began = time.monotonic()
    for scheme in ("s3", "gs"):
        uri = f"{scheme}://bucket/a.csv?endpoint_override=127.0.0.1:1&scheme=http"
        with pytest.raises(OSError, match=f"^{scheme}://bucket/a.csv: "):
            open_log(uri, label="click")
    assert time.monotonic() - began < 60


def test_the_web(store, tmp_path):
    store.put("log/a b.csv.gz", gzip.compress(CSV))
    store.put("log/a", CSV)
    store.put("log/a.parquet", parquet_bytes(pa.table({"click": [1, 0], "n": [2, 3]})))
    for name in ("a%20b.csv.gz?token=1&x=2", "a", "a.parquet"):
        table, log = read(f"http://{store.address}/log/{name}")
        assert table.to_pylist() == ROWS
        assert log.position.bytes_read == log.total_bytes
    assert "token" not in log.paths[0]
    with pytest.raises(FileNotFoundError, match=r"/log/none.csv: no such file"):
        read(f"http://{store.address}/log/none.csv")
    with pytest.raises(ValueError, match="http:// has no folders to search: name each file"):
        read(f"http://{store.address}/log/*.csv")


def test_a_lost_connection(store):
    store.put("log/a.csv", b"click,n\n" + b"1,2\n" * 1000)
    store.lost_after = 2000
    with pytest.raises(LogError, match=r"line 500: .* the download ends after 2,000 of 4,008 byt"):
        read(f"http://{store.address}/log/a.csv")


def test_a_server_without_ranges(store):
    store.put("log/a.csv", CSV)
    store.put("log/a.parquet", parquet_bytes(pa.table({"click": [1], "n": [2]})))
    store.takes_ranges = False
    assert read(f"http://{store.address}/log/a.csv")[0].to_pylist() == ROWS
    with pytest.raises(LogError, match="the server sends whole files only: download the file"):
        read(f"http://{store.address}/log/a.parquet")
