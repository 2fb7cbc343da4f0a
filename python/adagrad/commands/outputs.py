"""Where a command writes: what it may replace, and what it refuses before it reads anything.

An output is never an input or another output of the same run. A model replaces nothing unless the
user says so. Everything else may replace an earlier version of itself, so that a job can run every
night.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from adagrad._atomic import check_writable, is_stream, resolved, writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

__all__ = [
    "PREDICTION",
    "Output",
    "check_checkpoint",
    "check_outputs",
    "check_standard_output",
    "overwrite_option",
    "save_picture",
]

F = TypeVar("F", bound="Callable[..., Any]")

PREDICTION = "prediction"
"""The last column of a table of predictions."""

TABLES = (".parquet", ".csv", ".tsv")
LOGS = (".parquet", ".arrow", ".arrows")
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # a Path has one slash
EDGE = 1 << 16  # bytes at both ends of a file that tell what it is
MOST_JSON = 1 << 24  # bytes of a diagnosis, at most

# What a picture begins with, by suffix. Other formats do not say that matplotlib drew them.
PICTURES = {
    ".png": b"\x89PNG",
    ".svg": b"<?xml",
    ".pdf": b"%PDF",
    ".eps": b"%!PS",
    ".ps": b"%!PS",
}


class Output(NamedTuple):
    """A file that a command will write.

    Attributes
    ----------
    option : str
        The option that names it.
    path : Path
        The file.
    kind : str
        "model", "file", "predictions", "report", "numbers", "picture" or "log".
    """

    option: str
    path: Path
    kind: str

    def __str__(self) -> str:
        return f"{self.option} {self.path}"


def overwrite_option(command: F) -> F:
    """Add ``--overwrite``."""
    return click.option(
        "--overwrite",
        is_flag=True,
        help="Replace an existing output file of any kind, but never a file that is read.",
    )(command)


def check_outputs(
    outputs: Sequence[Output],
    *,
    logs: Sequence[str] = (),
    files: Sequence[Path | None] = (),
    file_format: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> None:
    """Refuse outputs that cannot be written or would replace a file without permission.

    Parameters
    ----------
    outputs : sequence of Output
    logs : sequence of str
        All logs that the command reads, as they are given.
    files : sequence of Path or None
        Other files that it reads, such as a model.
    file_format : str, optional
        Format of the logs.
    overwrite, resume : bool
        Whether the user gave ``--overwrite``; ``--resume``.

    Raises
    ------
    click.ClickException
        In one line, with the option and the path.
    """
    for output in outputs:
        _check_name(output)
    # A file that does not exist yet is no input: then there is no need to list the logs.
    inputs = list(_inputs(logs, files, file_format)) if any(map(_exists, outputs)) else []
    for number, output in enumerate(outputs):
        for name, status in inputs:
            if _is_file(output.path, status):
                raise click.ClickException(f"{output} would replace {name}")
        for other in outputs[:number]:
            if _are_one(output.path, other.path):
                raise click.ClickException(f"{output} is the file of {other.option} as well")
        for log in logs:
            if _would_be_read(log, output.path, file_format):
                raise click.ClickException(
                    f"{output} would be read as a part of {log} the next time: choose another"
                    " directory, or a name that begins with _"
                )
        try:
            check_writable(output.path)
        except OSError as error:
            raise click.ClickException(f"cannot write {output}: {error.strerror}") from None
        if not (overwrite or is_stream(output.path)):
            _check_earlier(output, resume)


def check_checkpoint(
    directory: Path,
    logs: Sequence[str],
    outputs: Sequence[Output],
    *,
    overwrite: bool,
    resume: bool,
) -> None:
    """Refuse the directory of a checkpoint that holds something else, or another checkpoint."""
    for output in outputs:
        path = resolved(output.path)
        if resolved(directory) in (path, *path.parents):
            raise click.ClickException(f"{output} is in the directory of the checkpoint")
    if not directory.exists():
        return
    if not directory.is_dir():
        raise click.ClickException(
            f"{directory} is a file, but the checkpoint needs a directory of that name"
        )
    for log in logs:
        if resolved(directory) in (resolved(log), *resolved(log).parents):
            raise click.ClickException(f"{log} is in the directory of the checkpoint, {directory}")
    if any(directory.iterdir()) and not (overwrite or resume):
        raise click.ClickException(
            f"{directory} has files of another training: give --resume to continue it, or"
            " --overwrite to replace it"
        )


def check_standard_output(
    logs: Sequence[str], files: Sequence[Path | None], file_format: str | None
) -> None:
    """Refuse to append to a file that the command reads."""
    try:
        status = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):  # it is closed, or no file
        return
    if not stat.S_ISREG(status.st_mode):
        return
    for name, other in _inputs(logs, files, file_format):
        if os.path.samestat(status, other):
            raise click.ClickException(f"the standard output is {name}")


def save_picture(figure: Figure, path: Path, **options: Any) -> None:
    """Save a figure in the format that the suffix says."""
    with writing(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), **options)


def _check_name(output: Output) -> None:
    suffix = output.path.suffix.lower()
    if URI.match(str(output.path)) and not output.path.parent.exists():
        raise click.ClickException(
            f"cannot write {output}: outputs are files of this machine; write one, then copy it"
        )
    if output.kind == "log" and suffix not in LOGS:
        raise click.ClickException(
            f"cannot write {output}: the name must end in .parquet or .arrow"
        )
    if output.kind == "model" and is_stream(output.path):
        raise click.ClickException(
            f"cannot write {output}: a model needs a regular file, which is also its checkpoint"
        )
    if output.kind == "file" and is_stream(output.path):
        raise click.ClickException(
            f"cannot write {output}: it is a device or a pipe, but a whole file is wanted"
        )
    if output.kind == "picture":
        from matplotlib.figure import Figure

        if suffix[1:] not in Figure().canvas.get_supported_filetypes():
            raise click.ClickException(
                f"cannot write {output}: the name must end in .png, .svg, .pdf or the suffix of"
                " another format of matplotlib"
            )
    elif output.kind == "predictions" and not is_stream(output.path) and suffix not in TABLES:
        raise click.ClickException(
            f"cannot write {output}: the name must end in {', '.join(TABLES[:-1])} or {TABLES[-1]}"
        )


def _check_earlier(output: Output, resume: bool) -> None:
    path = output.path
    if not path.exists():
        return
    if output.kind == "model":
        if resume:
            return
        raise click.ClickException(
            f"{output} exists: give --overwrite to replace it, --resume to continue its training,"
            f" or --init {path} as well to learn these logs on top of it"
        )
    if output.kind in ("file", "log"):
        raise click.ClickException(f"{output} exists: give --overwrite to replace it")
    name, is_earlier = EARLIER[output.kind]
    if path.stat().st_size and not is_earlier(path):
        raise click.ClickException(
            f"{output} exists and is not a {name} that adagrad wrote: give --overwrite to replace"
            " it, or choose another name"
        )


# -- the same file ----------------------------------------------------------------------------


def _inputs(
    logs: Sequence[str], files: Sequence[Path | None], file_format: str | None
) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what the command reads, in words, and its status."""
    from adagrad.ctr.logs.sources import find

    for path in files:
        if path is not None and path.exists():
            yield f"{path}, an input", path.stat()
    if "-" in logs:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # it is closed, or no file
            yield "the standard input", os.fstat(sys.stdin.fileno())
    paths = [log for log in logs if log != "-"]
    for source in find(paths, file_format) if paths else ():
        if Path(source.path).exists():
            yield f"{source.path}, a file of the log", Path(source.path).stat()


