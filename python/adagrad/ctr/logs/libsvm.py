"""Logs in libsvm (svmlight) format: ``label id:value id:value ...``.

A block of lines is rewritten as a table of two columns, which pyarrow's CSV parser reads ten times
as fast as a loop over lines would.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from adagrad.ctr.logs.blocks import Block, parse_block, read_blocks
from adagrad.ctr.logs.labels import MISSING, wrong_label
from adagrad.ctr.logs.rows import Fault, LogError, ParsedRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.sources import Source

__all__ = ["LibsvmReader"]

LABEL_MARK = -1  # stands for the id of a label, as ids of a log are not negative
SPACES = bytes.maketrans(b"\t\r ", b"\n\n\n")
IDS, VALUES = "ids", "values"
READ = arrow_csv.ReadOptions(use_threads=False, column_names=[IDS, VALUES], block_size=1 << 20)
PARSE = arrow_csv.ParseOptions(delimiter=":", quote_char=False)
CONVERT = arrow_csv.ConvertOptions(
    column_types={IDS: pa.int64(), VALUES: pa.float32()}, null_values=[]
)
# What pyarrow reads as an id and a number; it only tells a bad entry from a bad label.
ENTRY = re.compile(rb"\d{1,19}:[+-]?(\d+\.?\d*|\.\d+|inf|nan)(e[+-]?\d+)?", re.IGNORECASE)


class LibsvmReader:
    """The `Reader` of libsvm files.

    The columns are the label (float32), ``ids`` (list of int64) and ``values`` (list of float32).
    """

    def __init__(self, source: Source, request: Request) -> None:
        features = [
            pa.field(IDS, pa.list_(pa.int64())),
            pa.field(VALUES, pa.list_(pa.float32())),
        ]
        label = [] if request.label is None else [pa.field(request.label, pa.float32())]
        self.schema = pa.schema(label + features)
        self.names = [IDS, VALUES]
        self.types = {field.name: field.type for field in features}
        if request.features() not in (None, (IDS, VALUES)):
            raise LogError(
                source.path, 1, "a libsvm file cannot be part of a log with named columns"
            )
        self.header = request.header
        self._raw = source.open()
        self._blocks = read_blocks(source, self._raw)

    def read(self, request: Request) -> Iterator[ParsedRows]:
        """Read the file to its end, once."""
        for block in self._blocks:
            yield parse_block(block, self._parse, _find_fault, self.schema)

    def bytes_read(self) -> int:
        """Return how many bytes of the file have been read, as it lies on disk."""
        return int(self._raw.tell())

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def _parse(self, block: Block) -> ParsedRows | None:
        """Parse lines; return None if one of them is malformed."""
        texts, numbers = bytes(block.data), np.arange(block.first, block.first + block.count)
        if b"#" in texts:
            texts, kept = _without_comments(texts)
            numbers = numbers[kept]
        if not len(numbers):
            return ParsedRows(self.schema.empty_table(), numbers)
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
        return ParsedRows(pa.table(columns, schema=self.schema), numbers)


def _without_comments(texts: bytes) -> tuple[bytes, NDArray[np.bool_]]:
    """Remove comments, and lines that contain nothing else; return also which lines remain."""
    lines, kept = [], []
    for line in texts.split(b"\n")[:-1]:
        text, comment, _ = line.partition(b"#")
        kept.append(not comment or bool(text.strip()))
        if kept[-1]:
            lines.append(text + b"\n")
    return b"".join(lines), np.array(kept, np.bool_)


def _find_fault(line: bytes) -> Fault:
    """Return the fault of a line that `_parse` rejects."""
    tokens = line.partition(b"#")[0].split()
    if not tokens:
        return Fault("empty line", "the line is empty")
    label, *entries = tokens
    if b":" in label:
        return MISSING
    for entry in entries:
        if not ENTRY.fullmatch(entry):
            return Fault(
                "bad entry", f"{_shown(entry)} is not id:value with an id from 0 to 2**63 - 1"
            )
    return wrong_label(_shown(label))


def _shown(token: bytes) -> str:
    return repr(token[:100].decode("utf-8", "backslashreplace"))
