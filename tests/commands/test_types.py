"""``--text``, ``--categorical`` and ``--ignore`` reach the reader, and a model reads alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa
from pyarrow import parquet

from adagrad import ctr
from adagrad.ctr.logs import blocks, jsonl, survey
from command import invoke

LABELS = [0, 1] * 200


def table(ids: pa.Array, n: pa.Array | None = None) -> pa.Table:
    times = len(LABELS) // 2
    n = pa.array([5, 7]) if n is None else n
    return pa.table({"click": LABELS, "id": pa.concat_arrays([ids] * times), "n": tiled(n, times)})


def tiled(values: pa.Array, times: int) -> pa.Array:
    return pa.concat_arrays([values] * times)


def train(folder: Path, *arguments: object) -> None:
    command = ("train", *arguments, "-l", "click", "-m", folder / "m", "--overwrite")
    code, _, err = invoke(*command, "-b", 14, "--lr", 0.1)
    assert code == 0, err


def predictions(folder: Path, log: Path) -> list[str]:
    code, out, err = invoke("predict", folder / "m", log)
    assert code == 0, err
    return out.split()


@pytest.mark.parametrize("option", ["--text", "--categorical"])
def test_different_texts_are_different_ids(tmp_path: Path, option: str) -> None:
    log = tmp_path / "a.csv"
    log.write_text("click,h,z\n" + "1,1e1,007\n0,10e0,7\n" * 200)
    train(tmp_path, log, option, "h,z")
    first, second = map(float, predictions(tmp_path, log)[:2])
    assert first > 0.8 > 0.2 > second
    assert ctr.load(tmp_path / "m").encoder.fields_ == {"h": "categorical", "z": "categorical"}


@pytest.mark.parametrize("option", [(), ("--text", "id"), ("--categorical", "id")])
@pytest.mark.parametrize("trained_on", ["a.csv", "i32.parquet", "f64.parquet"])
def test_a_model_reads_every_format_alike(
    tmp_path: Path, option: tuple[str, ...], trained_on: str
) -> None:
    (tmp_path / "a.csv").write_text("click,id,n\n" + "0,1,5\n1,2,7\n" * 200)
    logs = {
        "i32": table(pa.array([1, 2], pa.int32())),
        "i64": table(pa.array([1, 2]), pa.array([5, 7], pa.uint8())),
        "f64": table(pa.array([1.0, 2.0]), pa.array([5.0, 7.0], pa.float32())),
    }
    if option:
        logs["text"] = table(pa.array(["1", "2"]))
        logs["dictionary"] = table(pa.array(["1", "2"]).dictionary_encode())
    for name, content in logs.items():
        parquet.write_table(content, tmp_path / f"{name}.parquet", use_dictionary=name != "text")
    (tmp_path / "floats.csv").write_text("id,n\n" + "1,5.0\n2,7e0\n" * 200)
    train(tmp_path, tmp_path / trained_on, *option)
    want = predictions(tmp_path, tmp_path / "a.csv")
    assert want[0] != want[1]
    assert predictions(tmp_path, tmp_path / "floats.csv") == want
    for name in logs:
        assert predictions(tmp_path, tmp_path / f"{name}.parquet") == want, name


def test_a_log_that_cannot_mean_what_the_model_learned(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("click,id,n\n" + "0,1,5\n1,2,7\n" * 200)
    train(tmp_path, tmp_path / "a.csv")
    parquet.write_table(table(pa.array(["1", "2"])), tmp_path / "text.parquet")
    code, out, err = invoke("predict", tmp_path / "m", tmp_path / "text.parquet")
    assert (code, out) == (1, "")
    assert "text.parquet, line 1: column 'id' is text, but must be int64; to read it as text" in err
    many = table(pa.array([1, 1 << 40]), pa.array([5, 6.5]))
    parquet.write_table(many, tmp_path / "half.parquet")
    code, _, err = invoke("predict", tmp_path / "m", tmp_path / "half.parquet")
    assert code == 1
    assert "half.parquet, line 2: column 'n': 6.5 (double) cannot be read as int64" in err


def test_an_unnamed_column_and_names_with_commas(tmp_path: Path) -> None:
    log = tmp_path / "a.csv"
    log.write_text(',click,"a,b",site\n' + "".join(f"{i},{i % 2},5,s{i % 3}\n" for i in range(50)))
    train(tmp_path, log, "--ignore", "", "--text", '"a,b"')
    fields = {"a,b": "categorical", "site": "categorical"}
    assert ctr.load(tmp_path / "m").encoder.fields_ == fields
    train(tmp_path, log, "--ignore", ',"a,b"')
    assert list(ctr.load(tmp_path / "m").encoder.fields_) == ["site"]


def test_text_must_be_repeated_to_resume(tmp_path: Path) -> None:
    log = tmp_path / "a.csv"
    log.write_text("click,id\n" + "1,007\n0,7\n" * 200)
    train(tmp_path, log, "--text", "id")
    again = ("train", log, "-l", "click", "-m", tmp_path / "m", "-b", 14, "--lr", 0.1, "--resume")
    assert invoke(*again, "--text", "id")[0] == 0
    code, _, err = invoke(*again)
    assert code == 1
    assert "was trained with --text id, not without --text" in err


def test_diagnose_reads_text(tmp_path: Path) -> None:
    log = tmp_path / "a.csv"
    log.write_text("click,id\n" + "1,007\n0,7\n" * 200)
    how = ("diagnose", log, "-l", "click", "--numeric", "categorical")
    code, _, err = invoke(*how)
    assert code == 1
    assert "all features are constant" in err
    for option in ("--text", "--categorical"):
        code, _, err = invoke(*how, option, "id")
        assert code == 0, err


@pytest.mark.parametrize(
    ("name", "head", "row"),
    [
        ("a.csv", "click,price\n", "{},{}\n"),
        ("a.jsonl", "", '{{"click": {}, "price": {}}}\n'),
    ],
)
def test_fractions_after_the_first_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, head: str, row: str
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr(jsonl, "SAMPLE", 1 << 12)
    monkeypatch.setattr(survey, "SAMPLE", 1 << 12)
    rows = [row.format(k % 3 % 2, f"{k % 90}.5" if k > 1_900 else k % 90) for k in range(2_000)]
    (tmp_path / name).write_text(head + "".join(rows))
    options = ("train", tmp_path / name, "-l", "click", "-b", 12, "-q", "-m")
    code, _, err = invoke(*options, tmp_path / "m")
    assert code == 1
    assert "--text price reads the column as text, and --numbers price as floats" in err
    code, _, err = invoke(*options, tmp_path / "n", "--numbers", "price")
    assert code == 0, err
    assert (
        invoke("convert", tmp_path / name, "-o", tmp_path / "a.arrow", "--numbers", "price")[0] == 0
    )
    converted = ("train", tmp_path / "a.arrow", *options[2:])
    assert invoke(*converted, tmp_path / "c", "--numbers", "price")[0] == 0
    assert ctr.load(tmp_path / "c").coef_.tobytes() == ctr.load(tmp_path / "n").coef_.tobytes()
