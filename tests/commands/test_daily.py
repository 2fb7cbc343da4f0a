"""The page about a model that learns every day: its commands, its script and its program run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from checks import ROOT, TESTS, need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import command
import console
import fuzz
import toolchain
from adagrad.ctr import load

PAGE = (ROOT / "docs" / "daily.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

pytestmark = pytest.mark.unsanitized


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("daily")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(PYTHON[0], "daily.md", "exec"), {})
    return folder / "logs"


@pytest.fixture
def place(logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "logs").symlink_to(logs)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_more_day(place: Path) -> None:
    first, *_ = console.blocks(PAGE)
    *trainings, inspection = console.lines(first)
    for line in trainings:
        console.run(line)
    assert "2  2026-03-02.parquet" in console.run(inspection)
    options = ("-l", "click", "--bits", 16, "-q")
    code, _, err = command.invoke(
        "train", *sorted((place / "logs").iterdir())[:2], *options, "-m", "whole"
    )
    assert code == 0, err
    assert command.tensors(Path("whole")) == command.tensors(Path("ctr.safetensors"))


def test_the_program(place: Path) -> None:
    program = compile(PYTHON[1], "daily.md", "exec")
    exec(program, {})
    models = sorted((place / "models").glob("*.safetensors"))
    assert [load(path).n_examples_ for path in models] == [5_025, 10_050, 15_075, 20_100]
    assert load(models[0]).half_life == 10_000
    losses = [json.loads(path.read_text())["logloss"] for path in models[0].parent.glob("*.json")]
    assert len(losses) == 3
    assert min(losses) > 0
    models[3].unlink()  # as if the program had been killed
    before = models[2].read_bytes()
    exec(program, {})
    assert load(models[3]).n_examples_ == 20_100
    assert models[2].read_bytes() == before
    *_, block = console.blocks(PAGE)
    for line in console.lines(block):
        console.run(line)
    assert load("next.safetensors").n_examples_ == 20_100


@pytest.mark.skipif(sys.platform == "win32", reason="runs a shell script, and forks")
def test_the_script_killed_at_any_moment(tmp_path: Path) -> None:
    """No day is lost or learned twice, and only models of whole days are there.

    ``ADAGRAD_FUZZ=50`` asks for more kills.
    """
    seeds = fuzz.seeds(4)
    script = TESTS / "helpers" / "daily_kills.py"
    counts = json.loads(toolchain.run(sys.executable, script, tmp_path, *map(str, seeds)))
    assert counts["struck"] > 0, "some of them must be at work"
    print(counts)
    quality = tmp_path / "whole" / "quality"
    assert json.loads((quality / "day_0.tsv.json").read_text()) is None
    code, out, _ = command.invoke(
        "evaluate", tmp_path / "whole" / "model.safetensors", tmp_path / "logs/day_2.tsv", "--json"
    )
    assert code == 0
    before = json.loads((quality / "day_2.tsv.json").read_text())
    assert json.loads(out)["logloss"] < before["logloss"], "it is measured before it is learned"
