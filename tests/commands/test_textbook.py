"""`adagrad textbook`: what it writes, what it refuses to replace, and how it opens JupyterLab."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from checks import need_packages

need_packages("click", "jupytext", "matplotlib", "scipy", "sklearn", "pyarrow")

from adagrad.commands import textbook as module
from adagrad.textbook.notebooks import notebooks
from command import invoke

TEXTS = {name: text.encode() for name, text in notebooks().items()}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: str = ".") -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("arguments", [(), ("a b/c",)])
def test_every_page_is_written(arguments: tuple[str, ...]) -> None:
    folder = (arguments or ("textbook",))[0]
    code, out, err = invoke("textbook", *arguments)
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first == f"{folder}: {len(TEXTS)} notebooks written"
    name = f"{folder}/index.ipynb"
    assert second.startswith("Open them with: ")
    assert second.endswith(f" {name}" if " " not in name else f" '{name}'")
    assert files(folder) == TEXTS


def test_a_second_time_there_is_nothing_to_write() -> None:
    invoke("textbook")
    before = Path("textbook/index.ipynb").stat().st_mtime_ns
    code, out, _ = invoke("textbook")
    assert code == 0
    assert out.startswith(f"textbook: 0 notebooks written, {len(TEXTS)} were there\n")
    assert Path("textbook/index.ipynb").stat().st_mtime_ns == before


def test_what_was_changed_is_replaced_only_if_told() -> None:
    invoke("textbook")
    changed, other, gone, *_ = (Path("textbook", name) for name in list(TEXTS)[1:])
    changed.write_text("mine")
    gone.unlink()
    before = files()
    code, out, err = invoke("textbook")
    assert (code, out) == (1, "")
    assert err == (
        f"Error: {changed} would be replaced, and differ from what would be written: give"
        " --overwrite to replace them, or another directory\n"
    )
    other.write_text("mine as well")
    assert f"{changed} and 1 more would be" in invoke("textbook")[2]
    other.write_bytes(TEXTS[other.relative_to("textbook").as_posix()])
    assert files() == before
    code, out, err = invoke("textbook", "--overwrite")
    assert (code, err) == (0, "")
    assert out.startswith(f"textbook: 2 notebooks written, {len(TEXTS) - 2} were there\n")
    assert files("textbook") == TEXTS


def test_all_are_written_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("textbook").mkdir()
    Path("textbook/exercises").write_text("a file in place of a directory")
    before = files()
    code, out, err = invoke("textbook")
    assert (code, out) == (1, "")
    assert err.startswith("Error: textbook/exercises/")
    assert err.count("\n") == 1
    assert files() == before
    assert not Path("textbook/chapter").exists()

    replacing, count = module.replacing, iter(range(100))

    def full(path: Path, size: int) -> object:
        if next(count) == 8:
            raise OSError(28, "No space left on device", str(path))
        return replacing(path, size)

    monkeypatch.setattr(module, "replacing", full)
    code, out, err = invoke("textbook", "other/deep")
    assert (code, out) == (1, "")
    assert err.endswith(": No space left on device\n")
    assert files() == before
    assert not Path("other").exists()


def test_a_file_is_no_directory() -> None:
    Path("textbook").touch()
    code, _, err = invoke("textbook")
    assert code == 2
    assert "Directory 'textbook' is a file" in err


def pretend(monkeypatch: pytest.MonkeyPatch, **installed: bool) -> None:
    """Let `find_spec` find a package or not."""
    found = importlib.util.find_spec

    def find_spec(name: str) -> object:
        return found("os" if installed[name] else "none") if name in installed else found(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def test_without_the_extra_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, jupytext=False, sklearn=False)
    code, out, err = invoke("textbook")
    assert (code, out) == (1, "")
    assert err == (
        "adagrad textbook needs jupytext, scikit-learn: pip install 'adagrad[textbook]'\n"
    )
    assert files() == {}


def test_without_jupyterlab_nothing_is_opened_or_written(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, jupyterlab=False, notebook=False)
    code, out, err = invoke("textbook", "--open")
    assert (code, out) == (1, "")
    assert err == "Error: --open needs JupyterLab: pip install jupyterlab\n"
    assert files() == {}
    assert invoke("textbook")[1].endswith(
        "\nOpen them with: pip install jupyterlab && jupyter lab textbook/index.ipynb\n"
    )


@pytest.mark.parametrize(
    ("installed", "shown"), [("jupyterlab", "jupyter lab"), ("notebook", "jupyter notebook")]
)
def test_what_is_installed_is_named(
    installed: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, **{name: name == installed for name in ("jupyterlab", "notebook")})
    assert invoke("textbook")[1].endswith(f"\nOpen them with: {shown} textbook/index.ipynb\n")


@pytest.mark.unsanitized
@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be replaced there")
def test_opening_keeps_what_was_changed(here: Path) -> None:
    package = here / "packages" / "jupyterlab"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import json, os, sys; print(json.dumps([os.getpid(), sys.argv[1:]]))"
    )
    work = here / "work"
    changed, gone = (work / "textbook" / name for name in list(TEXTS)[1:3])
    work.mkdir()
    paths = [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]

    def opened() -> str:
        process = subprocess.Popen(
            [sys.executable, "-m", "adagrad.commands.main", "textbook", "--open"],
            cwd=work,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        first, second = out.splitlines()
        # The server is this process, so that it gets the signals of the terminal.
        assert json.loads(second) == [process.pid, ["textbook/index.ipynb"]]
        return first

    assert opened() == f"textbook: {len(TEXTS)} notebooks written"
    changed.write_text("mine")
    gone.unlink()
    assert opened() == f"textbook: 1 notebook written, {len(TEXTS) - 1} were there"
    assert changed.read_text() == "mine"
    assert gone.exists()
