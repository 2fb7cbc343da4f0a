"""``adagrad textbook``: the pages of the textbook as notebooks."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import sys
from pathlib import Path

import click

from adagrad._atomic import check_writable, replacing
from adagrad.commands import streams
from adagrad.commands.requirements import require
from adagrad.commands.terminal import echo

__all__ = ["textbook"]

EXAMPLES = """\b
Examples:
  adagrad textbook
  adagrad textbook course --overwrite
"""

# Programs that open a notebook: the module, and the command line of the same.
SERVERS = {"jupyterlab": "jupyter lab", "notebook": "jupyter notebook"}


@click.command(epilog=EXAMPLES)
@click.argument(
    "directory", type=click.Path(path_type=Path, file_okay=False), default=Path("textbook")
)
@click.option(
    "--open",
    "opened",
    is_flag=True,
    help="Open them in JupyterLab. Notebooks there that differ stay as they are.",
)
@click.option("--overwrite", is_flag=True, help="Replace notebooks that differ.")
def textbook(directory: Path, opened: bool, overwrite: bool) -> None:
    """Write the pages of the textbook as notebooks.

    The pages follow the chapter on AdaGrad of "Dive into Deep Learning", and answer its exercises.
    Each runs from top to bottom and asserts what it says. DIRECTORY is ./textbook by default.

    Notebooks that have run or were edited differ from those to be written: if there are any,
    nothing is written without --overwrite.
    """
    needed = ("jupytext", "matplotlib", "scipy", "sklearn")
    require("adagrad textbook", *needed, extra="textbook")
    server = next((name for name in SERVERS if importlib.util.find_spec(name)), None)
    if opened and server is None:
        raise click.ClickException("--open needs JupyterLab: pip install jupyterlab")
    from adagrad.textbook.notebooks import notebooks

    index, *_ = texts = {directory / name: text.encode() for name, text in notebooks().items()}
    new = {path: text for path, text in texts.items() if not _has(path, text)}
    different = [path for path in new if path.exists()]
    if opened and not overwrite:
        new = {path: text for path, text in new.items() if path not in different}
    elif different and not overwrite:
        more = f" and {len(different) - 1} more" if different[1:] else ""
        raise click.ClickException(
            f"{different[0]}{more} would be replaced, and differ from what would be written: give"
            " --overwrite to replace them, or another directory"
        )
    _write(new)
    there = f", {len(texts) - len(new)} were there" if len(new) < len(texts) else ""
    echo(f"{directory}: {len(new)} notebook{'' if len(new) == 1 else 's'} written{there}")
    if opened:
        streams.flush()
        os.execv(sys.executable, [sys.executable, "-m", str(server), str(index)])
    install = "" if server else "pip install jupyterlab && "
    command = SERVERS[server or "jupyterlab"]
    echo(f"Open them with: {install}{command} {shlex.quote(str(index))}")


def _has(path: Path, text: bytes) -> bool:
    try:
        return path.read_bytes() == text
    except FileNotFoundError:
        return False


def _write(texts: dict[Path, bytes]) -> None:
    """Write files and the directories that they need, or neither."""
    made: list[Path] = []
    try:
        for path in texts:
            for folder in (*reversed(path.parent.parents), path.parent):
                if not folder.exists():
                    folder.mkdir()
                    made.append(folder)
            check_writable(path)
        with contextlib.ExitStack() as files:
            for path, text in texts.items():
                files.enter_context(replacing(path, len(text))).write(text)
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
