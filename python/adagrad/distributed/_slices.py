"""Slices: ordinary tables that hold a range of rows of a larger table, bit for bit.

Makes, saves and loads them. `ShardedTable` and the shards of a model hold slices.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import NamedTuple

from adagrad._arguments import check_integer
from adagrad.rule import AccumulatorShape, Rule
from adagrad.tables import files
from adagrad.tables.header import DIGITS, Header, TableFileError
from adagrad.tables.memory import allocate
from adagrad.tables.table import Init, Table

StrPath = str | os.PathLike[str]


class SliceFile(NamedTuple):
    """A file with the rows [first, last), and its header."""

    first: int
    last: int
    path: Path
    header: Header


def make_slice(
    first: int,
    last: int,
    *,
    dim: int = 1,
    rule: Rule | None = None,
    dtype: str | None = None,
    state: AccumulatorShape | None = None,
    init: Init = "zeros",
    seed: int = 0,
    init_scale: float = 0.01,
    state_dtype: str | None = None,
) -> Table:
    """Return a new table with the rows [first, last) of a larger one.

    Parameters
    ----------
    first, last : int
        Row 0 of the result is row `first` of the larger table, and uses its random numbers for
        initial params and stochastic rounding.
    dim, rule, dtype, state, init, seed, init_scale, state_dtype
        As for `adagrad.Table`.

    Returns
    -------
    Table
        Its ids begin at 0. With 16-bit params, "sequential" and "each" also round by the position
        of an id in a call, so a caller that splits a call must pass the original positions.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As for `adagrad.Table`.
    """
    first = check_integer("first", first, 0, 2**63 - 2)
    last = check_integer("last", last, first + 1, 2**63 - 1)
    table = Table.__new__(Table)
    table._first_row = first
    Table.__init__(
        table,
        last - first,
        dim,
        rule,
        dtype,
        state,
        init,
        seed,
        init_scale=init_scale,
        state_dtype=state_dtype,
    )
    return table


def save_slice(directory: StrPath, name: str, first: int, table: Table) -> Path:
    """Write a slice to a file, which `adagrad.Table.load` reads too.

    Parameters
    ----------
    directory : str or PathLike
        An existing directory.
    name : str
        Name of the larger table in the directory.
    first : int
        The first row of the slice in the larger table.
    table : Table
        From `make_slice` or `load_slice`.

    Returns
    -------
    Path
        ``<name>-<first>-<last>.safetensors``, with numbers of 20 digits. An existing file is
        replaced atomically.

    Raises
    ------
    ValueError
        If the slice begins at another row.
    OSError
        If the file cannot be written. An existing file is untouched then.
    """
    if table._first_row != first:
        raise ValueError(f"first is {first}, but the slice begins at row {table._first_row}")
    ends = f"{first:0{DIGITS}}-{first + table.rows:0{DIGITS}}"
    path = Path(directory) / f"{name}-{ends}.safetensors"
    metadata = table._metadata() | {"first_row": str(first)}
    files.save(path, metadata, *table._layout.tensor, table._alive())
    return path


def find_slices(directory: StrPath, name: str, first: int, last: int) -> list[SliceFile]:
    """Return the files with the rows [first, last), in order, after checking their headers.

    Parameters
    ----------
    directory, name, first, last
        As for `load_slice`.

    Returns
    -------
    list of SliceFile

    Raises
    ------
    adagrad.TableFileError, OSError
        As for `load_slice`.
    """
    pattern = re.compile(rf"{re.escape(name)}-(\d{{{DIGITS}}})-(\d{{{DIGITS}}})\.safetensors")
    named = []
    for path in Path(directory).iterdir():
        if match := pattern.fullmatch(path.name):
            begin, end = (int(number) for number in match.groups())
            if begin < last and first < end:
                named.append((begin, end, path))
    found: list[SliceFile] = []
    at = first
    for begin, end, path in sorted(named):
        if found and begin < at:
            raise TableFileError(f"{path} overlaps {found[-1].path} in rows {begin} to {at - 1}")
        if begin > at:
            raise _missing(directory, name, at, begin)
        found.append(SliceFile(begin, end, path, _read_header(path, begin, end)))
        at = end
    if at < last:
        raise _missing(directory, name, at, last)
    for file in found[1:]:
        _check_alike(found[0], file)
    return found


def load_slice(directory: StrPath, name: str, first: int, last: int) -> Table:
    """Read the rows [first, last) of a table from slices of any size.

    Parameters
    ----------
    directory, name
        As for `save_slice`.
    first, last : int
        They need not be those of a file.

    Returns
    -------
    Table
        The slice. Its `skipped` sums those of the files that begin in it, so that slices which
        share all rows of a table keep the total.

    Raises
    ------
    adagrad.TableFileError
        If a file is missing, is not a table, has other rows than its name says, overlaps another,
        or was written at another step or by another table. The error names the file.
    OSError
        If a file cannot be read.

    Notes
    -----
    O(last - first) time, and no memory besides the slice itself.
    """
    first = check_integer("first", first, 0, 2**63 - 2)
    last = check_integer("last", last, first + 1, 2**63 - 1)
    found = find_slices(directory, name, first, last)
    table = Table.__new__(Table)
    table._read(found[0].path, found[0].header)
    table._first_row = first
    table._layout = dataclasses.replace(table._layout, rows=last - first)
    table.skipped = sum(int(f.header.metadata["skipped"]) for f in found if f.first >= first)
    memory = allocate(table.nbytes)
    width = table._layout.row_bytes
    for file in found:
        begin, end = max(first, file.first), min(last, file.last)
        part = memory[(begin - first) * width : (end - first) * width]
        files.load_into(file.path, file.header, part, (begin - file.first) * width)
    table._take(memory)
    return table


def _read_header(path: Path, first: int, last: int) -> Header:
    header = files.read_header(path)
    table = Table.__new__(Table)
    table._read(path, header)
    held = table._first_row, table._first_row + table.rows
    if held != (first, last):
        raise TableFileError(
            f"{path} has rows {held[0]} to {held[1] - 1}, but its name says {first} to {last - 1}"
        )
    return header


def _check_alike(one: SliceFile, other: SliceFile) -> None:
    """Raise if two files are of different tables, or of different steps of one."""
    for key in ("dim", "dtype", "state", "state_dtype", "rule", "seed", "steps", "decays"):
        expected, held = one.header.metadata[key], other.header.metadata[key]
        if held != expected:
            raise TableFileError(f"{other.path} has {key} {held}, but {one.path} has {expected}")


def _missing(directory: StrPath, name: str, first: int, last: int) -> TableFileError:
    return TableFileError(f"{Path(directory) / name}-*: no file has the rows {first} to {last - 1}")
