"""``--weight``, ``--negative-rate`` and ``--class-weight`` of the commands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa
from pyarrow import parquet
from sklearn.metrics import log_loss, roc_auc_score

import command
from adagrad.ctr import load
from adagrad.ctr.learners import files
from command import LABEL, invoke, tensors, train

ROWS = 4_000
KINDS = [("lr",), ("lr", "--lr", "0.1"), ("ffm", "--factors", "4")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logs with weights: all rows, those of weight 0 left out, and a tenth of the negatives."""
    folder = tmp_path_factory.mktemp("weights")
    rng = np.random.default_rng(0)
    table = command.clicks(ROWS)
    y = table.column(LABEL).to_numpy()
    weights = rng.integers(0, 4, ROWS) / 2
    weighted = table.append_column("w", pa.array(weights))
    command.write(folder / "all.parquet", weighted)
    command.write(folder / "all.tsv", weighted)
    command.write(folder / "some.parquet", weighted.filter(pa.array(weights > 0)))
    command.write(folder / "plain.tsv", table)
    of_classes = pa.array(np.where(y == 1, 5.0, 0.25))
    command.write(folder / "classes.tsv", table.append_column("w", of_classes))
    kept = pa.array((y == 1) | (rng.random(ROWS) < 0.1))
    sampled = table.filter(kept)
    command.write(folder / "sampled.tsv", sampled)
    rates = pa.array(np.full(len(sampled), 0.1))
    command.write(folder / "rates.tsv", sampled.append_column("rate", rates))
    return folder


def kind(model: tuple[str, ...]) -> list[str]:
    return ["--model-type", *model]


@pytest.mark.parametrize("model", KINDS, ids=str)
@pytest.mark.usefixtures("small_batches")
def test_a_row_of_weight_0_is_absent(folder: Path, tmp_path: Path, model: tuple[str, ...]) -> None:
    for name in ("all.parquet", "some.parquet", "all.tsv"):
        train(folder / name, tmp_path / name, "--weight", "w", *kind(model))
    expected = tensors(tmp_path / "some.parquet")
    assert tensors(tmp_path / "all.parquet") == tensors(tmp_path / "all.tsv") == expected
    learner = load(tmp_path / "all.parquet")
    assert learner.n_examples_ == parquet.read_metadata(folder / "some.parquet").num_rows < ROWS
    assert "w" not in learner.encoder.fields_


@pytest.mark.parametrize("model", KINDS, ids=str)
def test_class_weights_are_weights_of_rows(
    folder: Path, tmp_path: Path, model: tuple[str, ...]
) -> None:
    said = train(folder / "classes.tsv", tmp_path / "rows", "--weight", "w", *kind(model))
    assert "weight: w\n" in said
    assert "the metrics are weighted" in said
    more = ("--class-weight", "1:5, 0:.25", *kind(model))
    said = train(folder / "plain.tsv", tmp_path / "classes", *more)
    assert "class weight: 0:0.25,1:5\n" in said
    assert tensors(tmp_path / "rows") == tensors(tmp_path / "classes")
    learner = load(tmp_path / "classes")
    assert learner.class_weight == {0: 0.25, 1: 5.0}
    assert learner.n_examples_ == ROWS
    curve = files.read(tmp_path / "classes")[1]["training"]["curve"]
    assert [point[0] for point in curve][-1] == ROWS


@pytest.mark.parametrize("model", KINDS, ids=str)
def test_a_column_of_one_rate_is_that_rate(
    folder: Path, tmp_path: Path, model: tuple[str, ...]
) -> None:
    said = train(folder / "sampled.tsv", tmp_path / "rate", "--negative-rate", 0.1, *kind(model))
    assert "negative rate: 0.1; predictions" in said
    train(folder / "rates.tsv", tmp_path / "column", "--negative-rate", "rate", *kind(model))
    assert tensors(tmp_path / "rate") == tensors(tmp_path / "column")
    assert load(tmp_path / "column").negative_rate == 0.1
    found = [
        invoke("evaluate", tmp_path / name, folder / "plain.tsv", "--json")[1]
        for name in ("rate", "column")
    ]
    assert found[0] == found[1]
    # Without the correction, predictions would be seven times the share of clicks.
    assert json.loads(found[0])["calibration"] == pytest.approx(1, abs=0.15)
    inspected = invoke("inspect", tmp_path / "rate")[1]
    assert "of which -2.30259 is for a negative rate of 0.1" in inspected
    assert re.search("^weights +--negative-rate 0.1$", inspected, re.MULTILINE)
    assert json.loads(invoke("inspect", tmp_path / "rate", "--json")[1])["negative_rate"] == 0.1


