"""``adagrad predict``, ``evaluate`` and ``inspect``: they need the model file alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse
from pyarrow import csv, parquet
from sklearn.metrics import log_loss, roc_auc_score

import command
from adagrad import ctr
from adagrad.ctr import Examples, HashingEncoder, LogisticRegression
from command import LABEL, invoke

TODAY = command.clicks(5_000, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    command.write(folder / "log.parquet", command.clicks(30_000))
    command.write(folder / "today.tsv", TODAY)
    command.write(folder / "today.parquet", TODAY)
    code, _, err = invoke(
        *("train", folder / "log.parquet", "-l", LABEL, "-m", folder / "m", "--bits", 14)
    )
    assert code == 0, err
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> np.ndarray:
    return ctr.load(folder / "m").predict_proba(TODAY)[:, 1]


def test_one_number_per_line(folder: Path, expected: np.ndarray) -> None:
    without = TODAY.drop_columns([LABEL]).select(["user", "depth", "ad", "site"])
    for text in (command.as_text(TODAY), command.as_text(without)):
        code, out, err = invoke("predict", folder / "m", "--format", "tsv", input=text)
        assert (code, err) == (0, "")
        assert (np.array(out.split(), np.float32) == expected.astype(np.float32)).all()
    assert invoke("predict", folder / "m", folder / "today.parquet")[1] == out
    assert invoke("predict", folder / "m", folder / "today.tsv", "-t", 1)[1] == out


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv"])
@pytest.mark.parametrize("log", ["today.parquet", "today.tsv"])
def test_a_table_with_columns_of_the_log(
    folder: Path, expected: np.ndarray, suffix: str, log: str, tmp_path: Path
) -> None:
    target = tmp_path / f"scores.{suffix}"
    keep = f"user,{LABEL}"
    code, out, err = invoke("predict", folder / "m", folder / log, "-o", target, "--keep", keep)
    assert (code, out, err) == (0, "", "")
    if suffix == "parquet":
        table = parquet.read_table(target)
    else:
        options = csv.ParseOptions(delimiter="," if suffix == "csv" else "\t")
        table = csv.read_csv(target, parse_options=options)
    assert table.column_names == ["user", LABEL, "prediction"]
    assert table.column("user").to_pylist() == TODAY.column("user").to_pylist()
    labels = table.column(LABEL).cast(pa.int64()).to_pylist()
    assert labels == TODAY.column(LABEL).to_pylist()
    np.testing.assert_allclose(table.column("prediction").to_numpy(), expected, rtol=1e-6)
    assert list(tmp_path.iterdir()) == [target]


def test_the_reader_of_the_predictions_may_stop(folder: Path) -> None:
    arguments = [folder / "m", *[folder / "today.tsv"] * 30]
    with subprocess.Popen(
        [sys.executable, "-m", "adagrad.commands.main", "predict", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert 0 < float(process.stdout.readline()) < 1
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_conversation(folder: Path, expected: np.ndarray) -> None:
    """Each row is answered while the pipe is open; half a row is not."""
    header, *rows = command.as_text(TODAY).splitlines(keepends=True)
    with subprocess.Popen(
        [sys.executable, "-m", "adagrad.commands.main", "predict", folder / "m", "--format", "tsv"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(header)
        for row, probability in zip(rows[:200], expected, strict=False):
            process.stdin.write(row)
            assert np.float32(process.stdout.readline()) == np.float32(probability)
        process.stdin.write(rows[200][:-1])
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b""
        assert process.stderr.read().strip() in (b"", b"interrupted")
    assert process.returncode == 128 + signal.SIGINT


def test_answers_before_a_broken_row(folder: Path, expected: np.ndarray) -> None:
    header, *rows = command.as_text(TODAY).splitlines(keepends=True)
    content = header + b"".join(rows[:3]) + b"short\n" + rows[4]
    arguments = ("predict", folder / "m", "-", "--format", "tsv")
    code, out, err = invoke(*arguments, input=content)
    assert code == 1
    assert err.startswith("Error: -, line 5: ")
    assert np.array(out.split(), np.float32).tolist() == expected[:3].astype("f4").tolist()
    code, out, err = invoke(*arguments, "--skip-bad", input=content)
    assert code == 0
    kept = expected[[0, 1, 2, 4]].astype("f4")
    assert np.array(out.split(), np.float32).tolist() == kept.tolist()
    assert "1 broken row" in err


def test_evaluate_agrees_with_scikit_learn(folder: Path, expected: np.ndarray) -> None:
    code, out, err = invoke("evaluate", folder / "m", folder / "today.tsv", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    labels = TODAY.column(LABEL).to_numpy()
    assert (found["examples"], found["positives"]) == (5000, labels.sum())
    assert found["logloss"] == pytest.approx(log_loss(labels, expected), rel=1e-5)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, expected), abs=2e-4)
    assert found["calibration"] == pytest.approx(expected.sum() / labels.sum(), rel=1e-5)
    code, out, _ = invoke("evaluate", folder / "m", folder / "today.parquet")
    assert code == 0
    assert f"{found['logloss']:.5f}" in out
    assert f"{found['normalized_entropy']:.4f}" in out


def test_inspect(folder: Path) -> None:
    code, out, err = invoke("inspect", folder / "m", "-n", 3)
    assert (code, err) == (0, "")
    for text in ("LogisticRegression", "16,384", "site (categorical)", "30,000", "log.parquet"):
        assert text in out
    assert "by variance, lowest first" in out
    assert "--log LOG shows those of a log" in " ".join(out.split())
    model = ctr.load(folder / "m")
    strongest = int(np.argmax(np.abs(model.coef_[0])))
    assert f"{strongest} " in out
    assert f"{model.coef_[0, strongest]:.4f}" in out
    tenths = [line.split() for line in out.splitlines() if line.endswith(tuple("0123456789-"))]
    tenths = [line for line in tenths if line.count("%") == 2]
    assert [line[0] for line in tenths] == [f"{number}" for number in range(1, 11)]
    shares = [text for line in tenths for text, sign in pairwise(line) if sign == "%"]
    assert all(len(text.replace(".", "").lstrip("0")) in (0, 3) for text in shares), shares
    assert sum(int(line[1].replace(",", "")) for line in tenths) == pytest.approx(30_000, abs=5)
    assert "without the column" not in out
    for expert in model.experts_:
        line = next(line for line in out.splitlines() if line.startswith(f"{expert['name']} "))
        assert line.split()[-4:-2] == [f"{expert['weight']:+.3f}", f"{expert['logloss']:.5f}"]
    named = next(line for line in out.splitlines() if f" {strongest} " in line)
    dealt = model.encoder.regions()
    assert strongest // (2**14 // 8) in dealt[named.split()[0]]
    code, out, err = invoke("inspect", folder / "m", "-n", 3, "--log", folder / "log.parquet")
    assert (code, err) == (0, "")
    counts = command.clicks(30_000).column("site").combine_chunks().value_counts().to_pylist()
    most = max(counts, key=lambda entry: entry["counts"])
    line = next(line for line in out.splitlines() if line.startswith(f"site={most['values']} "))
    slot, weight, variance, count = line.split()[-4:]
    assert count == f"{most['counts']:,}"
    assert float(weight) == pytest.approx(model.coef_[0, int(slot)], abs=1e-4)
    one = scipy.sparse.csr_matrix(([1.0], ([0], [int(slot)])), shape=(2, 2**14))
    with_it, bias = model._model.uncertainty(Examples.from_csr(one))
    assert 0 < float(variance) < 0.1
    assert float(variance) == pytest.approx(with_it - bias, rel=1e-3)


def test_inspect_a_fixed_rate(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "m"
    command.train(folder / "log.parquet", model, "--lr", 0.1)
    code, out, err = invoke("inspect", model, "-n", 3)
    assert (code, err) == (0, "")
    assert "lr 0.1, eps 1, l1 0, l2 0" in out
    assert "bayes" not in out
    line = out.split("by effective rate, lowest first")[1].splitlines()[2]
    *_, weight, accumulator, rate = line.split()
    assert weight in [f"{value:.4f}" for value in ctr.load(model).coef_[0]]
    assert float(rate) == pytest.approx(0.1 / np.sqrt(float(accumulator) + 1), rel=1e-2)


def test_inspect_shows_what_columns_contribute(folder: Path, tmp_path: Path) -> None:
    code, out, err = invoke("inspect", folder / "m", "-n", 0, "--log", folder / "log.parquet")
    assert (code, err) == (0, "")
    assert "the first 20,000 rows once with all columns" in out
    lines = out.split("without the column")[1].splitlines()[2:6]
    assert sorted(line.split()[0] for line in lines) == ["ad", "depth", "site", "user"]
    assert lines[0].split()[0] == "site"
    assert [float(line.split()[1]) for line in lines] == sorted(
        (float(line.split()[1]) for line in lines), reverse=True
    )
    without = tmp_path / "unlabeled.parquet"
    parquet.write_table(TODAY.drop_columns([LABEL]), without)
    for log, more in ((without, ()), ("-", ("--format", "tsv"))):
        data = (folder / "today.tsv").read_bytes()
        code, out, err = invoke("inspect", folder / "m", "--log", log, *more, input=data)
        assert (code, err) == (0, "")
        assert "Features in the first 5,000 rows" in out
        assert "without the column" not in out


def test_inspect_as_json(folder: Path, tmp_path: Path) -> None:
    arguments = ("inspect", folder / "m", "-n", 4, "--json")
    code, out, err = invoke(*arguments, "--log", folder / "log.parquet")
    assert (code, err) == (0, "")
    found = json.loads(out)
    model = ctr.load(folder / "m")
    assert found["lr"] == "auto"
    assert found["experts"] == model.experts_
    assert found["progressive"] == model.progressive_
    assert sum(tenth["examples"] for tenth in found["calibration"]) == 30_000
    positives = sum(tenth["examples"] * tenth["observed"] for tenth in found["calibration"])
    assert positives == pytest.approx(model._model.progressive.sums[1])
    assert {one["column"] for one in found["contributions"]["columns"]} == {
        *model.feature_names_in_
    }
    assert len(found["features"]) == 4
    for one in found["features"]:
        assert one["weight"] == pytest.approx(model.coef_[0, one["slot"]])
        assert "=" in one["feature"]
    alone = json.loads(invoke(*arguments)[1])
    assert alone["contributions"] is alone["features"][0]["feature"] is None
    command.train(folder / "log.parquet", tmp_path / "m", "--lr", 0.1)
    fixed = json.loads(invoke("inspect", tmp_path / "m", "--json")[1])
    assert (fixed["lr"], fixed["experts"], len(fixed["features"])) == (0.1, None, 10)
    one = LogisticRegression(0.1, encoder=HashingEncoder(8)).partial_fit(
        {"a": ["x"]}, [1], classes=[0, 1]
    )
    one.save(tmp_path / "one")
    metrics = json.loads(invoke("inspect", tmp_path / "one", "--json")[1])["progressive"]
    assert metrics["auc"] is None  # of one class


def test_evaluate_on_one_class(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "ones.parquet"
    parquet.write_table(TODAY.filter(pc.equal(TODAY.column(LABEL), 1)), log)
    code, out, _ = invoke("evaluate", folder / "m", log)
    assert code == 0
    assert "nan" not in out
    said = "-  (undefined: all labels are the same)"
    assert [line.split()[0] for line in out.splitlines() if said in line] == ["normalized", "AUC"]
    found = json.loads(invoke("evaluate", folder / "m", log, "--json")[1])
    assert found["auc"] is found["normalized_entropy"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "none"], "none: No such file or directory"),
        (["predict", "m", "none.tsv"], "none.tsv: no such file"),
        (["predict", "m", "short.tsv"], "short.tsv, line 1: no column 'site'"),
        (["predict", "m", "text.tsv"], "text.tsv, line 3: "),
        (["predict", "m", "today.tsv", "-o", "x.txt"], "must end in .parquet, .csv or .tsv"),
        (["predict", "m", "today.tsv", "--keep", "user"], "--keep needs --output"),
        (["predict", "today.tsv", "today.tsv"], "today.tsv is not a safetensors file"),
        (["predict", "library", "today.tsv"], "today.tsv: the model learned from ids"),
        (["evaluate", "m", "today.tsv", "-l", "ctr"], "today.tsv, line 1: no column 'ctr'"),
        (
            ["predict", "m", "today.tsv", "--keep", "usr", "-o", "x.csv"],
            "no column 'usr'; the columns are click, site, ad, depth, user; did you mean 'user'?",
        ),
        (["inspect", "none"], "none: No such file or directory"),
    ],
)
def test_mistakes_get_one_line(
    folder: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    ctr.LogisticRegression().fit([[1.0], [0.0]], [0, 1]).save("library")
    Path("short.tsv").write_text("ad\tdepth\tuser\nx\t1\ty\n")
    Path("text.tsv").write_text("site\tad\tdepth\tuser\nx\ty\t1\tz\nx\ty\tdeep\tz\n")
    before = sorted(folder.iterdir())
    code, _, err = invoke(*arguments)
    assert code == 1
    assert err.count("\n") == 1
    assert message in err
    assert sorted(folder.iterdir()) == before
