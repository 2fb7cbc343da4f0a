"""The first rows of a log, looked at before the pass that reads them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from checks import need_packages

need_packages("pyarrow")

import pyarrow as pa

from adagrad.ctr.logs.log import LogError
from adagrad.ctr.logs.opening import open_log

TEXT = "click,n\n" + "".join(f"{i % 2},{i}\n" for i in range(1_000))


def numbers(batches) -> list[list[int]]:
    return [batch.column("n").to_pylist() for batch in batches]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "log.csv").write_text(TEXT)
    return tmp_path / "log.csv"


@pytest.mark.parametrize("rows", [1, 64, 65, 640, 1_000, 5_000])
def test_a_pass_goes_on_after_the_first_rows(path, rows):
    with open_log(path, label="click", rows=64) as log:
        expected, positions = [], []
        for batch in log.batches():
            expected.append(batch.column("n").to_pylist())
            positions.append(log.position)
        for _ in range(2):
            head = log.head(rows)
            assert isinstance(head, pa.Table)
            assert head.column("n").to_pylist() == list(range(min(rows, 1_000)))
            assert log.head(1).column("n").to_pylist() == [0]
            found = []
            for batch, position in zip(log.batches(), positions, strict=True):
                found.append(batch.column("n").to_pylist())
                assert log.position.rows == position.rows
            assert found == expected
        log.head(rows)
        assert numbers(log.batches(128)) == expected[2:]  # a pass from another row begins anew
        assert numbers(log.batches()) == expected


@pytest.mark.parametrize("start", [0, 10, 64, 700, 999])
def test_the_standard_input_is_read_once(monkeypatch, start):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    with open_log("-", label="click", format="csv", rows=64) as log:
        assert len(log.head(300)) == 300
        assert [n for part in numbers(log.batches(start)) for n in part] == list(
            range(start, 1_000)
        )
        with pytest.raises(ValueError, match="the standard input can be read only once"):
            log.head(1)


def test_a_row_beyond_the_end_of_the_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    with open_log("-", label="click", format="csv") as log:
        log.head(1)
        with pytest.raises(ValueError, match="start is 1001, but the log has 1000 rows"):
            list(log.batches(1_001))


def test_a_broken_row_ends_the_first_rows_and_then_the_pass(path):
    path.write_text(TEXT.replace("\n1,201\n", "\n1,x\n"))
    with open_log(path, label="click", columns=["n"], numeric=["n"], rows=64) as log:
        assert log.head(1_000).column("n").to_pylist() == list(range(201))
        seen = []
        with pytest.raises(LogError, match="'x'"):
            seen.extend(log.batches())
        assert [n for part in numbers(seen) for n in part] == list(range(201))


def test_a_log_without_rows_has_no_first_rows(tmp_path):
    (tmp_path / "log.csv").write_text("click,n\n")
    with open_log(tmp_path / "log.csv", label="click") as log:
        assert len(log.head(10)) == 0
        assert list(log.batches()) == []


def test_a_log_closes_while_its_first_rows_wait(path):
    log = open_log(path, label="click", rows=64)
    log.head(64)
    log.close()
    assert sum(map(len, log.batches())) == 1_000
