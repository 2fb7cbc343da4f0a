"""What a model file says of its training is checked before a command uses it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow")

import pyarrow as pa

from adagrad import TableFileError
from adagrad.ctr.learners import files
from adagrad.ctr.training.columns import schema_to_text
from adagrad.ctr.training.state import kept, saved_training, trained_with
from command import LABEL, clicks, invoke, write


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("log") / "log.tsv", clicks(2_000))


@pytest.fixture(scope="module")
def trained(log: Path) -> Path:
    path = log.with_name("m")
    code, _, err = invoke("train", log, "-l", LABEL, "-m", path, "--bits", 10, "--lr", 0.1, "-q")
    assert code == 0, err
    return path


DAMAGE = {
    "pass": (-1, 2**63, 1.0, None, "1", True),
    "rows": (-1, float("nan"), [], 10**400),
    "log": (None, {}, [[]], [["a", 1]], [[1, 2, "x"]], [["a", "1", "x"]], "log.tsv"),
    "curve": ({}, [1], [[1.0, 2.0]], [["1", 2, 3, 4, 5]], None),
    "validation": ({}, [{}], [{"logloss": 0.1}], [[0.1]]),
    "skipped": ([], {"bad label": -1}, {"bad label": "1"}),
    "schema": (None, 5, "", "=", "AAAA", "x" * 9999, {}),
    "options": (None, [], {}, {"label": 1}, {"label": "click", "bits": "10"}, {"labl": "click"}),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_training(tmp_path: Path, trained: Path, log: Path, name: str) -> None:
    learner, extra = files.read(trained)
    assert saved_training(trained, extra) == extra["training"]
    path = tmp_path / "m"
    for value in DAMAGE[name]:
        state = {**extra["training"], name: value}
        with pytest.raises(TableFileError, match="m is corrupted: what it says of its training: "):
            trained_with(path, learner, {"training": state})
    files.write(path, learner, {"training": {**extra["training"], name: DAMAGE[name][0]}})
    for command in (
        ("predict", path, log),
        ("evaluate", path, log),
        ("inspect", path),
        ("train", log, "-l", LABEL, "-m", path, "--bits", 10, "--lr", 0.1, "-q", "--resume"),
    ):
        code, out, err = invoke(*command)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert f"{path} is corrupted: what it says of its training" in err
    del state[name]
    with pytest.raises(TableFileError, match=f"training lacks {name}"):
        saved_training(path, {"training": state})


@pytest.mark.parametrize(
    "ordered", [[], None, {"sample": 1}, {"changes": 1, "expected": -1, "sample": 1}, 1]
)
def test_what_a_damaged_training_says_of_the_order(trained: Path, ordered: object) -> None:
    _, extra = files.read(trained)
    assert "ordered" not in extra["training"]
    with pytest.raises(TableFileError, match=r"m is corrupted: .*: ordered is "):
        saved_training(trained, {"training": {**extra["training"], "ordered": ordered}})


def begun(trained: Path, log: Path) -> Path:
    path = trained.with_name("begun")
    if not path.exists():
        code, _, err = invoke("train", log, "--init", trained, "-m", path, "-q")
        assert code == 0, err
    return path


def run_with(**changes: object) -> list[dict]:
    entry = {"when": "", "by": "train", "examples": 1, "passes": 1, "runs": 1}
    return [{**entry, "scores": [1.0] * 5, "log": None, "options": {}, **changes}]


INIT_DAMAGE = {
    "model": (None, 5),
    "examples": (-1, 1.5),
    "scores": ([], [1, 2, 3, 4, 5], None),
    "changed": ([], None),
    "history": (
        *(None, {}, [5], [{}]),
        *(run_with(by="hand"), run_with(when=5), run_with(examples=-1), run_with(runs=1.5)),
        *(run_with(scores=[0.5]), run_with(options=[]), run_with(log=5), run_with(log={})),
    ),
}


@pytest.mark.parametrize("name", INIT_DAMAGE)
def test_what_a_damaged_training_says_of_its_start(trained: Path, log: Path, name: str) -> None:
    path = begun(trained, log)
    _, extra = files.read(path)
    state = saved_training(path, extra)
    assert state is not None
    for value in INIT_DAMAGE[name]:
        changed = {**state, "init": {**state["init"], name: value}}
        with pytest.raises(TableFileError, match="is corrupted: what it says of its training: "):
            saved_training(path, {"training": changed})
    del changed["init"][name]
    with pytest.raises(TableFileError, match="init is "):
        saved_training(path, {"training": changed})
    good = run_with(log={"names": ["a"], "files": 2, "bytes": None, "hash": "0"})
    saved_training(path, {"training": {**state, "init": {**state["init"], "history": good}}})
    with pytest.raises(TableFileError, match="history is "):
        saved_training(path, {"history": INIT_DAMAGE["history"][0]})


@pytest.mark.parametrize("training", [None, [], "x", 5, {}])
def test_no_training(trained: Path, training: object) -> None:
    with pytest.raises(TableFileError, match="what it says of its training: training"):
        saved_training(trained, {"training": training})


def test_what_does_not_fit_the_model(trained: Path) -> None:
    learner, extra = files.read(trained)
    changed = copy.deepcopy(extra)
    changed["training"]["options"]["model_type"] = "fm"
    with pytest.raises(TableFileError, match="a model of type fm, not lr"):
        trained_with(trained, learner, changed)
    for schema, message in (
        (pa.schema([("site", pa.string())]), r"its schema lacks \['ad', 'depth', 'user'\]"),
        (pa.schema([("a", pa.string())] * 2), "a name of the schema occurs twice"),
    ):
        changed = copy.deepcopy(extra)
        changed["training"]["schema"] = schema_to_text(schema)
        with pytest.raises(TableFileError, match=message):
            trained_with(trained, learner, changed)
        with pytest.raises(TableFileError, match=message):
            trained_with(trained, learner, kept(changed))
    learner.encoder = None
    with pytest.raises(TableFileError, match="it has columns, but no encoder for them"):
        trained_with(trained, learner, extra)


@pytest.mark.parametrize(
    "columns", [None, [], {}, {"label": 1}, {"label": "click"}, {"schema": ""}]
)
def test_damaged_columns(trained: Path, columns: object) -> None:
    learner, _ = files.read(trained)
    if columns is None:
        assert trained_with(trained, learner, {"columns": None}).label is None
        return
    with pytest.raises(TableFileError, match="what it says of its training"):
        trained_with(trained, learner, {"columns": columns})


def test_what_is_kept(trained: Path) -> None:
    learner, extra = files.read(trained)
    columns = kept(extra)
    assert columns == {"columns": {"label": LABEL, "schema": extra["training"]["schema"]}}
    assert kept(columns) == columns
    for other in (None, 5, {}, {"training": 1}, {"training": {"options": 1}}, {"mine": 1}):
        assert kept(other) is None
    before = trained_with(trained, learner, extra)
    assert trained_with(trained, learner, columns)[:2] == before[:2]
