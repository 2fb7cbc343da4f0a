"""Configure the site: ``pip install '.[docs]' && sphinx-build -W docs docs/_build/html`` builds it.

Guides are Markdown that a code host can show too. The pages in textbook/ are copies of those that
the package has; the build runs them. MathJax is a part of the site, which loads nothing from other
servers.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import adagrad
from adagrad.textbook.notebooks import REPOSITORY

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
PAGES = Path(adagrad.__file__).parent / "textbook" / "pages"
# Sphinx reads only what is below its own folder.
shutil.rmtree(HERE / "textbook", ignore_errors=True)
shutil.copytree(PAGES, HERE / "textbook", ignore=shutil.ignore_patterns("__pycache__", "ruff.toml"))

sys.path.insert(0, str(HERE / "_extensions"))

project = "adagrad"
release = version = adagrad.__version__
project_copyright = "the authors of adagrad"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx-mathjax-offline",
    "command_pages",
    "notebook_downloads",
    "punctuation",
    "reference_pages",
]
# `sphinx-build -b spelling` checks the words of all pages where its extension is installed.
if importlib.util.find_spec("sphinxcontrib.spelling"):
    extensions.append("sphinxcontrib.spelling")
# Keras needs a backend, and its default may not be installed.
os.environ.setdefault("KERAS_BACKEND", "torch")
# For the matrices of the pages, threads of BLAS wait longer than they compute.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
FRAMEWORKS = {"distributed": ["ray"], "torch": ["torch"], "keras": ["keras", "torch"]}
exclude_patterns = [
    "_build",
    "_extensions",
    "conf.py",
    # The reference of an adapter can only be built where its framework is installed.
    *(
        f"api/{page}.rst"
        for page, needed in FRAMEWORKS.items()
        if not all(map(importlib.util.find_spec, needed))
    ),
]

html_theme = "furo"
html_title = f"adagrad {release}"
html_static_path = ["_static"]
html_css_files = ["adagrad.css"]
html_favicon = "_static/icon.svg"
html_copy_source = False
pygments_style = "tango"
pygments_dark_style = "github-dark"

# Anchors of headings as GitHub generates them, so that links work there and here.
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
myst_dmath_double_inline = True

autodoc_typehints = "none"  # the docstrings state types, with shapes and ranges
autodoc_member_order = "groupwise"
# `name` in a docstring becomes a link if the name is known, and code if it is not.
default_role = "py:obj"
numpydoc_show_class_members = False  # autodoc shows them
numpydoc_class_members_toctree = False

nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True

linkcheck_ignore = [REPOSITORY]  # a page may lead to a file that is not published yet
linkcheck_retries = 3

spelling_lang = "en_US"
spelling_word_list_filename = "words.txt"
spelling_show_suggestions = True
spelling_ignore_contributor_names = False  # they depend on the history, which an sdist lacks
spelling_warning = True
spelling_ignore_importable_modules = False  # which differ from machine to machine
# Output of a cell counts as code there.
nb_mime_priority_overrides = [("spelling", "text/plain", 0)]


def link_sources(app: Sphinx, docname: str, source: list[str]) -> None:
    """Lead links to files to the pages of the textbook and to the repository."""
    source[0] = source[0].replace("](../python/adagrad/textbook/pages/", "](textbook/")
    source[0] = source[0].replace("](../examples/", f"]({REPOSITORY}/blob/main/examples/")


def skip_foreign(
    app: Sphinx, what: str, name: str, member: object, skip: bool, options: object
) -> bool | None:
    """Omit what scikit-learn adds to every estimator, and fields of named tuples."""
    doc = getattr(member, "__doc__", None) or ""
    foreign = name.endswith("_request") or name == "get_metadata_routing"
    return True if foreign or doc.startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Register the two handlers above."""
    app.connect("source-read", link_sources)
    app.connect("autodoc-skip-member", skip_foreign)
