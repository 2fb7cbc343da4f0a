"""Pages of commands: sphinx-click's, with the examples first and texts as ``--help`` has them.

sphinx-click takes help texts for reStructuredText, but they are plain: ``*`` is an asterisk, and
``--resume`` is an option, not a dash and a word.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# Options, quoted texts, addresses, and suffixes of files.
CODE = re.compile(
    r"(?<![^\s(])(--?[a-z][a-z0-9-]*|'[^' ]*'|[a-z][a-z0-9]*://\S*/|[\w-]*\.[a-z][a-z0-9]*)"
)

POWER = re.compile(r"\b(\d+)\^(?:(\w)\b|\(([\w-]+)\))")


def marked(text: str) -> str:
    """Return plain text as reStructuredText, with options and quoted texts as code, and 2^N."""
    parts = CODE.split(text)
    for k, part in enumerate(parts):
        plain = re.sub(r"([\\*`|_])", r"\\\1", part)
        parts[k] = f"``{part}``" if k % 2 else POWER.sub(r":math:`\1^{\2\3}`", plain)
    return "".join(parts)


def describe(app: Sphinx, ctx: click.Context, lines: list[str]) -> None:
    """Mark the description; append the commands of a group, and the examples."""
    lines[:] = [marked(line) for line in lines]
    if isinstance(ctx.command, click.Group):
        lines += [".. rubric:: Commands", "", ".. list-table::", ""]
        for name, command in sorted(ctx.command.commands.items()):
            lines.append(f"   * - :doc:`{ctx.command_path} {name} <{name}>`")
            lines.append(f"     - {marked(command.get_short_help_str(limit=200))}")
        lines.append("")
    examples = (ctx.command.epilog or "").splitlines()[2:]
    if examples:
        lines += [".. rubric:: Examples", "", ".. code-block:: shell", ""]
        text = "\n".join(f"    {line[2:]}" for line in examples)
        lines += [*text.replace("\n    # ", "\n\n    # ").splitlines(), ""]


def list_options(app: Sphinx, ctx: click.Context, lines: list[str]) -> None:
    """List the options as ``--help`` does, with their defaults and ranges."""
    lines.clear()
    for param in ctx.command.params:
        record = param.get_help_record(ctx)
        if isinstance(param, click.Option) and record is not None:
            names, text = record
            lines += [f".. option:: {names}", "", f"    {marked(text)}", ""]


def leave_out(app: Sphinx, ctx: click.Context, lines: list[str]) -> None:
    """Leave out what stands elsewhere: arguments in the usage, and examples above."""
    lines.clear()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the handlers of sphinx-click's events."""
    app.setup_extension("sphinx_click")
    app.connect("sphinx-click-process-description", describe)
    app.connect("sphinx-click-process-options", list_options)
    app.connect("sphinx-click-process-arguments", leave_out)
    app.connect("sphinx-click-process-epilog", leave_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
