"""Offer each page of the textbook as a notebook, as ``adagrad textbook`` writes it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes

from adagrad.textbook.notebooks import notebooks

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FOLDER = "textbook/"
LINK = '<p class="notebook"><a href="{}" download>Download this page as a notebook</a></p>'


@functools.cache
def files() -> dict[str, str]:
    """Return the notebooks to offer by the names of their pages, without suffix."""
    return {
        FOLDER + name.removesuffix(".ipynb"): text
        for name, text in notebooks().items()
        if name != "index.ipynb"
    }


def link(app: Sphinx, doctree: nodes.document) -> None:
    """Put a link below the title of a page."""
    page = app.env.docname
    if page in files():
        title = next(iter(doctree.findall(nodes.title)))
        html = LINK.format(page.rpartition("/")[2] + ".ipynb")
        title.parent.insert(title.parent.index(title) + 1, nodes.raw("", html, format="html"))


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the notebooks beside their pages."""
    if error is None and app.builder.format == "html":
        for page, text in files().items():
            Path(app.outdir, f"{page}.ipynb").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the two handlers."""
    app.connect("doctree-read", link)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
