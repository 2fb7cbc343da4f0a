"""Begin the page of a module with a table of its names, so that a reader finds the one to read."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def summarize(
    app: Sphinx, what: str, name: str, module: Any, options: object, lines: list[str]
) -> None:
    """Append a table of a module's public names, with the first line of each, to its text."""
    if what != "module":
        return
    lines += ["", ".. list-table::", "   :class: names", ""]
    for entry in module.__all__:
        value = getattr(module, entry)
        if callable(value):
            first, *_ = inspect.getdoc(value).splitlines()
            lines += [f"   * - `{entry} <{name}.{entry}>`", f"     - {first}"]
    lines.append("")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the handler, which has to run after numpydoc's."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", summarize, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
