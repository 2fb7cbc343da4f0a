"""Damaged logs in text: rows, faults or one `LogError`, and never anything else."""

from __future__ import annotations

import bz2
import gzip
import lzma

import numpy as np
import pytest

from checks import need_packages

need_packages("pyarrow")

import pyarrow as pa

from adagrad.ctr.logs import LogError, blocks, open_log
from fuzz import damaged, seeds
from log_files import compressed

SCHEMA = pa.schema(
    {
        "click": pa.float32(),
        "s": pa.string(),
        "n": pa.int64(),
        "x": pa.float64(),
        "b": pa.bool_(),
        "t": pa.timestamp("us"),
    }
)
HEADER = "click,s,n,x,b,t,unread\n"

PIECES = [
    *(
        b",",
        b"\t",
        b'"',
        b'""',
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\r\n",
        b"\0",
        b"\xff",
        b"\xc3",
        b"\xc3\xa4",
    ),
    *(b"\xef\xbb\xbf", b" ", b"1", b"0", b"-1", b"1.5", b"true", b"2026-01-31 12:00", b"text"),
    *(b"1,a,2,0.5,true,2026-01-31 12:00:00,z\n",) * 4,
    *(b'0,"a,""b""",,nan,0,,\n', b"1,a,2,0.5,true,2026-01-31,\xff\n", b'1,"a,2,0.5,true,,\n'),
    *(b"1,a,0x1F,1e5,1,2026-13-45,\n", b"\n", b"1" * 300, b"x" * 3000),
]


def lines_of(seed: int, delimiter: str) -> bytes:
    """Return random lines, most of them broken."""
    rng = np.random.default_rng(seed)
    picked = rng.integers(0, len(PIECES), int(rng.integers(1, 60)))
    data = b"".join(PIECES[k] for k in picked)
    return data.replace(b",", b"\t") if delimiter == "\t" else data


def outcome(path, **how):
    """Return the rows of a log without its broken ones, and the first fault."""
    with open_log(path, label="click", rows=64, skip_bad=True, **how) as log:
        table = pa.Table.from_batches(list(log), log.schema)
        skipped = log.skipped
    rows, fault = [], None
    with open_log(path, label="click", rows=64, **how) as log:
        try:
            for batch in log:
                rows += batch.to_pylist()
        except LogError as error:
            fault = (error.line, error.reason)
    assert fault is None or "\n" not in fault[1]
    assert (fault is None) == (not skipped)
    assert table.to_pylist()[: len(rows)] == rows
    return table, skipped, fault


@pytest.mark.parametrize("seed", seeds(60))
def test_each_line_is_judged_by_itself(tmp_path, monkeypatch, seed):
    delimiter = ",\t"[seed % 2]
    name = f"a.{'ct'[seed % 2]}sv"
    data = lines_of(seed, delimiter)
    header = HEADER.replace(",", delimiter).encode()
    (tmp_path / name).write_bytes(header + data)
    results = []
    for size in (1 << 20, 1 << 7, 1 << 4):
        monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
        results.append(outcome(tmp_path / name, schema=SCHEMA))
    assert results[0][0].equals(results[1][0]) or "nan" in str(results[0][0].to_pylist())
    assert [r[1:] for r in results[1:]] == [results[0][1:]] * 2
    assert all(r[0].to_pylist() == results[0][0].to_pylist() for r in results)

    rows, skipped, first = [], {}, None
    lines = (data if data.endswith(b"\n") else data + b"\n").split(b"\n")[:-1]
    while lines and not lines[-1].strip(b"\r"):
        lines.pop()
    for number, line in enumerate(lines, start=2):
        (tmp_path / name).write_bytes(header + line + (b"\n" if line.strip(b"\r") else b"\n\t"))
        table, faults, fault = outcome(tmp_path / name, schema=SCHEMA)
        if not line.strip(b"\r"):
            faults, fault, table = {"empty line": 1}, (2, "the line is empty"), table.slice(0, 0)
        rows += table.to_pylist()
        for kind, count in faults.items():
            skipped[kind] = skipped.get(kind, 0) + count
        if fault is not None:
            first = first or (number, fault[1])
    assert results[0][0].to_pylist() == rows
    assert results[0][1:] == (skipped, first)


WRITERS = {
    "csv": bytes,
    "csv.gz": gzip.compress,
    "csv.bz2": bz2.compress,
    "csv.xz": lzma.compress,
    "csv.zst": lambda data: compressed(data, ".zst"),
    "tsv": lambda data: data.replace(b",", b"\t"),
    "libsvm": lambda data: b"".join(b"%d 1:0.5 %d:2 # c\n" % (k % 2, k + 2) for k in range(300)),
    "svm.gz": lambda data: gzip.compress(b"1 qid:3 7:0.5\n0 8:1\n" * 200),
    "txt": bytes,
    "jsonl": lambda data: b"".join(
        b'{"click":%d,"s":"x%d","n":%d,"l":[%d,2],"u":{"v":%d}}\n' % (k % 2, k, k, k, k)
        for k in range(200)
    ),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("seed", seeds(25))
def test_damaged_files(tmp_path, monkeypatch, name, seed):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 9)
    rng = np.random.default_rng(seed)
    lines = [f"{k % 2},s{k},{k},{x:.3},{k},\n" for k, x in enumerate(rng.random(200))]
    whole = WRITERS[name](("click,s,n,x,m,t\n" + "".join(lines)).encode())
    path = tmp_path / f"a.{name}"
    path.write_bytes(damaged(whole, seed))
    for skip_bad in (False, True):
        try:
            with open_log(path, label="click", rows=64, skip_bad=skip_bad) as log:
                for batch in log:
                    batch.validate(full=True)
        except ValueError as error:  # for .txt, that the content tells no format
            text = str(error)
        else:
            text = ""
        assert "\n" not in text
