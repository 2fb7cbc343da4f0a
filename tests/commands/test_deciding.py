"""Columns whose kind the first rows decide, and moments: on the command line, in every format."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa
from pyarrow import csv, feather, parquet

from adagrad import ctr
from command import LABEL, invoke, tensors, train

ROWS = 3_000
START = dt.datetime(2026, 11, 2)  # a Monday


def log_of(rng: np.random.Generator, rows: int = ROWS) -> pa.Table:
    """Return a log whose label depends on the user, the hour and the number of visits."""
    users = rng.permutation(np.arange(20_000, 20_080))
    user = users[np.minimum(rng.geometric(0.06, rows), len(users)) - 1]
    visits = rng.geometric(0.2, rows) - 1
    seconds = np.sort(rng.integers(0, 14 * 86_400, rows))
    odds = (user % 2) * 4.0 - visits / 4 + (seconds % 86_400 > 43_200) * 3.0 - 2.5
    return pa.table(
        {
            LABEL: (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int8),
            "user": user,
            "visits": visits,
            "at": pa.array(seconds, pa.int64()).cast(pa.timestamp("s")).cast(pa.timestamp("us")),
        }
    ).set_column(3, "at", pa.array([START + dt.timedelta(seconds=int(s)) for s in seconds]))


@pytest.fixture
def table(rng: np.random.Generator) -> pa.Table:
    return log_of(rng)


def write(path: Path, table: pa.Table) -> Path:
    writers = {".csv": csv.write_csv, ".parquet": parquet.write_table}
    if path.suffix == ".arrow":
        feather.write_feather(table, str(path), compression="uncompressed")
    else:
        writers[path.suffix](table, path)
    return path


def test_every_format_decides_alike(tmp_path: Path, table: pa.Table) -> None:
    narrow = table.set_column(1, "user", table.column("user").cast(pa.uint16()))
    logs = [
        write(tmp_path / "a.csv", table),
        write(tmp_path / "b.parquet", table),
        write(tmp_path / "c.arrow", narrow),
    ]
    kinds = {"user": "categorical", "visits": "log2-bins", "at": "calendar"}
    models = []
    for log in logs:
        said = train(log, tmp_path / "m", "--lr", 0.1, "--calendar", "at").splitlines()
        assert any(line.startswith("  user: categorical, looks like ids: ") for line in said)
        assert (
            "  visits: log2-bins, looks like a number: values of about the same size"
            in "\n".join(said)
        )
        models.append(tensors(tmp_path / "m"))
        model = ctr.load(tmp_path / "m")
        assert model.encoder.fields_ == kinds
        assert model.encoder.describe().splitlines()[2] == "at: calendar, as declared"
    assert models[0] == models[1] == models[2]
    text = (tmp_path / "a.csv").read_bytes()
    train("-", tmp_path / "n", "--lr", 0.1, "--calendar", "at", "--format", "csv", input=text)
    assert tensors(tmp_path / "n") == models[0]
    predictions = [invoke("predict", tmp_path / "m", log) for log in logs]
    assert predictions[0][0] == 0
    assert predictions[0] == predictions[1] == predictions[2]
    frame = table.drop_columns([LABEL])
    by_python = ctr.load(tmp_path / "m").predict_proba(frame)[:, 1].astype(np.float32)
    assert [float(line) for line in predictions[0][1].split()] == pytest.approx(by_python)


def test_ids_and_hours_are_learned(tmp_path: Path, table: pa.Table) -> None:
    log = write(tmp_path / "a.parquet", table)

    def logloss(*options: str) -> float:
        train(log, tmp_path / "m", "-q", "--lr", 0.5, *options)
        return float(ctr.load(tmp_path / "m").progressive_["logloss"])

    decided = logloss()
    assert decided < logloss("--numbers", "user") - 0.02
    assert decided == logloss("--categorical", "user")
    assert logloss("--calendar", "at") < decided


def test_what_is_declared_counts(tmp_path: Path, table: pa.Table) -> None:
    log = write(tmp_path / "a.csv", table)
    said = train(log, tmp_path / "m", "--lr", 0.1, "--numbers", "user", "--categorical", "visits")
    assert "--numbers: 'user' looks like ids: equal values are " in said
    assert "give --categorical user if it holds ids" in said
    kinds = {"user": "log2-bins", "visits": "categorical"}
    assert ctr.load(tmp_path / "m").encoder.fields_ == kinds
    code, out, _ = invoke("diagnose", log, "-l", LABEL, "--numbers", "user")
    assert code == 0
    assert "--numbers: 'user' looks like ids: equal values are " in out
    for options, why in (
        (("--numbers", "no"), "--numbers: no column 'no'"),
        (("--calendar", "no"), "--calendar: no column 'no'"),
        (("--numbers", "user", "--categorical", "user"), "'user' is declared categorical as well"),
        (("--calendar", "user"), "Error: column 'user' has 20"),
    ):
        code, out, err = invoke("train", log, "-l", LABEL, "-m", tmp_path / "n", *options)
        assert (code, out) == (1, "")
        assert why in err
    (tmp_path / "a.svm").write_text("1 1:1\n0 2:1\n" * 50)
    code, _, err = invoke(
        "train", tmp_path / "a.svm", "-l", LABEL, "-m", tmp_path / "n", "--calendar", "at"
    )
    assert (code, "libsvm logs have ids" in err) == (1, True)


def test_moments_are_no_features_until_they_are_named(tmp_path: Path, table: pa.Table) -> None:
    log = write(tmp_path / "a.csv", table)
    line = "not features, because moments do not return: at; --calendar at uses hours and days"
    assert line in train(log, tmp_path / "m", "--lr", 0.1).splitlines()
    assert line in invoke("diagnose", log, "-l", LABEL)[1].splitlines()
    without = write(tmp_path / "b.csv", table.drop_columns(["at"]))
    assert invoke("predict", tmp_path / "m", without)[0] == 0
    train(without, tmp_path / "n", "--lr", 0.1)
    assert tensors(tmp_path / "m") == tensors(tmp_path / "n")
    texts = table.column("at").cast(pa.string())
    log = write(tmp_path / "c.parquet", table.set_column(3, "at", texts))
    hint = "dates and moments, which do not return, are categories: at; --calendar at uses hours"
    assert hint in train(log, tmp_path / "m", "--lr", 0.1)
    assert hint in invoke("diagnose", log, "-l", LABEL)[2]
    seconds = table.column("at").cast(pa.timestamp("s")).cast(pa.int64())
    log = write(tmp_path / "d.parquet", table.set_column(3, "at", seconds))
    hint = "'at' looks like Unix seconds: --calendar at uses hours and days"
    assert hint in train(log, tmp_path / "m", "--lr", 0.1).splitlines()


def test_a_calendar_can_be_crossed(tmp_path: Path, table: pa.Table) -> None:
    log = write(tmp_path / "a.csv", table)
    train(log, tmp_path / "m", "--calendar", "at", "--cross", "at.hour*user", "--lr", 0.1)
    assert ctr.load(tmp_path / "m").encoder.crosses == [["at.hour", "user"]]
    code, _, err = invoke(
        "train", log, "-l", LABEL, "-m", tmp_path / "n", "--calendar", "at", "--cross", "at*user"
    )
    assert code == 1
    assert "--cross at*user: no column 'at'" in err


def test_a_row_that_is_repaired_may_change_what_the_first_rows_say(
    tmp_path: Path, table: pa.Table
) -> None:
    """The training starts over then, and ends with the bits of one over the repaired log."""
    day = pa.array([k * k % 7 for k in range(ROWS)])
    log = write(tmp_path / "a.csv", table.append_column("day", day))
    lines = log.read_bytes().splitlines(keepends=True)
    options = ("train", log, "-l", LABEL, "-b", 12, "--lr", 0.1, "-m", tmp_path / "m")
    for broken, restarts in ((66, True), (2_900, False)):  # in few rows, each day is rare
        log.write_bytes(b"".join([*lines[:broken], b"oops\n", *lines[broken + 1 :]]))
        code, _, err = invoke(*options, "--overwrite")
        assert (code, "continue with --resume" in err) == (1, True)
        was_code = ctr.load(tmp_path / "m").encoder.fields_["day"] == "categorical"
        assert was_code != restarts
        log.write_bytes(b"".join(lines))
        code, _, err = invoke(*options, "--resume")
        assert code == 0, err
        assert ("starting from the first row" in err) == restarts
        assert invoke(*options[:-1], tmp_path / "whole", "-q", "--overwrite")[0] == 0
        assert (tmp_path / "m").read_bytes() == (tmp_path / "whole").read_bytes()
