"""Logs in libsvm (svmlight) format: ``label id:value id:value ...``.

Comments after ``#`` and the ``qid:number`` of rankers after the label are passed over.

A block of lines is rewritten as a table of two columns, which pyarrow's CSV parser reads ten times
as fast as a loop over lines would.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from adagrad.ctr.logs.blocks import Block, parse_block, read_blocks
from adagrad.ctr.logs.content import HEAD, LOOKS, looks_like
from adagrad.ctr.logs.labels import MISSING, wrong_label
from adagrad.ctr.logs.rows import Fault, LogError, ParsedRows
from adagrad.ctr.logs.values import unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.sources import Source

__all__ = ["LibsvmReader"]

LABEL_MARK = -1  # stands for the id of a label, as ids of a log are not negative
SPACES = bytes.maketrans(b"\t\r ", b"\n\n\n")
IDS, VALUES = "ids", "values"
FEATURES = pa.schema([(IDS, pa.list_(pa.int64())), (VALUES, pa.list_(pa.float32()))])
READ = arrow_csv.ReadOptions(use_threads=False, column_names=[IDS, VALUES], block_size=1 << 20)
PARSE = arrow_csv.ParseOptions(delimiter=":", quote_char=False)
CONVERT = arrow_csv.ConvertOptions(
    column_types={IDS: pa.int64(), VALUES: pa.float32()}, null_values=[]
)
# The id of a query after the label. Rankers need it; a model of clicks does not.
QID = re.compile(rb"^([ \t]*[^\s:#]+[ \t]+)qid:\d+(?=[ \t\r\n]|$)", re.MULTILINE)
# A line that pyarrow surely reads, as most lines beside a broken one are.
PLAIN = re.compile(rb"[-+]?\d{1,9}(?: \d{1,18}:-?\d{1,9}(?:\.\d{1,9})?)*\r?")
UNLABELED = re.compile(rb"^(?=[ \t]*\d+:)", re.MULTILINE)
INDENT = re.compile(rb"^[ \t]+", re.MULTILINE)
ID = re.compile(r"\d+|-0+")


class LibsvmReader:
    """The `Reader` of libsvm files.

    The columns are the label (float32), ``ids`` (list of int64) and ``values`` (list of float32).
    """

    def __init__(self, source: Source, request: Request) -> None:
        label = [] if request.label is None else [pa.field(request.label, pa.float32())]
        self.schema = pa.schema([*label, *FEATURES])
        self.names = [IDS, VALUES]
        self.types = {field.name: field.type for field in FEATURES}
        if request.features() not in (None, (IDS, VALUES)):
            raise LogError(
                source.path, 1, "a libsvm file cannot be part of a log with named columns"
            )
        if request.weight is not None or request.negative_rate is not None:
            reason = "a libsvm file has no columns for weights: use another format, such as CSV"
            raise LogError(source.path, 1, reason)
        self.header = request.header
        self._path = source.path
        self._raw = source.open()
        self._blocks = read_blocks(source, self._raw)

    def sample(self, names: Sequence[str], size: int) -> list[pa.Table]:
        """Return nothing: the file has types."""
        return []

    def read(self, request: Request) -> Iterator[ParsedRows]:
        """Read the file to its end, once."""
        is_first = True
        for block in self._blocks:
            if is_first:
                block = block.without_mark()
                self._check_first(bytes(block.data[:HEAD]))
            is_first = False
            if request.label is None:  # a log to predict may lack labels
                block = replace(block, data=UNLABELED.sub(b"0 ", bytes(block.data)))
            yield parse_block(block, self._parse, _find_faults, self.schema)

    def _check_first(self, head: bytes) -> None:
        """Refuse a file in a format that looks similar, as every line of it would be broken."""
        lines = enumerate(head.split(b"\n"), start=1)
        number, line = next(((k, x) for k, x in lines if x.strip() and x[:1] != b"#"), (1, b""))
        found = looks_like(line.decode("utf-8", "replace"))
        if found not in (None, "libsvm"):
            raise LogError(self._path, number, LOOKS[found])

    def bytes_read(self) -> int:
        """Return how many bytes of the file have been read, as it lies on disk."""
        return int(self._raw.tell())

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def _parse(self, block: Block) -> ParsedRows | None:
        """Parse lines; return None if one of them is malformed."""
        texts, numbers = bytes(block.data), np.arange(block.first, block.first + block.count)
        if texts[:1] in (b" ", b"\t") or b"\n " in texts or b"\n\t" in texts:
            texts = INDENT.sub(b"", texts)
        if b"qid:" in texts:
            texts = QID.sub(rb"\1", texts)
        if b"#" in texts:
            texts, kept = _without_comments(texts)
            numbers = numbers[kept]
        if b"0x" in texts or b"0X" in texts:  # pyarrow would take it for an id
            return None
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


def _find_faults(lines: list[bytes]) -> dict[int, Fault]:
    """Return the positions of the lines that pyarrow rejects, and their faults."""
    faults: dict[int, Fault] = {}
    rows: list[int] = []  # of each id and value below; a label has the id "0"
    ids: list[str] = []
    values: list[str] = []
    for row, line in enumerate(lines):
        if PLAIN.fullmatch(line):
            continue
        label, *entries = _tokens(line) or [b""]
        pairs = [entry.split(b":") for entry in entries]
        if not label and b"#" in line:
            continue
        if not label:
            faults[row] = Fault("empty line", "the line is empty")
        elif b":" in label:
            faults[row] = MISSING
        elif any(len(pair) != 2 for pair in pairs):
            faults[row] = _bad_entry(next(b":".join(pair) for pair in pairs if len(pair) != 2))
        else:
            for key, value in [(b"0", label), *pairs]:
                rows.append(row)
                ids.append(key.decode("utf-8", "replace"))
                values.append(value.decode("utf-8", "replace"))
    if not rows:
        return faults
    bad_ids = unreadable(pa.chunked_array([ids], pa.string()), pa.int64()).tolist()
    bad_ids += [k for k, key in enumerate(ids) if not ID.fullmatch(key)]
    bad_values = unreadable(pa.chunked_array([values], pa.string()), pa.float32()).tolist()
    for k in sorted({*bad_ids, *bad_values}):
        is_label = k == 0 or rows[k] != rows[k - 1]
        entry = f"{ids[k]}:{values[k]}".encode()
        fault = wrong_label(_shown(values[k].encode())) if is_label else _bad_entry(entry)
        faults.setdefault(rows[k], fault)
    return faults


def _tokens(line: bytes) -> list[bytes]:
    line = QID.sub(rb"\1", line.partition(b"#")[0])
    return [token for token in line.translate(SPACES).split(b"\n") if token]


def _bad_entry(entry: bytes) -> Fault:
    return Fault("bad entry", f"{_shown(entry)} is not id:value with an id from 0 to 2**63 - 1")


def _shown(token: bytes) -> str:
    return repr(token[:100].decode("utf-8", "backslashreplace"))
