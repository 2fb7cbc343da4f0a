"""The textbook's pages as Jupyter notebooks. Needs jupytext."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

__all__ = ["notebooks"]

PAGES = Path(__file__).with_name("pages")
DOCUMENTATION = "https://adagrad.readthedocs.io/en/latest"
REPOSITORY = "https://github.com/adagrad/adagrad"
# No index of packages is asked for adagrad: under this name it may have another one.
INSTALL = f"""\
# Installs adagrad where it is missing: a C++ compiler builds it in a few minutes.
try:
    import adagrad
except ModuleNotFoundError:
    %pip install --quiet "adagrad[textbook] @ git+{REPOSITORY}"
"""

PYTHON = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
LINK = re.compile(r"(?<=\]\()([^)\s:#]+)\.(?:py|md|rst)(?=[)#])")
TOCTREE = re.compile(r"```\{toctree\}\n(?P<options>(?::.*\n)*)\n(?P<names>(?:\S+\n)*)```")


def notebooks() -> dict[str, str]:
    """Return the textbook's pages as notebooks that have not run.

    Returns
    -------
    dict of str to str
        The contents of the files, by relative path with ``/``: ``index.ipynb`` first, then the
        pages in their order. The same version of adagrad always returns the same texts.
    """
    pages = {
        path.relative_to(PAGES).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(PAGES.rglob("*.py"))
    }
    cells = {name: jupytext.reads(text, fmt="py:percent").cells for name, text in pages.items()}
    titles = {name: found[0].source.splitlines()[0].lstrip("# ") for name, found in cells.items()}
    index = (PAGES / "index.md").read_text(encoding="utf-8")
    index = TOCTREE.sub(lambda toctree: _contents(toctree, titles), index)
    found = {"index.ipynb": _notebook("index", [new_markdown_cell(index.strip())])}
    for name in titles:
        found[f"{name}.ipynb"] = _notebook(name, [new_code_cell(INSTALL.strip()), *cells[name]])
    return found


def _contents(toctree: re.Match[str], titles: dict[str, str]) -> str:
    """Return a heading and a list of links in place of a table of contents of Sphinx."""
    caption = re.search(r":caption: (.*)", toctree["options"])
    lines = [] if caption is None else [f"## {caption[1]}", ""]
    for pattern in toctree["names"].split():
        matching = [name for name in titles if PurePosixPath(name).match(pattern)]
        lines += [f"- [{titles[name]}]({name}.py)" for name in matching]
    return "\n".join(lines)


def _notebook(name: str, cells: list[Any]) -> str:
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # by default it is random
        cell.metadata = nbformat.NotebookNode()  # of jupytext, and of the site
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(lambda link: _target(name, link[1]), cell.source)
    text: str = nbformat.writes(new_notebook(cells=cells, metadata=PYTHON))
    return text + "\n"


def _target(name: str, link: str) -> str:
    """Return where a link of a page leads: to another notebook, or to a page of the site."""
    path = posixpath.normpath(posixpath.join("textbook", posixpath.dirname(name), link))
    if path.startswith("textbook/"):
        return f"{link}.ipynb"
    return f"{DOCUMENTATION}/{path}.html"
