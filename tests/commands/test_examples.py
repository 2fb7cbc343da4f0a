"""The examples of each command, which ``--help`` and the pages of the documentation show, run."""

from __future__ import annotations

import gzip
import importlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from checks import ROOT, need_packages

need_packages("click", "jupytext", "rich", "matplotlib", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa

import command
import console

COMMANDS = {"adagrad": command.command, **command.command.commands}
EXAMPLES = [
    (name, line)
    for name, one in COMMANDS.items()
    for line in console.lines((one.epilog or "").removeprefix("\b\nExamples:\n"))
]
TUESDAY = [
    "adagrad export monday.safetensors -o monday.score",
    "adagrad export tuesday.safetensors -o tuesday.score",
    "adagrad diff monday.score tuesday.score -o tuesday.delta",
]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "logs").mkdir()
    table = command.clicks(1500)
    hours = np.datetime64("2026-01-01T00", "s") + np.arange(len(table)) * 60
    table = table.append_column("at", pa.array(hours)).set_column(
        2, "ad", pa.array(np.arange(len(table)) % 50)
    )
    for k, name in enumerate(("day_1.tsv.gz", "day_2.tsv.gz", "clicks.tsv.gz")):
        (folder / name).write_bytes(gzip.compress(command.as_text(table.slice(500 * k, 500))))
    command.write(folder / "logs" / "day_1.parquet", table)
    command.write(folder / "today.parquet", table)
    command.write(folder / "today.tsv", table)
    ids = np.random.default_rng(0).integers(1, 124, 200)
    rows = [f"{'+-'[a % 2]}1 {a}:1 {a + 1}:1\n" for a in ids.tolist()]
    (folder / "a9a.libsvm").write_text("".join(rows))
    return folder


@pytest.fixture
def folder(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, int]:
    """Return when each file of a folder was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.parametrize(("name", "line"), EXAMPLES)
def test_an_example_runs(name: str, line: str, folder: Path) -> None:
    (context,) = console.parse(line)
    if context.params.get("ray") is not None:  # tests/distributed trains on a cluster
        return
    if context.info_name == "serve":  # until it is stopped; tests/serving does that
        return
    if "monday." in line:
        command.train("day_1.tsv.gz", folder / "monday.safetensors")
        command.train("clicks.tsv.gz", folder / "tuesday.safetensors")
        made = {"export": 0, "diff": 2, "patch": 3}[context.info_name] or "--mix-like" in line
        for earlier in TUESDAY[: int(made)]:
            console.run(earlier)
    is_trained = context.info_name != "train" or context.params["init"] is not None
    if "ctr.safetensors" in line and is_trained:
        command.train("logs", folder / "ctr.safetensors")
    before = contents(folder)
    assert console.run(line) or contents(folder) != before


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_examples_that_fit_a_terminal(name: str) -> None:
    epilog = COMMANDS[name].epilog
    assert epilog is not None
    assert epilog.startswith("\b\nExamples:\n")
    assert all(line.startswith("  ") for line in epilog.splitlines()[2:])
    assert max(map(len, epilog.splitlines())) <= 78
    assert name in {one for one, _ in EXAMPLES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_command_lines_of_a_page_have_options_that_exist(page: Path) -> None:
    for block in console.blocks(page.read_text(encoding="utf-8")):
        for line in console.lines(block):
            console.parse(line)


def test_every_command_has_a_page() -> None:
    pages = {
        page.stem: page.read_text(encoding="utf-8")
        for page in (ROOT / "docs" / "commands").glob("*.rst")
    }
    assert "adagrad.commands.group:adagrad\n" in pages.pop("index")
    assert set(pages) == set(command.command.commands)
    for name, page in pages.items():
        home, function = re.search(r"\.\. click:: (.*):(.*)", page).groups()
        assert getattr(importlib.import_module(home), function) is COMMANDS[name]
        assert f":prog: adagrad {name}\n" in page
