"""``adagrad train``: its model equals that of the library."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa

import command
from adagrad import ctr
from adagrad.ctr.learners import files
from adagrad.ctr.training import curve as curve_module
from command import LABEL, ROWS, invoke, tensors, train


@pytest.mark.parametrize("lr", [0.1, "auto"])
def test_the_model_is_that_of_the_library(log: Path, tmp_path: Path, lr: float | str) -> None:
    train(log, tmp_path / "m", "--lr", lr)
    table = command.clicks(ROWS)
    encoder = ctr.HashingEncoder(14, ["site", "ad", "depth", "user"])
    model = ctr.LogisticRegression(lr, encoder=encoder)
    model.fit(table.drop_columns([LABEL]), table.column(LABEL).to_numpy())
    trained = ctr.load(tmp_path / "m")
    assert trained.coef_.tobytes() == model.coef_.tobytes()
    assert trained.intercept_.tobytes() == model.intercept_.tobytes()
    if lr == "auto":
        assert trained.experts_ == model.experts_
    assert trained.progressive_ == pytest.approx(model.progressive_, rel=1e-12)
    assert trained.progressive_["auc"] > 0.65


@pytest.mark.usefixtures("small_batches")
def test_the_bits_depend_on_neither_format_nor_threads(log: Path, tmp_path: Path) -> None:
    table = command.clicks(ROWS)
    text = log.read_bytes()
    (tmp_path / "log.tsv.gz").write_bytes(gzip.compress(text))
    folder = tmp_path / "parts"
    folder.mkdir()
    command.write(folder / "1.parquet", table.slice(0, 10_001))
    command.write(folder / "2.parquet", table.slice(10_001))
    train(log, tmp_path / "a", "-t", 1)
    train(tmp_path / "log.tsv.gz", tmp_path / "b", "-t", 3)
    train(folder, tmp_path / "c", "-t", 2)
    train("-", tmp_path / "d", "--format", "tsv", input=text)
    wanted = tensors(tmp_path / "a")
    assert all(tensors(tmp_path / name) == wanted for name in "bcd")


def test_flags_and_times_have_the_bits_of_any_format(tmp_path: Path) -> None:
    table = command.clicks(2000)
    flag = pa.array([i % 3 == 0 for i in range(2000)])
    seconds = pa.array(range(2000)).cast(pa.timestamp("s"))
    halves = [f"{i % 7 + 1:02}-03 12:00:00.{i % 2 * 5}" for i in range(2000)]
    spelled = {
        "True": pa.array(["True" if x else "false" for x in flag.to_pylist()]),
        "T": pa.array([str(x).replace(" ", "T") for x in seconds.to_pylist()]),
        ".5": pa.array([f"2026-{text}" for text in halves]),
    }
    typed = {"True": flag, "T": seconds, ".5": spelled[".5"].cast(pa.timestamp("us"))}
    for name, columns in (("text.tsv", spelled), ("typed.parquet", typed)):
        whole = table
        for column, values in columns.items():
            whole = whole.append_column(column, values)
        command.write(tmp_path / name, whole)
        train(tmp_path / name, tmp_path / f"{name}.m", "--lr", 0.1)
        for other in ("text.tsv", "typed.parquet"):
            if (tmp_path / other).exists():
                said = invoke("predict", tmp_path / f"{name}.m", tmp_path / other)
                assert said[0] == 0, said
    assert tensors(tmp_path / "text.tsv.m") == tensors(tmp_path / "typed.parquet.m")


def test_lines_come_at_powers_of_two(log: Path, tmp_path: Path) -> None:
    lines = train(log, tmp_path / "m", "--lr", 0.1).splitlines()
    table = [line.split() for line in lines[1:] if re.match(r" +[\d,]+  ", line)]
    assert [row[0] for row in table] == [f"{2**k:,}" for k in range(4, 15)]
    assert all(0.3 < float(row[1]) < 0.7 for row in table[6:])
    assert f"{ROWS:,} examples in 1 pass" in lines[-1]
    assert train(log, tmp_path / "m", "--quiet") == ""


def test_the_curve_takes_constant_memory(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_batches: None
) -> None:
    monkeypatch.setattr(curve_module, "MAX_POINTS", 16)
    train(log, tmp_path / "m", "--lr", 0.1)
    curve = files.read(tmp_path / "m")[1]["training"]["curve"]
    examples = [point[0] for point in curve]
    assert len(curve) <= 16
    assert examples == sorted(set(examples))
    assert examples[-1] == ROWS


@pytest.mark.parametrize("kind", ["fm", "ffm"])
def test_factorization_machines(log: Path, tmp_path: Path, kind: str) -> None:
    train(log, tmp_path / "m", "--model-type", kind, "-k", 4, "--lr", 0.1)
    model = ctr.load(tmp_path / "m")
    assert model._model.settings.kind == kind
    assert model._model.settings.factors == 4
    assert model.progressive_["normalized_entropy"] < 1


def test_a_half_life_reaches_the_model(log: Path, tmp_path: Path) -> None:
    said = train(log, tmp_path / "m", "--half-life", 1000)
    model = ctr.load(tmp_path / "m")
    assert (model.half_life, model._model.settings.half_life) == (1000.0, 1000.0)
    for expert in model.experts_:
        assert f" {expert['weight']:.2f} {expert['name']}" in said
    train(log, tmp_path / "remembers")
    assert tensors(tmp_path / "m") != tensors(tmp_path / "remembers")
    for name, rule, half_life in (
        ("m", "a mixture of experts, half-life 1000", 1000.0),
        ("remembers", "a mixture of experts", None),
    ):
        assert f"rule        none: lr auto, {rule}\n" in invoke("inspect", tmp_path / name)[1]
        found = json.loads(invoke("inspect", tmp_path / name, "--json")[1])
        assert found["half_life"] == half_life


def test_options_reach_the_model(log: Path, tmp_path: Path) -> None:
    options = ["--preset", "torch", "--lr", 0.2, "--l1", 1e-4, "--l2", 1e-5]
    fields = ["--ignore", "user", "--categorical", "depth", "--cross", "site*ad"]
    train(log, tmp_path / "m", *options, *fields)
    model = ctr.load(tmp_path / "m")
    settings = model._model.settings
    rule = settings.fixed_rule
    assert (rule.lr, rule.eps, rule.eps_position) == (0.2, 1e-10, "outside")
    assert (settings.l1, settings.l2) == (1e-4, 1e-5)
    assert model.encoder.fields_ == {
        "site": "categorical",
        "ad": "categorical",
        "depth": "categorical",
    }
    assert list(model.encoder.crosses) == [["site", "ad"]]


def test_passes_and_validation(log: Path, tmp_path: Path) -> None:
    held = command.write(tmp_path / "held.parquet", command.clicks(5_000, seed=1))
    once = train(log, tmp_path / "m", "--validate", held)
    twice = train(log, tmp_path / "n", "--validate", held, "--passes", 2)
    lines = re.findall(r"^(?:progressive|validation).*$", twice, re.M)
    assert len(lines) == 3
    assert lines[0] in once, "a second pass does not count as progressive"
    assert lines[1] in once
    assert ctr.load(tmp_path / "n").n_examples_ == 2 * ROWS
    code, out, _ = invoke("evaluate", tmp_path / "n", held)
    assert code == 0
    assert lines[2].split()[4] in out


def test_early_stopping_keeps_the_best(tmp_path: Path, small_batches: None) -> None:
    log = command.write(tmp_path / "log.tsv", command.clicks(3_000))
    held = command.write(tmp_path / "held.parquet", command.clicks(3_000, seed=1))
    options = ("--lr", 0.5, "--validate", held, "--passes", 20, "--checkpoint-every", 640)
    said = train(log, tmp_path / "m", *options, "--early-stop", 2)
    losses = [float(line.split()[4]) for line in said.splitlines() if "validation, pass" in line]
    best = int(np.argmin(losses)) + 1
    assert len(losses) == best + 2 < 20
    assert f"the model is that of pass {best}, the best" in said
    train(log, tmp_path / "best", *options[:-4], "--passes", best)
    assert tensors(tmp_path / "m") == tensors(tmp_path / "best")
    tables = command.clicks(3_000), command.clicks(3_000, seed=1)
    encoder = ctr.HashingEncoder(14, ["site", "ad", "depth", "user"])
    model = ctr.LogisticRegression(0.5, encoder=encoder, passes=20)
    (x, y), validation = ((t.drop_columns([LABEL]), t.column(LABEL).to_numpy()) for t in tables)
    model.fit(x, y, validation=validation)
    assert ctr.load(tmp_path / "m").coef_.tobytes() == model.coef_.tobytes()
    # A resumed training continues from the best model, and so repeats the passes after it.
    before = (tmp_path / "m").read_bytes()
    train(log, tmp_path / "m", *options, "--early-stop", 2, "--resume")
    assert (tmp_path / "m").read_bytes() == before


def test_libsvm_ids_are_slots_where_they_fit(tmp_path: Path) -> None:
    import scipy.sparse

    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(1000, size=(3000, 4)), axis=1)
    y = (rng.random(3000) < np.where(ids[:, 0] < 100, 0.7, 0.2)).astype(int)
    big = 2**40 + ids[:, :1]
    lines = (
        f"{2 * label - 1} " + " ".join(f"{i}:0.5" for i in (*row, *far))
        for label, row, far in zip(y.tolist(), ids.tolist(), big.tolist(), strict=True)
    )
    (tmp_path / "log.svm").write_text("\n".join(lines) + "\n")
    train(tmp_path / "log.svm", tmp_path / "m", "--lr", 0.1)
    hashed = np.array(
        [[(i * 0x9E3779B97F4A7C15 % 2**64) >> 50 for i in row] for row in big.tolist()]
    )
    columns = np.concatenate([ids, hashed], axis=1)
    matrix = scipy.sparse.csr_matrix(
        (np.full(columns.size, 0.5), columns.ravel(), np.arange(3001) * 5), shape=(3000, 1 << 14)
    )
    model = ctr.LogisticRegression(0.1).fit(matrix, y)
    assert ctr.load(tmp_path / "m").coef_.tobytes() == model.coef_.tobytes()
    code, out, err = invoke("predict", tmp_path / "m", tmp_path / "log.svm")
    assert code == 0, err
    np.testing.assert_allclose(
        np.array(out.split(), float), model.predict_proba(matrix)[:, 1], rtol=1e-6
    )


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in KiB on Linux")
def test_memory_does_not_grow_with_the_log(tmp_path: Path, log: Path) -> None:
    code = (
        "import resource, sys; from adagrad.commands.group import adagrad;"
        "adagrad(sys.argv[1:], standalone_mode=False);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for copies in (6, 18):
        paths = [log] * copies
        process = subprocess.run(
            [
                *(sys.executable, "-c", code, "train", *paths),
                *("-l", LABEL, "-m", tmp_path / f"m{copies}"),
            ],
            capture_output=True,
            check=True,
            timeout=120,
        )
        peaks.append(int(process.stdout))
    assert peaks[1] < peaks[0] * 1.15 + 8192, peaks