def test_rates_that_differ_weigh_against_the_usual_one(tmp_path: Path) -> None:
    """The bits are those of weights in a column, at the median rate."""
    rng = np.random.default_rng(0)
    table = command.clicks(ROWS)
    y = table.column(LABEL).to_numpy()
    rates = rng.choice([0.1, 0.4], ROWS)
    kept = (y == 1) | (rng.random(ROWS) < rates)
    weights = np.where(y == 1, np.float32(1), np.float32(0.4) / rates.astype(np.float32))
    columns = {"rate": rates, "w": weights}
    for name, column in columns.items():
        some = table.append_column(name, pa.array(column)).filter(pa.array(kept))
        command.write(tmp_path / f"{name}.parquet", some)
    train(tmp_path / "rate.parquet", tmp_path / "one", "--negative-rate", "rate")
    more = ("--negative-rate", 0.4, "--weight", "w")
    train(tmp_path / "w.parquet", tmp_path / "other", *more)
    assert tensors(tmp_path / "one") == tensors(tmp_path / "other")


@pytest.mark.parametrize("log", ["all.parquet", "all.tsv"])
def test_evaluation_weighs_as_scikit_learn_does(folder: Path, tmp_path: Path, log: str) -> None:
    train(folder / "plain.tsv", tmp_path / "m")
    table = command.clicks(ROWS)
    y = table.column(LABEL).to_numpy()
    p = load(tmp_path / "m").predict_proba(table.drop_columns([LABEL]))[:, 1]
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 4, ROWS) / 2
    code, out, err = invoke("evaluate", tmp_path / "m", folder / log, "--weight", "w", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["examples"] == (weights > 0).sum()
    assert found["weight"] == weights.sum()
    assert found["positives"] == weights[y == 1].sum()
    assert found["logloss"] == pytest.approx(log_loss(y, p, sample_weight=weights), rel=1e-6)
    assert found["auc"] == pytest.approx(roc_auc_score(y, p, sample_weight=weights), abs=2e-4)
    assert found["calibration"] == pytest.approx(
        np.average(p, weights=weights) / np.average(y, weights=weights), rel=1e-6
    )
    out = invoke("evaluate", tmp_path / "m", folder / log, "--weight", "w")[1]
    assert re.search(r"^weight +[\d,.]+\n.*% of the weight", out, re.MULTILINE)


def test_evaluation_of_a_sampled_log(folder: Path, tmp_path: Path) -> None:
    train(folder / "sampled.tsv", tmp_path / "m", "--negative-rate", 0.1)
    rate = invoke("evaluate", tmp_path / "m", folder / "rates.tsv", "--negative-rate", 0.1)[1]
    column = invoke("evaluate", tmp_path / "m", folder / "rates.tsv", "--negative-rate", "rate")[1]
    assert rate == column
    without = invoke("evaluate", tmp_path / "m", folder / "rates.tsv")[1]
    assert "weight" not in without
    assert rate != without


@pytest.mark.parametrize("value", ["-1", "nan", "x", ""])
def test_a_bad_weight_stops_or_is_counted(folder: Path, tmp_path: Path, value: str) -> None:
    lines = (folder / "all.tsv").read_text().splitlines()
    lines[100] = lines[100].rpartition("\t")[0] + f"\t{value}"
    path = tmp_path / "log.tsv"
    path.write_text("\n".join([*lines, ""]))
    how = ("train", path, "-l", LABEL, "--bits", 10, "--weight", "w", "-m")
    code, _, err = invoke(*how, tmp_path / "m")
    assert code == 1
    assert f"{path}, line 101: the weight is" in err
    code, _, err = invoke(*how, tmp_path / "n", "--skip-bad")
    assert code == 0
    kind = "bad weight" if value else "missing weight"
    assert kind in err


@pytest.mark.parametrize("more", [(), ("--class-weight", "1:2")])
def test_products_that_are_too_large_are_refused(tmp_path: Path, more: tuple[str, ...]) -> None:
    table = command.clicks(200)
    y = table.column(LABEL).to_numpy()
    weights, rates = np.where(y == 1, 2.0**48, 1.0), np.ones(200)
    row = 100 + int(np.flatnonzero(y[100:] == (1 if more else 0))[0])
    weights[:row] = 1.0
    if not more:
        weights[row], rates[row] = 2.0**40, 2.0**-20
    table = table.append_column("w", pa.array(weights)).append_column("r", pa.array(rates))
    log = command.write(tmp_path / "log.parquet", table)
    how = ("train", log, "-l", LABEL, "-m", tmp_path / "m", "--weight", "w", "--negative-rate", "r")
    code, _, err = invoke(*how, *more)
    assert code == 1
    assert "more than 2**48: scale the weights" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--negative-rate", "0"), "'0' is not above 0 and at most 1: give the share"),
        (("--negative-rate", "1.5"), "'1.5' is not above 0"),
        (("--negative-rate", "nan"), "'nan' is not above 0"),
        (("--negative-rate", "10%"), "no column '10%'; the columns are"),
        (("--weight", "v"), "no column 'v'; the columns are"),
        (("--weight", LABEL), f"'{LABEL}' cannot be the weight: it is the label"),
        (("--weight", "w", "--columns", "w,ad"), "--columns: 'w' is the weight, which is never a"),
        (("--weight", "w", "--ignore", "w"), "--ignore: 'w' is the weight, which is never a"),
        (("--class-weight", "balanced"), "balanced needs the number of clicks.*such as 0:1,1:5"),
        (("--class-weight", "2:1"), "'2:1' is not the label 0 or 1, a colon, and a weight above 0"),
        (("--class-weight", "1:0"), "'1:0' is not the label"),
        (("--class-weight", "1:5,1:6"), "the label 1 has two weights"),
        (("--class-weight", "5"), "'5' is not the label"),
        (("--ray", "local", "--weight", "w"), "--weight does not work with --ray"),
        (("--ray", "local", "--negative-rate", "w"), "--negative-rate with a column does not wor"),
    ],
)
def test_mistakes(folder: Path, tmp_path: Path, more: tuple[str, ...], message: str) -> None:
    if "--ray" in more:
        pytest.importorskip("ray")
    log = folder / "all.tsv"
    code, out, err = invoke("train", log, "-l", LABEL, "-m", tmp_path / "m", *more)
    assert (code, out) != (0, "")
    assert re.search(message, err), err
    assert not (tmp_path / "m").exists()


