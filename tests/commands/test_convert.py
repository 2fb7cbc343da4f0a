"""``adagrad convert``: training on the file gives the bits that training on the log gives."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa
from pyarrow import csv, parquet

import command
from adagrad.ctr.logs import open_log

ROWS = 700


def bids(rows: int = ROWS) -> pa.Table:
    """Rows like those of an auction: bools as labels, URLs, tags, ids with zeros, and gaps."""
    rng = np.random.default_rng(0)
    user = rng.integers(0, 40, rows)
    tags = [",".join(map(str, rng.integers(10000, 10050, k % 4).tolist())) for k in range(rows)]
    hours = np.datetime64("2026-01-01T00:00:00", "s") + np.arange(rows) * 61
    return pa.table(
        {
            "click": pa.array((rng.random(rows) < 0.2 + 0.01 * user).tolist()),
            "user": pa.array([f"{value:05d}" for value in user.tolist()]),
            "url": pa.array([f'http://a.b/?q="{k}"&é={k % 7}' for k in (user % 9).tolist()]),
            "tags": pa.array([text or None for text in tags]),
            "price": pa.array(rng.random(rows).round(3), mask=rng.random(rows) < 0.1),
            "seen": pa.array(rng.geometric(0.3, rows), mask=rng.random(rows) < 0.1),
            "at": pa.array(hours),
            "day": pa.array([str(hour)[:10] for hour in hours]),
            "nothing": pa.nulls(rows, pa.string()),
        }
    )


def written(table: pa.Table, path: Path) -> Path:
    """Write a table in the format of the suffix."""
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    elif path.suffix == ".jsonl":
        rows = [
            {k: str(v) if k == "at" else v for k, v in row.items()} for row in table.to_pylist()
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".libsvm":
        ids = np.random.default_rng(1).integers(1, 99, (len(table), 3))
        signs = ["+1" if click else "-1" for click in table.column("click").to_pylist()]
        rows = zip(signs, *ids.T.tolist(), strict=True)
        path.write_text("".join(f"{y} {a}:1 {100 + b}:0.5 {200 + c}:2\n" for y, a, b, c in rows))
    elif path.suffix in (".libffm", ".vw"):
        row = {".libffm": "1 0:{0}:1 1:{1}:0.5\n", ".vw": "1 {2} |a x{0} |b x{1}:0.5\n"}[
            path.suffix
        ]
        numbers = np.random.default_rng(1).integers(1, 99, (len(table), 3)).tolist()
        texts = ["-1" + row.format(*n)[1:] if n[0] % 3 else row.format(*n) for n in numbers]
        path.write_text("".join(texts))
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(command.as_text(table.drop_columns(["url"]))))
    else:
        out = io.BytesIO()
        csv.write_csv(table, out)
        path.write_bytes(out.getvalue())
    return path


def convert(*arguments: object) -> str:
    code, out, err = command.invoke("convert", *arguments)
    assert (code, out) == (0, ""), err
    return err


@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.csv", ()),
        ("a.csv", ("--text", "user,seen")),
        ("a.csv", ("--categorical", "seen", "--multi", "tags=,", "--ignore", "nothing,day")),
        ("a.tsv.gz", ("--columns", "click,user,seen")),
        ("a.jsonl", ()),
        ("a.parquet", ()),
        ("a.libsvm", ()),
        ("a.libffm", ()),
        ("a.vw", ("--weight", "importance")),
    ],
)
def test_the_same_bits(tmp_path: Path, name: str, options: tuple[str, ...], suffix: str) -> None:
    log, file = written(bids(), tmp_path / name), tmp_path / f"converted{suffix}"
    convert(log, "-o", file, *(() if name == "a.vw" else options))
    options = tuple(option.removeprefix("click,") for option in options)
    command.train(log, tmp_path / "m1", *options)
    if "--ignore" in options:  # what is left out is not there
        options = options[: options.index("--ignore")]
    if name in ("a.libsvm", "a.libffm", "a.vw"):
        options = (*options, "-l", "label")
    command.train(file, tmp_path / "m2", *options)
    assert command.tensors(tmp_path / "m1") == command.tensors(tmp_path / "m2")


def test_many_batches_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dictionaries differ from batch to batch, and files end within batches."""
    monkeypatch.setitem(open_log.__kwdefaults__, "rows", 64)
    folder = tmp_path / "log" / "country=de"
    folder.mkdir(parents=True)
    table = bids()
    for k in range(3):
        written(table.slice(200 * k, 200), folder / f"{k}.csv")
    for suffix in (".arrow", ".parquet"):
        err = convert(tmp_path / "log", "-o", tmp_path / f"all{suffix}")
        assert "600 rows, 10 columns" in err
    assert parquet.ParquetFile(tmp_path / "all.parquet").num_row_groups == 10
    with open_log(tmp_path / "log", label="click") as log:
        expected = pa.Table.from_batches(log)
    for suffix in (".arrow", ".parquet"):
        with open_log(tmp_path / f"all{suffix}", label="click") as log:
            assert pa.Table.from_batches(log).to_pylist() == expected.to_pylist()


def test_a_log_that_ends_badly_leaves_no_file(tmp_path: Path) -> None:
    log, file = tmp_path / "a.csv", tmp_path / "a.arrow"
    log.write_text("click,n\n" + "1,2\n" * 100 + "1\n")
    code, _, err = command.invoke("convert", log, "-o", file)
    assert code == 1
    assert "a.csv, line 102: 1 column instead of 2" in err
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert "1 broken row" in convert(log, "-o", file, "--skip-bad")
    before = file.read_bytes()
    code, _, err = command.invoke("convert", log, "-o", file, "--skip-bad")
    assert (code, file.read_bytes()) == (1, before)
    assert "a.arrow exists: give --overwrite to replace it" in err
    assert convert(log, "-o", file, "--skip-bad", "--overwrite", "-q").count("\n") == 1


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("logs/a.parquet", "would replace"),
        ("x.csv", "the name must end in .parquet or .arrow"),
        ("s3://bucket/a.arrow", "outputs are files of this machine"),
        ("logs/b.parquet", "would be read as a part of"),
    ],
)
def test_outputs_that_are_refused(tmp_path: Path, output: str, error: str) -> None:
    (tmp_path / "logs").mkdir()
    log = written(bids(10), tmp_path / "a.csv")
    written(bids(10), tmp_path / "logs" / "a.parquet")
    output = output if "://" in output else str(tmp_path / output)
    code, _, err = command.invoke("convert", log, tmp_path / "logs", "-o", output, "--overwrite")
    assert code == 1
    assert error in err
