"""Begin the page of a module with a table of its names, so that a reader finds the one to read."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from sphinx.pycode import ModuleAnalyzer

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def comment(module: str, name: str) -> list[str]:
    """Return the string below a constant, in the module of a package that defines it."""
    for home in sorted(sys.modules):
        if f"{home}.".startswith(f"{module}."):
            lines = ModuleAnalyzer.for_module(home).find_attr_docs().get(("", name))
            if lines:
                return lines
    raise ValueError(f"{module}.{name} has no docstring")


def summarize(
    app: Sphinx, what: str, name: str, module: Any, options: object, lines: list[str]
) -> None:
    """Append a table of a module's public names, with the first line of each, to its text.

    Constants follow, because autodoc does not find the strings below those of another module.
    """
    if what != "module":
        return
    lines += ["", ".. list-table::", ""]
    constants = []
    for entry in module.__all__:
        value = getattr(module, entry)
        if inspect.isclass(value) or inspect.isroutine(value):
            text = inspect.getdoc(value).splitlines()
        elif entry.startswith("_"):
            continue
        else:
            text = comment(name, entry)
            constants += [f".. py:data:: {entry}", "", *(f"   {line}" for line in text), ""]
        lines += [f"   * - `{entry} <{name}.{entry}>`", f"     - {text[0]}"]
    lines += ["", *constants]


def leave_out_fields(
    app: Sphinx, what: str, name: str, member: Any, skip: bool, options: object
) -> bool | None:
    """Omit the fields of a named tuple, which its own docstring describes."""
    return True if str(inspect.getdoc(member)).startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the handlers; the first has to run after numpydoc's."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", summarize, priority=600)
    app.connect("autodoc-skip-member", leave_out_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
