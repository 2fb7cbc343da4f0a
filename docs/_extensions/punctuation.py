"""Keep a formula and the punctuation after it on one line, which browsers otherwise part."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MARKS = re.compile(r"[.,;:?!)\]’”]+|-\w+[.,;:?!)]*")  # as after $x$, and $k$-th


class KeepPunctuation(SphinxPostTransform):
    """Put each formula and the marks after it into an element of class ``together``."""

    default_priority = 900
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Change the document in place."""
        for formula in list(self.document.findall(nodes.math)):
            parent, at = formula.parent, formula.parent.index(formula)
            text = parent[at + 1] if at + 1 < len(parent) else None
            marks = MARKS.match(text) if isinstance(text, nodes.Text) else None
            if marks:
                together = nodes.inline("", "", formula, nodes.Text(marks[0]), classes=["together"])
                parent[at : at + 2] = [together, nodes.Text(text[marks.end() :])]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_post_transform(KeepPunctuation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
