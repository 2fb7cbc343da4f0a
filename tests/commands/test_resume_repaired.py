"""``adagrad train --resume`` after a broken row: what must be the same is what was read."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa
from pyarrow import parquet

import command
from adagrad import ctr
from adagrad.ctr.logs import blocks, jsonl
from command import LABEL, invoke, train

LINES = command.as_text(command.clicks(5_000)).splitlines(keepends=True)
BROKEN = 4_321  # the line, from 0
OPTIONS = ("--lr", 0.1, "--bits", 14, "-l", LABEL, "-q")

WRITERS: dict[str, Callable[[bytes], bytes]] = {"log.tsv": bytes, "log.tsv.gz": gzip.compress}


def write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(WRITERS[path.name](b"".join(lines)))
    return path


def broken_lines(text: bytes = b"oops\n") -> list[bytes]:
    return [*LINES[:BROKEN], text, *LINES[BROKEN + 1 :]]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("model_type", ["lr", "fm"])
def test_a_broken_row_that_is_repaired(tmp_path: Path, name: str, model_type: str) -> None:
    model = ("train", tmp_path / name, *OPTIONS, "--model-type", model_type, "--passes", 2)
    log = write(tmp_path / name, broken_lines())
    code, _, err = invoke(*model, "-m", tmp_path / "m")
    learned = (BROKEN - 1) // 64 * 64
    assert code == 1
    assert f"line {BROKEN + 1}: 1 column instead of 5; {learned:,} examples before it" in err
    assert "continue with --resume" in err
    assert err.count("\n") == 1
    assert ctr.load(tmp_path / "m").n_examples_ == learned
    write(log, LINES)
    code, _, err = invoke(*model, "-m", tmp_path / "m", "--resume")
    assert code == 0, err
    assert invoke(*model, "-m", tmp_path / "whole")[0] == 0
    assert (tmp_path / "m").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("before", [64, 639, 640, 1280, 4288, 4290])
def test_a_broken_row_that_is_skipped(tmp_path: Path, before: int) -> None:
    log = write(tmp_path / "log.tsv", [*LINES[: before + 1], b"oops\n", *LINES[before + 1 :]])
    assert invoke("train", log, *OPTIONS, "-m", tmp_path / "m")[0] == 1
    code, _, err = invoke("train", log, *OPTIONS, "-m", tmp_path / "m", "--resume", "--skip-bad")
    assert code == 0, err
    assert invoke("train", log, *OPTIONS, "-m", tmp_path / "whole", "--skip-bad")[0] == 0
    assert (tmp_path / "m").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("end", ["shorter", "longer", "another file", "another format"])
def test_what_comes_after_the_rows_read_may_change(tmp_path: Path, end: str) -> None:
    log = write(tmp_path / "log.tsv", broken_lines())
    assert invoke("train", log, *OPTIONS, "-m", tmp_path / "m")[0] == 1
    logs = [log]
    if end == "shorter":
        write(log, LINES[:BROKEN])
    elif end == "longer":
        write(log, [*LINES, *LINES[1:]])
    elif end == "another file":
        write(log, LINES)
        logs.append(command.write(tmp_path / "log2.tsv", command.clicks(500, seed=1)))
    else:
        log.unlink()
        logs = [command.write(tmp_path / "log.parquet", command.clicks(5_000))]
    code, _, err = invoke("train", *logs, *OPTIONS, "-m", tmp_path / "m", "--resume")
    assert code == 0, err
    assert invoke("train", *logs, *OPTIONS, "-m", tmp_path / "whole")[0] == 0
    if end != "another format":  # the columns of the two have other types
        assert (tmp_path / "m").read_bytes() == (tmp_path / "whole").read_bytes()
    assert command.tensors(tmp_path / "m") == command.tensors(tmp_path / "whole")


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines[:2000], lines[2000].replace(b"site", b"SITE"), *lines[2001:]], ""),
        (lambda lines: [*lines[:3], b"1" + lines[3][1:], b"0" + lines[4][1:], *lines[5:]], ""),
        (lambda lines: [*lines[:2], *lines[3:]], ""),
        (lambda lines: [*lines[:2], *lines[1:]], ""),
        (lambda lines: lines[:1000], "are now only 999"),
    ],
    ids=["a value", "labels", "a row less", "a row more", "an early end"],
)
def test_what_was_read_must_be_the_same(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], message: str
) -> None:
    first = command.write(tmp_path / "log1.tsv", command.clicks(640, seed=3))
    log = write(tmp_path / "log.tsv", broken_lines())
    assert invoke("train", first, log, *OPTIONS, "-m", tmp_path / "m")[0] == 1
    before = (tmp_path / "m").read_bytes()
    write(log, change(LINES))
    code, out, err = invoke("train", first, log, *OPTIONS, "-m", tmp_path / "m", "--resume")
    assert (code, out) == (1, "")
    assert "has learned 4,928 rows of this log, which " + (message or "have changed") in err or (
        message and "are now only 1,639: log.tsv" in err
    )
    assert ": log.tsv: train from the first row" in err
    assert err.count("\n") == 1
    assert (tmp_path / "m").read_bytes() == before


@pytest.mark.usefixtures("small_batches")
def test_a_row_that_was_skipped_and_is_not_any_more(tmp_path: Path) -> None:
    lines = broken_lines()
    lines[100] = b"oops\n"
    log = write(tmp_path / "log.tsv", lines)
    arguments = ("train", log, *OPTIONS, "-m", tmp_path / "m", "--resume")
    write(log, [*lines[:BROKEN], b"1\tmore\n", *lines[BROKEN:]])
    bad = invoke(*arguments, "--checkpoint-every", 640)
    assert bad[0] == 1
    assert "line 101: 1 column instead of 5; 64 examples before it are saved" in bad[2]
    unfinished = (
        f"{tmp_path / 'm'}: the training stopped after 64 rows of pass 1: continue it with adagrad"
        " train --resume\n"
    )
    good = tmp_path / "good.tsv"
    good.write_bytes(b"".join(broken_lines()[:100]))
    assert invoke("predict", tmp_path / "m", good)[2] == unfinished
    assert invoke("evaluate", tmp_path / "m", good)[2] == unfinished
    assert invoke(*arguments, "--skip-bad")[0] == 0
    assert invoke("predict", tmp_path / "m", good)[2] == ""


@pytest.mark.usefixtures("small_batches")
def test_a_broken_row_of_a_parquet_file(tmp_path: Path) -> None:
    table = command.clicks(5_000)
    labels = table.column(LABEL).to_pylist()
    for value in (7, labels[BROKEN]):
        labels[BROKEN] = value
        column = pa.array(labels)
        position = table.schema.get_field_index(LABEL)
        parquet.write_table(table.set_column(position, LABEL, column), tmp_path / "a.parquet")
        resume = ("--resume",) if value != 7 else ()
        arguments = ("train", tmp_path / "a.parquet", *OPTIONS, "-m", tmp_path / "m", *resume)
        code, _, err = invoke(*arguments)
        assert code == int(value == 7), err
    train(tmp_path / "a.parquet", tmp_path / "whole", "--lr", 0.1)
    assert (tmp_path / "m").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_broken_row_that_has_told_a_type(tmp_path: Path) -> None:
    """A repaired row may turn the sample of a column of floats into whole numbers."""
    log, lines = tmp_path / "log.csv", [f"{k % 2},{k % 7}\n" for k in range(1_000)]
    head, tail = f"{LABEL},n\n" + "".join(lines[:700]), "".join(lines[700:])
    log.write_text(head + "oops,2.5\n" + tail)
    arguments = ("train", log, *OPTIONS, "-m", tmp_path / "m")
    assert invoke(*arguments)[0] == 1
    assert ctr.load(tmp_path / "m").n_examples_ == 640
    log.write_text(head + tail)
    code, _, err = invoke(*arguments, "--resume")
    assert code == 0, err
    assert invoke("train", log, *OPTIONS, "-m", tmp_path / "whole")[0] == 0
    known, whole = ctr.load(tmp_path / "m"), ctr.load(tmp_path / "whole")
    assert known.coef_.tobytes() == whole.coef_.tobytes()


def test_a_column_that_means_something_else_is_named(tmp_path: Path) -> None:
    log, lines = tmp_path / "log.csv", "".join(f"{k % 2},{k % 7}\n" for k in range(640))
    log.write_text(f"{LABEL},n\n{lines}oops\n")
    arguments = ("train", log, *OPTIONS, "-m", tmp_path / "m")
    assert invoke(*arguments)[0] == 1
    log.write_text(f"{LABEL},n\n{lines}1,a\n")
    code, _, err = invoke(*arguments, "--resume")
    assert code == 1
    assert "a log with other columns or types: column 'n' was int64 and is string\n" in err


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(
    ("name", "row", "late"),
    [
        ("log.vw", "{} |ad a{} x:0.5\n", "1 |ad a1 |geo de\n"),
        ("log.jsonl", '{{"click": {}, "ad": "a{}"}}\n', '{"click": 1, "ad": "a1", "geo": "de"}\n'),
    ],
)
def test_a_late_column_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, row: str, late: str
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr(jsonl, "SAMPLE", 1 << 12)
    rows = [row.format(i % 3 % 2, i % 7) for i in range(1_000)]
    rows[900] = late
    (tmp_path / name).write_text("".join(rows))
    model = ("train", tmp_path / name, "-l", "click", "-b", 12, "-q")
    code, _, err = invoke(*model, "-m", tmp_path / "m")
    assert code == 1
    assert "leave it out by --ignore geo, or name all columns by --columns; 896 examples" in err
    assert ("--skip-bad" in err) == (name == "log.jsonl")  # which passes over such rows
    code, _, err = invoke(*model, "-m", tmp_path / "m", "--resume", "--ignore", "geo")
    assert code == 0, err
    assert invoke(*model, "-m", tmp_path / "whole", "--ignore", "geo")[0] == 0
    assert (tmp_path / "m").read_bytes() == (tmp_path / "whole").read_bytes()
    code, _, err = invoke(*model, "-m", tmp_path / "m", "--resume", "--columns", "geo")
    assert (code, "was trained " in err) == (1, True)
