"""The textbook's pages as notebooks: complete, linked, and they run."""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from checks import ROOT, need_packages

need_packages("jupytext", "nbformat", "matplotlib", "scipy", "sklearn")

import jupytext
import nbformat

from adagrad.textbook import notebooks as module
from adagrad.textbook.notebooks import DOCUMENTATION, PAGES, REPOSITORY, notebooks

NOTEBOOKS = notebooks()
NAMES = list(NOTEBOOKS)


def read(name: str) -> Any:
    notebook = nbformat.reads(NOTEBOOKS[name], as_version=4)
    nbformat.validate(notebook)
    return notebook


def sources(name: str, kind: str) -> list[str]:
    return [cell.source for cell in read(name).cells if cell.cell_type == kind]


def links(name: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", "\n".join(sources(name, "markdown")))


def test_there_is_one_for_each_page_and_an_index():
    pages = {path.relative_to(PAGES).with_suffix(".ipynb") for path in PAGES.rglob("*.py")}
    assert set(map(Path, NAMES)) == {Path("index.ipynb"), *pages}
    assert len(pages) >= 11


def test_the_same_version_writes_the_same():
    assert list(notebooks().items()) == list(NOTEBOOKS.items())


def test_the_index_lists_every_page_once_in_their_order():
    assert sources("index.ipynb", "code") == []
    (text,) = sources("index.ipynb", "markdown")
    assert re.findall(r"^- \[.+\]\((.+\.ipynb)\)$", text, re.MULTILINE) == NAMES[1:]
    assert {link for link in links("index.ipynb") if link.endswith(".ipynb")} == set(NAMES[1:])
    assert "toctree" not in NOTEBOOKS["index.ipynb"]


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_notebook_is_its_page_after_one_cell_that_installs(name):
    install, *code = sources(name, "code")
    assert read(name).cells[0].source == install
    assert install.count("%pip install") == 1
    assert not any("%pip" in cell for cell in code)
    page = (PAGES / name).with_suffix(".py")
    original = [cell for cell in jupytext.read(page).cells if cell.cell_type == "code"]
    assert code == [cell.source for cell in original]
    first, *_ = sources(name, "markdown")
    assert first.startswith("# ")
    assert 'r"""' not in first


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_what_is_there(name):
    for link in links(name):
        target, _, _ = link.partition("#")
        if link.startswith(DOCUMENTATION):
            page = ROOT / "docs" / target.removeprefix(f"{DOCUMENTATION}/")
            assert page.with_suffix(".md").exists() or page.with_suffix(".rst").exists(), link
        elif "://" not in link and target:
            assert posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) in NAMES


def test_links_lead_to_notebooks_and_to_the_site(tmp_path, monkeypatch):
    (tmp_path / "chapter").mkdir()
    (tmp_path / "index.md").write_text("# Index\n")
    (tmp_path / "chapter" / "1_one.py").write_text(
        '# %% [markdown]\nr"""\n# One\n[a](2_two.py) [b](../exercises/3_x.py#the-end)'
        " [c](../index.md) [d](../../contract.md#order) [e](../../api/torch.rst)"
        ' [f](https://d2l.ai/a.md) [g](#one) $g[i](t)$\n"""\n'
    )
    monkeypatch.setattr(module, "PAGES", tmp_path)
    (cell,) = nbformat.reads(notebooks()["chapter/1_one.ipynb"], as_version=4).cells[1:]
    assert cell.source == (
        "# One\n[a](2_two.ipynb) [b](../exercises/3_x.ipynb#the-end) [c](../index.ipynb)"
        f" [d]({DOCUMENTATION}/contract.html#order) [e]({DOCUMENTATION}/api/torch.html)"
        " [f](https://d2l.ai/a.md) [g](#one) $g[i](t)$"
    )


def test_the_addresses_are_those_of_the_project():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    urls = dict(re.findall(r'^(Documentation|Source) = "(.*)"$', text, re.M))
    assert f"{urls['Documentation']}/en/latest" == DOCUMENTATION
    assert urls["Source"] == REPOSITORY


@pytest.mark.parametrize("missing", [True, False])
def test_the_first_cell_installs_from_the_repository_if_adagrad_is_missing(missing, monkeypatch):
    need_packages("IPython", "packaging")
    from IPython.core.inputtransformer2 import TransformerManager
    from packaging.requirements import Requirement

    if missing:
        monkeypatch.setitem(sys.modules, "adagrad", None)
    ran: list[tuple[str, str]] = []
    shell = SimpleNamespace(run_line_magic=lambda *arguments: ran.append(arguments))
    code = TransformerManager().transform_cell(sources(NAMES[1], "code")[0])
    exec(code, {"get_ipython": lambda: shell})
    if not missing:
        assert ran == []
        return
    ((magic, line),) = ran
    wanted = Requirement(re.fullmatch(r'install --quiet "(.*)"', line)[1])
    assert magic == "pip"
    assert (wanted.name, wanted.extras, wanted.url) == (
        "adagrad",
        {"textbook"},
        f"git+{REPOSITORY}",
    )


@pytest.mark.unsanitized
def test_a_notebook_runs_from_top_to_bottom(tmp_path):
    """One is enough: tests/project runs all pages."""
    need_packages("nbclient", "ipykernel")
    from nbclient import NotebookClient

    notebook = read("exercises/3_gershgorin.ipynb")
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    shown = {kind for cell in code for output in cell.outputs for kind in output.get("data", ())}
    assert "image/svg+xml" in shown
    assert not list(tmp_path.iterdir())