def _exists(output: Output) -> bool:
    return output.path.exists()


def _is_file(path: Path, status: os.stat_result) -> bool:
    """Return whether a path is the file of a status: by any name, link or spelling."""
    try:
        return stat.S_ISREG(status.st_mode) and os.path.samestat(path.stat(), status)
    except OSError:
        return False


def _are_one(path: Path, other: Path) -> bool:
    """Return whether two outputs are one file, or may be one where case does not matter."""
    if path.exists() and other.exists():
        return path.samefile(other) and not is_stream(path)

    def folded(name: Path) -> str:
        return unicodedata.normalize("NFC", str(resolved(name))).casefold()

    return folded(path) == folded(other)


def _would_be_read(log: str, path: Path, file_format: str | None) -> bool:
    from adagrad.ctr.logs.sources import would_find

    return log != "-" and not is_stream(path) and would_find(log, resolved(path), file_format)


# -- earlier versions -------------------------------------------------------------------------


def _is_predictions(path: Path) -> bool:
    if path.suffix.lower() == ".parquet":
        import pyarrow as pa
        from pyarrow import parquet

        try:
            with path.open("rb") as file:
                field = parquet.read_schema(file)[-1]
        except (pa.ArrowException, OSError, ValueError, IndexError):
            return False
        return bool(field.name == PREDICTION and field.type == pa.float32())
    with path.open("rb") as file:
        line = file.readline(1 << 20)
    names = line.rstrip(b"\r\n").split(b"\t" if path.suffix.lower() == ".tsv" else b",")
    return names[-1].strip(b'"') == PREDICTION.encode()


def _is_report(path: Path) -> bool:
    first, last = _edges(path)
    return first.startswith(b"<!doctype html>") and b"<footer>adagrad " in last


def _is_picture(path: Path) -> bool:
    first, last = _edges(path)
    begins = PICTURES.get(path.suffix.lower())
    return (
        begins is not None and first.startswith(begins) and b"matplotlib" in (first + last).lower()
    )


def _is_numbers(path: Path) -> bool:
    if path.stat().st_size > MOST_JSON:
        return False
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"log", "numbers", "skipped"} <= content.keys()


def _edges(path: Path) -> tuple[bytes, bytes]:
    with path.open("rb") as file:
        first = file.read(EDGE)
        file.seek(max(0, path.stat().st_size - EDGE))
        return first, file.read(EDGE)


EARLIER = {
    "predictions": ("table of predictions", _is_predictions),
    "report": ("report", _is_report),
    "picture": ("picture", _is_picture),
    "numbers": ("file of a diagnosis", _is_numbers),
}
"""What an output may replace: its name, and the function that recognizes it."""
