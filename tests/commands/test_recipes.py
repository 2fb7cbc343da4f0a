"""Each recipe of the documentation runs on the files that the head of its page writes."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import toolchain
from checks import ROOT, need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import console

HEAD, *RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").split("\n## ")

pytestmark = [
    pytest.mark.unsanitized,
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]


def play(text: str) -> None:
    """Run the blocks of a recipe in the working directory, with no names but its own."""
    names: dict[str, Any] = {"__name__": "recipe"}
    for language, block in re.findall(r"```(python|console)\n(.*?)```", text, re.DOTALL):
        if language == "python":
            exec(compile(block, text.splitlines()[0], "exec"), names)
            continue
        for line in console.lines(block):
            if line.startswith("adagrad "):
                console.run(line)
            else:
                # Without -O2, which takes twice the time to compile.
                line = re.sub(r"^c\+\+ (.*) -O2", rf"{toolchain.compiler()} \1", line)
                line = re.sub(r'"\$\(python -c .*?\)"', str(ROOT / "cpp"), line)
                subprocess.run(line, shell=True, check=True, timeout=120)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the head of the page writes."""
    folder = tmp_path_factory.mktemp("recipes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        play(HEAD)
    return folder


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.splitlines()[0])
def test_a_recipe_runs(
    recipe: str,
    logs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "import torch" in recipe:
        need_packages("torch")
        importlib.import_module("torch").sparse.check_sparse_tensor_invariants.disable()
    if "to_pandas" in recipe:
        need_packages("pandas")
    shutil.copytree(logs, tmp_path, dirs_exist_ok=True)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    play(recipe)


def test_the_page_on_shipping_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    play((ROOT / "docs" / "shipping.md").read_text(encoding="utf-8"))


def test_every_recipe_has_its_parts() -> None:
    assert len(RECIPES) == 13
    for recipe in RECIPES:
        title, *_ = recipe.splitlines()
        assert re.match(r"How do I .*\?$", title)
        assert "**Expect** " in recipe
        assert "**Why" in recipe
        assert "```python" in recipe or "```console" in recipe
