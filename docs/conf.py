"""Configure the site: ``pip install '.[docs]' && sphinx-build -W docs docs/_build/html`` builds it.

Pages are Markdown that a code host can show too. The pages in textbook/ are generated from the
programs in examples/textbook, which the build runs. Formulas are plain text, so that the site loads
nothing from other servers.
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
# Keras needs a backend, and its default may not be installed.
os.environ.setdefault("KERAS_BACKEND", "torch")
FRAMEWORKS = {"distributed": ["ray"], "torch": ["torch"], "keras": ["keras", "torch"]}
exclude_patterns = [
    "_build",
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
html_copy_source = False
pygments_style = "tango"
pygments_dark_style = "github-dark"

# Anchors of headings as GitHub generates them, so that links work there and here.
myst_heading_anchors = 3

autodoc_typehints = "none"  # the docstrings state types, with shapes and ranges
autodoc_member_order = "groupwise"
# `name` in a docstring becomes a link if the name is known, and code if it is not.
default_role = "py:obj"
numpydoc_show_class_members = False  # autodoc shows them
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
    """Replace links to the gallery's programs, which work on a code host, by links to its pages."""
    source[0] = (
        source[0]
        .replace("](../examples/textbook/GALLERY_HEADER.rst)", "](/textbook/index.rst)")
        .replace("](../examples/textbook/", "](/textbook/")
    )
    source[0] = re.sub(r"(\]\(/textbook/[^)]*)\.py\)", r"\1.rst)", source[0])


def skip_foreign(
    app: Sphinx, what: str, name: str, member: object, skip: bool, options: object
) -> bool | None:
    """Omit the methods that scikit-learn adds to every estimator."""
    return True if name.endswith("_request") or name == "get_metadata_routing" else None


def setup(app: Sphinx) -> None:
    """Register the two handlers above."""
    app.connect("source-read", link_gallery)
    app.connect("autodoc-skip-member", skip_foreign)
