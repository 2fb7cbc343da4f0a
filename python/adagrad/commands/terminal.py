"""What commands print: text from data shows control characters instead of sending them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adagrad._text import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "echo"]


def echo(text: str, *, err: bool = False) -> None:
    """Print lines to the standard output or, with `err`, to stderr."""
    click.echo(printable(text, keep="\n"), err=err)


def console(*, stderr: bool = False, **options: Any) -> Console:
    """Return a console of rich that prints text, and the cells of tables, as `echo` does."""
    from rich.console import Console
    from rich.text import Text

    class Printable(Console):
        def render_str(self, text: str, **style: Any) -> Text:
            return super().render_str(printable(text, keep="\n"), **style)

    return Printable(stderr=stderr, highlight=False, **options)
