"""The site: ``sphinx-build -W --keep-going docs docs/_build/html`` after ``pip install '.[docs]'``.

Pages are Markdown that a code host shows as well; those below textbook/ come from the programs in
examples/textbook, which the build runs. Formulas are plain text: nothing is loaded from elsewhere.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import adagrad

if TYPE_CHECKING:
    from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).with_name("_extensions")))

project = "adagrad"
release = version = adagrad.__version__
project_copyright = "the authors of adagrad"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
# Keras needs a backend, and takes one that may not be there unless it is told.
os.environ.setdefault("KERAS_BACKEND", "torch")
FRAMEWORKS = {"distributed": ["ray"], "torch": ["torch"], "keras": ["keras", "torch"]}
exclude_patterns = [
    "_build",
    # The reference of an adapter needs what it adapts to; a site without torch leaves it out.
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
html_copy_source = False
pygments_style = "tango"
pygments_dark_style = "github-dark"

# GitHub's names for headings, so that links to them work there and here.
myst_heading_anchors = 3

autodoc_typehints = "none"  # the docstrings say shapes and ranges too
autodoc_member_order = "groupwise"
# `name` in a docstring is a link where the name is known, and code where it is not.
default_role = "py:obj"
numpydoc_show_class_members = False  # autodoc has them
numpydoc_class_members_toctree = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples/textbook",
    "gallery_dirs": "textbook",
    "filename_pattern": "/",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("pictures.scrape",),
    "reset_modules": (),
    "abort_on_example_error": True,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
}


def link_gallery(app: Sphinx, docname: str, source: list[str]) -> None:
    """Point links to programs of the gallery, which a code host shows, to their pages."""
    source[0] = (
        source[0]
        .replace("](../examples/textbook/GALLERY_HEADER.rst)", "](/textbook/index.rst)")
        .replace("](../examples/textbook/", "](/textbook/")
    )
    source[0] = re.sub(r"(\]\(/textbook/[^)]*)\.py\)", r"\1.rst)", source[0])


def skip_foreign(
    app: Sphinx, what: str, name: str, member: object, skip: bool, options: object
) -> bool | None:
    """Leave out the methods that scikit-learn adds to every estimator."""
    return True if name.endswith("_request") or name == "get_metadata_routing" else None


def setup(app: Sphinx) -> None:
    """Register what has no extension of its own."""
    app.connect("source-read", link_gallery)
    app.connect("autodoc-skip-member", skip_foreign)
