"""Logs in libsvm format (svmlight): ``label id:value id:value ...``.

Called by :mod:`adagrad.ctr.logs`. A block of lines is rewritten as a table of two columns, which
pyarrow's CSV parser reads an order of magnitude faster than a loop over lines would.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from adagrad.ctr.logs.blocks import Lines, blocks, parsed
from adagrad.ctr.logs.checks import Fault, LogError, Piece

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from adagrad.ctr.logs.checks import Request
    from adagrad.ctr.logs.sources import Source

__all__ = ["LibsvmReader"]

LABEL_MARK = -1  # as an id; an id of the log is not negative
SPACES = bytes.maketrans(b"\t\r ", b"\n\n\n")
IDS, VALUES = "ids", "values"
READ = arrow_csv.ReadOptions(use_threads=False, column_names=[IDS, VALUES], block_size=1 << 20)
PARSE = arrow_csv.ParseOptions(delimiter=":", quote_char=False)
CONVERT = arrow_csv.ConvertOptions(
    column_types={IDS: pa.int64(), VALUES: pa.float32()}, null_values=[]
)
# A number as pyarrow reads it; only to tell a bad entry from a bad label.
ENTRY = re.compile(rb"\d{1,19}:[+-]?(\d+\.?\d*|\.\d+|inf|nan)(e[+-]?\d+)?", re.IGNORECASE)


class LibsvmReader:
    """One libsvm file.

    Attributes
    ----------
    schema : pyarrow.Schema
        The label (float32), ``ids`` (list of int64) and ``values`` (list of float32).
    request : Request
        How to read the other files of the log.
    """

    def __init__(self, source: Source, request: Request) -> None:
        features = [
            pa.field(IDS, pa.list_(pa.int64())),
            pa.field(VALUES, pa.list_(pa.float32())),
        ]
        label = [] if request.label is None else [pa.field(request.label, pa.float32())]
        self.schema = pa.schema(label + features)
        if request.schema is not None and request.features() != (IDS, VALUES):
            raise LogError(source.path, 1, "a libsvm file in a log with other columns")
        self.request = replace(request, schema=self.schema)
        self._raw = source.open()
        self._blocks = blocks(source, self._raw)

    def pieces(self) -> Iterator[Piece]:
        """Read the file from where it was opened, once."""
        for block in self._blocks:
            yield parsed(block, self._parse, _why, self.schema)

    def bytes_read(self) -> int:
        """Return how far the file has been read, in bytes on disk."""
        return int(self._raw.tell())

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def _parse(self, lines: Lines) -> Piece | None:
        """Parse lines; None if one of them is not in the format."""
        texts, numbers = bytes(lines.data), np.arange(lines.first, lines.first + lines.count)
        if b"#" in texts:
            texts, kept = _without_comments(texts)
            numbers = numbers[kept]
        if not len(numbers):
            return Piece(self.schema.empty_table(), numbers)
        mark = b"%d:" % LABEL_MARK
        tokens = mark + texts[:-1].replace(b"\n", b"\n" + mark)
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(tokens.translate(SPACES)),
                read_options=READ,
                parse_options=PARSE,
                convert_options=CONVERT,
            ).combine_chunks()
        except pa.ArrowInvalid:
            return None
        ids = table.column(IDS).to_numpy()
        marks = np.flatnonzero(ids == LABEL_MARK)
        if len(marks) != len(numbers) or ids.min() < LABEL_MARK:
            return None
        offsets = np.append(marks, len(ids)) - np.arange(len(marks) + 1)
        entries = table.filter(pa.array(ids != LABEL_MARK)).combine_chunks()
        lists = [
            pa.ListArray.from_arrays(
                pa.array(offsets, pa.int32()), entries.column(name).combine_chunks()
            )
            for name in (IDS, VALUES)
        ]
        labels = table.column(VALUES).take(pa.array(marks))
        columns = lists if len(self.schema) == len(lists) else [labels, *lists]
        return Piece(pa.table(columns, schema=self.schema), numbers)


def _without_comments(texts: bytes) -> tuple[bytes, NDArray[np.bool_]]:
    """Cut comments off; lines of nothing else are no lines of the log."""
    lines, kept = [], []
    for line in texts.split(b"\n")[:-1]:
        text, comment, _ = line.partition(b"#")
        kept.append(not comment or bool(text.strip()))
        if kept[-1]:
            lines.append(text + b"\n")
    return b"".join(lines), np.array(kept, np.bool_)


def _why(line: bytes) -> Fault:
    """Say why a line was refused."""
    tokens = line.partition(b"#")[0].split()
    if not tokens:
        return Fault("empty line", "the line is empty")
    label, *entries = tokens
    if b":" in label:
        return Fault("missing label", "the label is missing")
    for entry in entries:
        if not ENTRY.fullmatch(entry):
            return Fault(
                "bad entry", f"{_shown(entry)} is not id:value with an id of 0 to 2**63 - 1"
            )
    return Fault("bad label", f"the label is {_shown(label)}, not 0 or 1, -1 or +1")


def _shown(token: bytes) -> str:
    return repr(token[:100].decode("utf-8", "backslashreplace"))
