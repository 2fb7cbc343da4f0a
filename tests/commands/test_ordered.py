"""``adagrad train`` on a log whose labels are ordered: the model is that of a random sample."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa

import command
from adagrad import ctr, datasets
from command import LABEL, invoke, tensors, train

ROWS, HELD_OUT = 20_000, 5_000
SAID = "the labels are ordered: they change 1 time, where "


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return command.clicks(ROWS + HELD_OUT, seed=5)


@pytest.fixture(scope="module")
def known(rows: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows in a random order, beside the same rows with all negatives first, or all positives."""
    folder, some = tmp_path_factory.mktemp("logs"), rows.slice(0, ROWS)
    path = command.write(folder / "random.tsv", some)
    command.write(folder / "negatives.tsv", some.sort_by([(LABEL, "ascending")]))
    command.write(folder / "positives.tsv", some.sort_by([(LABEL, "descending")]))
    return path


@pytest.fixture(scope="module")
def new(rows: pa.Table, known: Path) -> Path:
    return command.write(known.with_name("new.tsv"), rows.slice(ROWS))


def held_out(model: Path, log: Path) -> float:
    """Return the logloss of a model on a log with its label."""
    from adagrad.ctr.logs import open_log
    from adagrad.ctr.training.evaluation import evaluate

    with open_log(log, label=LABEL) as opened:
        return evaluate(ctr.load(model), opened).metrics()["logloss"]


@pytest.fixture(scope="module")
def best(known: Path, new: Path) -> float:
    """The held-out logloss of a fixed rate on the rows in a random order."""
    model = known.with_name("best")
    assert "ordered" not in train(known, model, "--lr", 0.1)
    return held_out(model, new)


@pytest.mark.parametrize("first", ["negatives", "positives"])
@pytest.mark.parametrize("lr", ["auto", 0.1])
@pytest.mark.parametrize("model_type", ["lr", "fm", "ffm"])
def test_the_model_is_nearly_that_of_a_random_order(
    tmp_path: Path, known: Path, new: Path, best: float, model_type: str, lr: object, first: str
) -> None:
    log = known.with_name(f"{first}.tsv")
    said = train(log, tmp_path / "m", "--lr", lr, "--model-type", model_type)
    assert SAID in said
    assert "the model is that of 8,192 rows, drawn and learned once in a random order" in said
    assert "20,000 examples in 1 pass" in said
    assert held_out(tmp_path / "m", new) <= 1.1 * best
    assert ctr.load(tmp_path / "m").n_examples_ == 8_192


def test_a_real_log(tmp_path: Path) -> None:
    log = datasets.click_log()
    random = np.random.default_rng(0).permutation(len(log))
    order, new = random[:8000], random[8000:]
    write_libsvm(tmp_path / "random.libsvm", log, order)
    write_libsvm(tmp_path / "new.libsvm", log, new)
    by_label = order[np.argsort(log.labels[order], kind="stable")]
    write_libsvm(tmp_path / "ordered.libsvm", log, by_label)
    losses = {}
    for name, lr in (("random", 0.1), ("ordered", "auto")):
        how = ("-l", "label", "--lr", lr, "-m", tmp_path / name)
        code, _, err = invoke("train", tmp_path / f"{name}.libsvm", *how)
        assert code == 0, err
        assert (SAID in err) == (name == "ordered")
        code, out, err = invoke("evaluate", tmp_path / name, tmp_path / "new.libsvm", "--json")
        assert code == 0, err
        losses[name] = json.loads(out)["logloss"]
    assert losses["ordered"] <= 1.1 * losses["random"]


def write_libsvm(path: Path, log: datasets.Log, order: np.ndarray) -> None:
    lines = []
    for i in order.tolist():
        entries = range(int(log.indptr[i]), int(log.indptr[i + 1]))
        ids = " ".join(f"{log.rows[k]}:{log.values[k]}" for k in entries)
        lines.append(f"{int(log.labels[i])} {ids}\n")
    path.write_text("".join(lines))


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("model_type", ["lr", "fm"])
@pytest.mark.parametrize("lr", ["auto", 0.1])
@pytest.mark.parametrize("broken", [70, 8_200, 19_990])
def test_a_training_that_resumes(
    tmp_path: Path, known: Path, broken: int, lr: object, model_type: str
) -> None:
    """The sample is that of all rows, and so are the changes of the label."""
    how = ("--lr", lr, "--model-type", model_type, "--passes", 2)
    lines = known.with_name("negatives.tsv").read_bytes().splitlines(keepends=True)
    log = tmp_path / "log.tsv"
    log.write_bytes(b"".join([*lines[:broken], b"oops\n", *lines[broken + 1 :]]))
    code, _, err = invoke("train", log, "-l", LABEL, "--bits", 14, "-m", tmp_path / "m", *how)
    assert code == 1
    assert "--resume" in err
    assert 0 < ctr.load(tmp_path / "m").n_examples_ < broken
    log.write_bytes(b"".join(lines))
    resumed = train(log, tmp_path / "m", *how, "--resume")
    whole = train(log, tmp_path / "whole", *how)
    assert SAID in resumed
    assert SAID in whole
    assert (tmp_path / "m").read_bytes() == (tmp_path / "whole").read_bytes()


def test_no_pass_follows(tmp_path: Path, known: Path, new: Path, best: float) -> None:
    log = known.with_name("negatives.tsv")
    one = train(log, tmp_path / "one")
    three = train(log, tmp_path / "three", "--passes", 3, "--validate", new)
    assert "in 1 pass" in one
    assert "in 1 pass" in three
    assert "validation, pass 1" in three
    assert "validation, pass 2" not in three
    assert tensors(tmp_path / "one") == tensors(tmp_path / "three")
    before = (tmp_path / "one").read_bytes()
    again = train(log, tmp_path / "one", "--passes", 3, "--resume")
    assert f"{tmp_path / 'one'} is complete: 20,000 examples learned" in again
    assert SAID in again
    assert (tmp_path / "one").read_bytes() == before
    validated = train(log, tmp_path / "m", *("--passes", 3, "--early-stop", 1, "--validate", new))
    assert "the model is that of pass 1, the best" in validated
    assert held_out(tmp_path / "m", new) <= 1.1 * best


def test_the_metrics_are_those_of_the_pass(tmp_path: Path, known: Path) -> None:
    log = known.with_name("negatives.tsv")
    with command.small_batches():
        train(log, tmp_path / "small")
    train(log, tmp_path / "large", "--report", tmp_path / "page.html")
    assert tensors(tmp_path / "small") == tensors(tmp_path / "large")
    metrics = ctr.load(tmp_path / "large").progressive_
    assert metrics["logloss"] < 0.1, "almost all labels are that of the row before"
    page = (tmp_path / "page.html").read_text()
    assert SAID in page
    assert "20,000 examples learned in 1 pass" in page


def test_quiet_is_quiet(tmp_path: Path, known: Path) -> None:
    assert train(known.with_name("negatives.tsv"), tmp_path / "m", "-q") == ""
    assert ctr.load(tmp_path / "m").n_examples_ == 8_192
