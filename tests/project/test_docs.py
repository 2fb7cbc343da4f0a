"""The documentation is true: docstring examples, the code of pages and programs, the tables."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
import os
import re
import runpy
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import adagrad
from checks import ROOT, need_packages

# Blocks of Python in each page.
CODE = {
    "README.md": 4,
    "docs/click-logs.md": 2,
    "docs/contract.md": 6,
    "docs/embedding-bags.md": 8,
    "docs/export-format.md": 2,
    "docs/getting-started.md": 3,
    "docs/tables.md": 3,
    "docs/torch.md": 3,
}
LEARNERS = ("pyarrow", "scipy", "sklearn")
PACKAGE = Path(adagrad.__file__).parent
TEXTBOOK = PACKAGE / "textbook" / "pages"
PAGES = sorted(TEXTBOOK.rglob("*.py"))
# Runs with any of these, or with none.
PROGRAMS, FRAMEWORKS = TEXTBOOK / "chapter" / "6_programs.py", ("torch", "tensorflow", "keras")
# Modules whose docstrings have examples. Examples of Keras and Ray run in the tests of those.
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path not in PAGES
    and "\n    >>> " in path.read_text(encoding="utf-8")
    and path.relative_to(PACKAGE).parts[0] not in ("distributed", "keras")
)


def need_torch():
    need_packages("torch")
    importlib.import_module("torch").sparse.check_sparse_tensor_invariants.disable()


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    if name.startswith("torch."):
        need_torch()
    if name.startswith("ctr.") or name == "_synthetic":
        need_packages(*LEARNERS)
    module = importlib.import_module(f"adagrad.{name}")
    finder = doctest.DocTestFinder()
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in finder.find(module, globs={"adagrad": adagrad, "np": np}):
        runner.run(test)
    assert runner.failures == 0


def test_examples_were_found():
    assert ">>>" in adagrad.step.__doc__
    assert ">>>" in adagrad.Rule.__doc__


@pytest.mark.parametrize("name", adagrad.__all__)
def test_every_public_name_is_documented(name):
    if name != "__version__":
        doc = inspect.getdoc(getattr(adagrad, name))
        assert doc
        assert len(doc) > 20


@pytest.mark.parametrize(("page", "count"), CODE.items())
def test_code_runs(page, count, tmp_path, monkeypatch):
    if page in ("docs/embedding-bags.md", "docs/torch.md"):
        need_torch()
    if page in ("README.md", "docs/click-logs.md"):
        need_packages(*LEARNERS)
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == count
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks), {})


def test_no_page_with_code_is_left_out():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    found = {
        page.relative_to(ROOT).as_posix()
        for page in pages
        if "```python" in page.read_text(encoding="utf-8")
    }
    # Which tests/keras, test_daily.py, test_recipes.py, test_sharded_table.py and
    # test_distributed.py run.
    elsewhere = (
        "daily",
        "elsewhere",
        "keras",
        "recipes",
        "sharded-tables",
        "distributed-training",
        "shipping",
    )
    assert found == set(CODE) | {f"docs/{page}.md" for page in elsewhere}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_textbook_page(page, tmp_path, monkeypatch, capsys):
    needed = ("matplotlib", "scipy", "sklearn")
    need_packages(*needed)
    monkeypatch.chdir(tmp_path)
    if page == PROGRAMS:
        for name in FRAMEWORKS:
            monkeypatch.setitem(sys.modules, name, None)
    with mock.patch.dict(os.environ):
        runpy.run_path(str(page))  # which asserts what its text says
    assert capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    source = page.read_text(encoding="utf-8")
    assert source.startswith('# %% [markdown]\nr"""\n# ')
    assert "\n## References\n" in source


def test_textbook_has_every_part():
    names = [page.relative_to(TEXTBOOK).with_suffix("").as_posix() for page in PAGES]
    assert [name.split("_")[0] for name in names] == [
        *(f"chapter/{number}" for number in (1, 2, 3, "3b", 4, 5, 6)),
        *(f"exercises/{number}" for number in range(1, 7)),
    ]


def test_every_public_module_has_a_page():
    folder = ROOT / "docs" / "api"
    pages = {
        re.search(r"automodule:: (\S+)", page.read_text(encoding="utf-8"))[1]: page.stem
        for page in folder.glob("*.rst")
    }
    assert all(name.split(".")[-1] == stem for name, stem in pages.items())
    public = {"adagrad", "adagrad.ctr", "adagrad.analysis", "adagrad.plotting", "adagrad.datasets"}
    public |= {"adagrad.convert", "adagrad.keras", "adagrad.textbook", "adagrad.torch"}
    public |= {"adagrad.distributed", "adagrad.serving"}
    assert set(pages) == public


def test_readme_has_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = re.search(r"```console\n(.*?)```", text, re.DOTALL).group(1)
    assert first.splitlines() == [
        "$ pip install '.[ctr]' && adagrad demo",
        "$ pip install '.[test]' && pytest",
    ]


@pytest.mark.parametrize("name", adagrad.presets())
def test_presets_table(name):
    text = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `{name}`[^|]*\|(.*)\|$", text, re.MULTILINE).group(1)
    update, lr, eps, start, duplicates, _ = (cell.strip(" `") for cell in row.split("|"))
    rule = adagrad.preset(name, **({"lr": 1.0} if lr == "required" else {}))
    assert lr == "required" or float(lr) == rule.lr
    assert float(eps) == rule.eps
    assert float(start) == rule.initial_accumulator
    assert duplicates == rule.duplicates
    d = r"\sqrt s" if rule.eps == 0 else r"\sqrt{s + \epsilon}"
    d = d if rule.eps_position == "inside" else r"\sqrt s + \epsilon"
    orders = {
        "lr*g/d": rf"w - \dfrac{{\eta g}}{{{d}}}$",
        "g/d*lr": rf"w - \eta \dfrac{{g}}{{{d}}}$",
        "lr/d*g": rf"w - \dfrac{{\eta}}{{{d}}} g$",
    }
    assert orders[rule.evaluation] in re.sub(r"\\Bigl\(| \+ \\lambda w\\Bigr\)", "", update)
    assert ("*lagged*" in update) == rule.lagged
    assert ("*by row*" in update) == (rule.accumulator == "row")


def test_storage_table():
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    _, *rows = re.findall(r"^\| (`.*)\|$", text, re.MULTILINE)
    assert len(rows) == 4
    for row in rows:
        dtypes, state, *sizes = (cell.strip(" `") for cell in row.split("|"))
        for dtype in re.split("`, `", dtypes):
            kind = dtype if state == "the same" else state
            for size, (dim, shape) in zip(
                sizes, ((1, "element"), (16, "element"), (16, "row")), strict=True
            ):
                table = adagrad.Table(10, dim, dtype=dtype, state=shape, state_dtype=kind)
                assert table.nbytes == 10 * int(size)


def test_presets_table_has_no_other_rows():
    text = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    table = text.split("## ")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(adagrad.presets())


@pytest.mark.parametrize(
    "page",
    [*(ROOT / "docs").glob("*.md"), TEXTBOOK / "index.md", *PAGES],
    ids=lambda page: page.stem,
)
def test_no_text_is_a_comment(page):
    """The site leaves out a line of Markdown that begins with a percent sign."""
    assert not re.findall(r"^\s*%.*", page.read_text(encoding="utf-8"), re.MULTILINE)


def test_changelog_and_links():
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), (page.name, link)
    assert f"## {adagrad.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
