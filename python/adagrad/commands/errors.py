"""Mistakes of the user in one line: errors of a command, and checks of the files it will write."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from adagrad.commands.requirements import require

__all__ = ["check_picture", "check_writable", "one_line_errors"]

F = TypeVar("F", bound=Callable[..., Any])


def one_line_errors(command: F) -> F:
    """Wrap a command that reads logs: an error is one line on stderr and exit status 1.

    The wrapper also exits, with the name of the extra to install, if the packages that such a
    command needs are missing. Ctrl-C gives exit status 130.
    """

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        require(
            f"adagrad {click.get_current_context().info_name}",
            *("rich", "sklearn", "pyarrow", "safetensors"),
        )
        import pyarrow as pa

        try:
            return command(*args, **kwargs)
        except BrokenPipeError:
            raise  # click ends quietly
        except KeyboardInterrupt:
            click.echo("\ninterrupted", err=True)
            raise SystemExit(130) from None
        except OSError as error:
            name = f"{error.filename}: " if error.filename is not None else ""
            raise click.ClickException(f"{name}{error.strerror or error}") from None
        except (ValueError, TypeError, MemoryError, pa.ArrowException) as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise click.ClickException(text) from None

    return guarded  # type: ignore[return-value]


def check_writable(path: Path, option: str) -> None:
    """Refuse a file that cannot be written, before time is spent on its content."""
    if path.is_dir():
        raise click.ClickException(f"{option} {path}: is a directory")
    if not path.absolute().parent.is_dir():
        raise click.ClickException(f"{option} {path}: there is no directory {path.parent}")


def check_picture(output: Path) -> None:
    """Refuse a picture that cannot be saved, before time is spent on its content."""
    from matplotlib.figure import Figure

    kinds = Figure().canvas.get_supported_filetypes()
    folder = output.parent
    if output.suffix[1:].lower() not in kinds:
        reason = f"the name must end in one of .{', .'.join(sorted(kinds))}"
    elif output.is_dir():
        reason = "it is a directory"
    elif not folder.is_dir():
        reason = f"there is no directory {folder}"
    elif not os.access(output if output.exists() else folder, os.W_OK):
        reason = "permission denied"
    else:
        return
    raise click.ClickException(f"cannot write {output}: {reason}")
