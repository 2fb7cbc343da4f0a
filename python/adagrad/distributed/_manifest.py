"""The directory of a saved `ShardedTable`: folders of slices, and a manifest that names one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import reprlib
import shutil
from collections.abc import Callable
from pathlib import Path

import adagrad._core as _core
from adagrad.distributed._slices import StrPath, find_slices
from adagrad.tables import files
from adagrad.tables.header import COUNTERS, TableFileError
from adagrad.tables.tensors import read_json

MANIFEST = "sharded.json"
NAME = "table"  # prefix of the slices' file names

_LONGEST = 1 << 20  # bytes of a manifest: it has a dozen short entries
_FORMAT = {"format": "adagrad.ShardedTable", "format_version": "1"}
_FOLDER = re.compile(r"slices-[0-9a-f]{16}")
_NUMBERS = ("rows", "shards", *COUNTERS)


def write(directory: StrPath, numbers: dict[str, int], save: Callable[[Path], None]) -> None:
    """Write a table to a directory, replacing the one there atomically.

    Parameters
    ----------
    directory : str or PathLike
        Created if it does not exist.
    numbers : dict of str to int
        See `read`.
    save : callable
        Called with a new folder, to which it writes slices that cover all rows.
    """
    target = Path(os.path.realpath(directory))
    target.mkdir(parents=True, exist_ok=True)
    folder = target / f"slices-{os.urandom(8).hex()}"
    folder.mkdir()
    try:
        save(folder)
        find_slices(folder, NAME, 0, numbers["rows"])  # other machines may have written them
        text = json.dumps(
            {**_FORMAT, "adagrad_version": _core.__version__, "slices": folder.name, **numbers},
            indent=2,
        )
        encoded = text.encode()
        files.replace(target / MANIFEST, [memoryview(encoded)], len(encoded))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    for other in target.iterdir():
        if _FOLDER.fullmatch(other.name) and other != folder:
            shutil.rmtree(other, ignore_errors=True)


def read(directory: StrPath) -> tuple[Path, dict[str, int]]:
    """Check a saved table, and return the folder of its slices and its numbers.

    Returns
    -------
    folder : Path
    numbers : dict of str to int
        "rows", "shards", "steps", "skipped" and "decays".

    Raises
    ------
    adagrad.TableFileError
        If the manifest or a slice is missing, corrupted, of a newer version or of another table.
        The error names the file.
    """
    path = Path(os.path.realpath(directory)) / MANIFEST
    try:
        found = read_json(path, _LONGEST)
    except FileNotFoundError as error:
        raise TableFileError(
            f"{path} does not exist: the directory has no sharded table"
        ) from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT["format"]:
        raise TableFileError(
            f"{path} is not the manifest of a sharded table: it has {reprlib.repr(found)}"
        )
    if found.get("format_version") != _FORMAT["format_version"]:
        version = reprlib.repr(found.get("format_version"))
        raise TableFileError(
            f"{path} has format version {version}; this adagrad reads {_FORMAT['format_version']}"
        )
    folder = found.get("slices")
    if not isinstance(folder, str) or not _FOLDER.fullmatch(folder):
        raise TableFileError(f"{path} is corrupted: slices is {reprlib.repr(folder)}")
    for name in _NUMBERS:
        value = found.get(name)
        most = 2**63 if name in ("rows", "shards") else 2**64
        if type(value) is not int or not 0 <= value < most:
            raise TableFileError(f"{path} is corrupted: {name} is {reprlib.repr(value)}")
    numbers = {name: found[name] for name in _NUMBERS}
    with contextlib.suppress(FileNotFoundError):
        held = find_slices(path.parent / folder, NAME, 0, max(1, numbers["rows"]))
        if held[-1].last != numbers["rows"]:
            raise TableFileError(
                f"{path} has {numbers['rows']} rows, but {held[-1].path} ends at {held[-1].last}"
            )
        for name in ("steps", "decays"):
            if int(held[0].header.metadata[name]) != numbers[name]:
                raise TableFileError(
                    f"{path} has {name} {numbers[name]}, but {held[0].path} has"
                    f" {int(held[0].header.metadata[name])}"
                )
        return path.parent / folder, numbers
    raise TableFileError(f"{path} names the folder {folder}, which does not exist beside it")
