"""``adagrad train --holdout-last``: the last rows of a log are measured on, not learned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors", "hypothesis")

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

import command
from adagrad.ctr.learners import files
from adagrad.ctr.logs import open_log
from command import LABEL, invoke, tensors

ROWS, KEPT = 3_000, 2_700


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("holdout")
    table = command.clicks(ROWS)
    command.write(folder / "log.tsv", table)
    command.write(folder / "log.parquet", table)
    command.write(folder / "first.tsv", table.slice(0, KEPT))
    command.write(folder / "last.tsv", table.slice(KEPT))
    return folder


@pytest.mark.parametrize("log", ["log.tsv", "log.parquet", "log.tsv --skip-bad"])
def test_the_model_is_that_of_the_first_rows(folder: Path, log: str, tmp_path: Path) -> None:
    name, *more = log.split()
    said = command.train(folder / name, tmp_path / "m", "--holdout-last", 0.1, *more)
    assert "held out: the last 300 of 3,000 rows" in said
    command.train(folder / "first.tsv", tmp_path / "of_first")
    assert tensors(tmp_path / "m") == tensors(tmp_path / "of_first")
    (found,) = files.read(tmp_path / "m")[1]["training"]["validation"]
    measured = json.loads(invoke("evaluate", tmp_path / "m", folder / "last.tsv", "--json")[1])
    assert measured["examples"] == ROWS - KEPT
    assert {name: measured[name] for name in found} == pytest.approx(found)


def test_several_passes_files_and_a_report(folder: Path, tmp_path: Path) -> None:
    """The split lies within a file; the pass with the lowest logloss is kept."""
    more = ("--passes", 3, "--early-stop", 1, "--report", tmp_path / "r.html")
    logs = [folder / "last.tsv", folder / "log.tsv"]
    said = command.train(logs[0], tmp_path / "m", logs[1], "--holdout-last", 0.25, *more)
    assert "held out: the last 825 of 3,300 rows" in said
    found = files.read(tmp_path / "m")[1]["training"]["validation"]
    losses = [one["logloss"] for one in found]
    assert losses[-1] == min(losses)
    assert "825" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_resume_needs_the_same_rows(folder: Path, tmp_path: Path) -> None:
    arguments = ("train", folder / "log.tsv", "-l", LABEL, "-m", tmp_path / "m", "--bits", 14)
    assert invoke(*arguments, "--holdout-last", 0.1)[0] == 0
    code, _, err = invoke(*arguments, "--holdout-last", 0.2, "--passes", 2, "--resume")
    assert (code, "with --holdout-last 0.1, not with --holdout-last 0.2" in err) == (1, True), err
    code, _, err = invoke(*arguments, "--holdout-last", 0.1, "--passes", 2, "--resume")
    assert code == 0, err
    command.train(folder / "log.tsv", tmp_path / "n", "--holdout-last", 0.1, "--passes", 2)
    assert tensors(tmp_path / "m") == tensors(tmp_path / "n")


@pytest.mark.parametrize(
    ("log", "more", "message"),
    [
        ("-", (), "--holdout-last counts the rows first, but the standard input"),
        ("log.tsv", ("--validate", "last.tsv"), "--holdout-last and --validate exclude each other"),
        ("log.tsv", ("--holdout-last", 1), "1.0 is not in the range 0<x<1"),
        ("log.tsv", ("--holdout-last", 1e-9), "a share of 1e-09 of 3,000 rows leaves none to hold"),
        ("log.tsv", ("--holdout-last", 0.99999), "3,000 rows leaves none to learn"),
        ("broken.tsv", (), "broken.tsv, line 3002: "),
    ],
)
def test_refusals(
    folder: Path, log: str, more: tuple[object, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    Path("broken.tsv").write_bytes(Path("log.tsv").read_bytes() + b"1\n")
    code, _, err = invoke("train", log, "-l", LABEL, "-m", "m", "--holdout-last", 0.1, *more)
    assert code in (1, 2)
    assert message in err
    assert not Path("m").exists()


@given(
    begin=st.integers(0, 300),
    end=st.none() | st.integers(0, 400),
    start=st.integers(0, 300),
    parts=st.lists(st.integers(0, 150), min_size=1, max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_a_limited_log_is_a_slice(
    tmp_path_factory: pytest.TempPathFactory,
    begin: int,
    end: int | None,
    start: int,
    parts: list[int],
) -> None:
    folder, row = tmp_path_factory.mktemp("limit"), 0
    for number, rows in enumerate(parts):
        table = pa.table({LABEL: [0] * rows, "x": pa.array(range(row, row + rows), pa.int64())})
        command.write(folder / f"{number}.parquet", table)
        row += rows
    with open_log(folder / "*.parquet", label=LABEL, rows=64) as log:
        log.limit(begin, end)
        expected = [*range(row)][begin:end][start:]
        if begin + start > min(row, row if end is None else end):
            with pytest.raises(ValueError, match="start is"):
                list(log.batches(start))
            return
        batches = list(log.batches(start))
        assert [x for batch in batches for x in batch.column("x").to_pylist()] == expected
        assert all(batch.num_rows == 64 for batch in batches[:-1])
        assert not expected or log.position.rows == start + len(expected)
        assert log.head(10).column("x").to_pylist() == [*range(row)][begin:end][:10]