@pytest.mark.usefixtures("small_batches")
def test_a_training_resumes_with_its_weights(folder: Path, tmp_path: Path) -> None:
    """The broken row is repaired; other weights, or another option, are noticed."""
    lines = (folder / "all.tsv").read_text().splitlines()
    path, good, bad = tmp_path / "log.tsv", [*lines, ""], [*lines[:3_000], "?", *lines[3_001:], ""]
    path.write_text("\n".join(good))
    more = ("--weight", "w", "--class-weight", "1:2")
    how = ("train", path, "-l", LABEL, "--bits", 10, "-m", tmp_path / "m")
    assert invoke(*how[:-1], tmp_path / "whole", *more)[0] == 0
    path.write_text("\n".join(bad))
    assert invoke(*how, *more)[0] == 1
    code, _, err = invoke(*how, "--weight", "w", "--resume")
    assert code == 1
    assert "was trained with --class-weight 1:2, not without --class-weight" in err
    other = [line if k != 7 else line.rpartition("\t")[0] + "\t1.25" for k, line in enumerate(good)]
    path.write_text("\n".join(other))
    code, _, err = invoke(*how, *more, "--resume")
    assert code == 1
    assert "of this log, which have changed" in err
    path.write_text("\n".join(good))
    assert invoke(*how, *more, "--resume")[0] == 0
    assert tensors(tmp_path / "m") == tensors(tmp_path / "whole")


def test_a_model_goes_on_with_a_log_of_another_rate(folder: Path, tmp_path: Path) -> None:
    """Negatives of a complete log weigh a tenth in a model of a tenth of them."""
    train(folder / "sampled.tsv", tmp_path / "m", "--negative-rate", 0.1)
    how = ("train", folder / "plain.tsv", "--init", tmp_path / "m", "-q", "-m")
    code, _, err = invoke(*how, tmp_path / "next", "--negative-rate", 1)
    assert code == 0, err
    learner = load(tmp_path / "m")
    table = command.clicks(ROWS)
    y = table.column(LABEL).to_numpy()
    weights = np.where(y == 1, 1.0, 0.1)
    learner.partial_fit(table.drop_columns([LABEL]), y, sample_weight=weights)
    learner.save(tmp_path / "expected")
    assert tensors(tmp_path / "next") == tensors(tmp_path / "expected")


def test_rows_that_are_held_out_lack_the_same_negatives(folder: Path, tmp_path: Path) -> None:
    more = ("--negative-rate", 0.1, "--holdout-last", 0.5)
    train(folder / "sampled.tsv", tmp_path / "m", *more)
    (found,) = files.read(tmp_path / "m")[1]["training"]["validation"]
    assert found["calibration"] == pytest.approx(1, abs=0.3)


def test_labels_in_an_order_are_learned_from_a_weighted_sample(tmp_path: Path) -> None:
    table = command.clicks(ROWS).sort_by(LABEL)
    weights = pa.array(np.random.default_rng(0).integers(1, 4, ROWS))
    path = command.write(tmp_path / "log.parquet", table.append_column("w", weights))
    said = train(path, tmp_path / "m", "--weight", "w", "--class-weight", "1:2")
    assert "so the model is that of 4,000 rows" in said
    state = files.read(tmp_path / "m")[1]["training"]
    assert state["ordered"]["sample"] == ROWS
    assert state["curve"][-1][0] == ROWS
