"""The header of a table file: one tensor in the safetensors format, and its metadata."""

from __future__ import annotations

import dataclasses
import math
import os
import reprlib
from io import FileIO

StrPath = str | os.PathLike[str]

FORMAT = "adagrad.Table"
FORMAT_VERSION = "1"
COUNTERS = ("steps", "skipped", "decays")
METADATA = (
    *("format", "format_version", "adagrad_version", "rule", *COUNTERS, "seed"),
    *("rows", "dim", "dtype", "state", "state_dtype"),
)
ITEM_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "U8": 1}

_PAGE = 4096  # the data start at a multiple of it
DIGITS = 20  # per counter: a fixed width, because counters are overwritten in place
_LONGEST_HEADER = 100_000_000  # the limit of safetensors


class TableFileError(ValueError):
    """A file is not a complete `adagrad.Table` that this version can read."""


@dataclasses.dataclass(frozen=True)
class Header:
    """The content of a header, consistent with the size of its file.

    Attributes
    ----------
    metadata : dict of str
        At least the keys of `METADATA`. The format and the counters are checked, the other values
        are not.
    dtype : str
        A key of `ITEM_BYTES`.
    shape : tuple of int
        Number of rows, and elements or bytes per row.
    start : int
        Position of the data in the file.
    nbytes : int
        Size of the data.
    """

    metadata: dict[str, str]
    dtype: str
    shape: tuple[int, int]
    start: int
    nbytes: int


def data_bytes(dtype: str, shape: tuple[int, int]) -> int:
    """Return the size in bytes of a tensor."""
    return math.prod(shape) * ITEM_BYTES[dtype]


def encode(metadata: dict[str, str], dtype: str, shape: tuple[int, int]) -> bytes:
    """Return the bytes of a header, padded so that the data that follow are aligned."""
    import json  # here, because it would add 4 ms to `import adagrad`

    header = {
        "__metadata__": {"format": FORMAT, "format_version": FORMAT_VERSION, **metadata},
        "table": {"dtype": dtype, "shape": shape, "data_offsets": [0, data_bytes(dtype, shape)]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    length = -(-(8 + len(text)) // _PAGE) * _PAGE - 8
    return length.to_bytes(8, "little") + text.ljust(length)


def parse(path: StrPath, file: FileIO) -> tuple[Header, bytes]:
    """Return the header of an open file, decoded and as bytes."""
    size = os.fstat(file.fileno()).st_size
    begin = file.read(9)
    if begin[8:] != b"{":
        raise TableFileError(
            f"{path} is not a safetensors file: it has {size} bytes and starts with {begin!r},"
            " expected the length of a header in 8 bytes, then the header in JSON"
        )
    length = int.from_bytes(begin[:8], "little")
    if not 2 <= length <= _LONGEST_HEADER:
        raise TableFileError(
            f"{path} is not a safetensors file, or is corrupted: the length of its header is"
            f" {length} bytes, expected 2 to {_LONGEST_HEADER}"
        )
    head = begin + file.read(length - 1)
    start = 8 + length
    if len(head) < start:
        raise TableFileError(
            f"{path} is truncated: it has {size} bytes, but its header alone needs {start}"
        )
    metadata, dtype, shape = decode(path, head[8:])
    nbytes = data_bytes(dtype, shape)
    if size != start + nbytes:
        what = "is truncated" if size < start + nbytes else "has bytes after its end"
        raise TableFileError(
            f"{path} {what}: it has {size} bytes, its header says {start + nbytes}"
        )
    return Header(metadata, dtype, shape, start, nbytes), head


def decode(path: StrPath, text: bytes) -> tuple[dict[str, str], str, tuple[int, int]]:
    """Return the metadata, dtype and shape in the JSON of a header."""
    import json

    def corrupted(what: str, found: object, expected: str) -> TableFileError:
        shown = reprlib.repr(found)  # shortened
        return TableFileError(f"{path} is corrupted: {what} is {shown}, expected {expected}")

    try:
        header = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise TableFileError(f"{path} is corrupted: its header is not JSON: {error}") from error
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise TableFileError(
            f"{path} is a safetensors file, but does not hold an adagrad.Table: its metadata are"
            f" {reprlib.repr(metadata)}, without format {FORMAT!r}"
        )
    for name, value in metadata.items():
        if not isinstance(value, str):
            raise corrupted(f"metadata {name[:20]!r}", value, "a string")
    version = metadata.get("format_version", "")
    if version != FORMAT_VERSION:
        if version.isdecimal() and version.isascii() and version[0] != "0":
            raise TableFileError(
                f"{path} was written by a newer adagrad (format {version[:20]}), but this version"
                f" reads format {FORMAT_VERSION}: upgrade adagrad"
            )
        raise corrupted("format_version", version, repr(FORMAT_VERSION))
    missing = [name for name in METADATA if name not in metadata]
    if missing:
        raise TableFileError(f"{path} is corrupted: its metadata lack {', '.join(missing)}")
    for name in COUNTERS:
        value = metadata[name]
        if len(value) != DIGITS or not (value.isascii() and value.isdecimal()):
            raise corrupted(name, value, f"{DIGITS} digits")

    tensors = [name for name in header if name != "__metadata__"]
    if tensors != ["table"]:
        raise corrupted("the list of tensors", tensors, "['table']")
    table = header["table"]
    if not isinstance(table, dict) or set(table) != {"dtype", "shape", "data_offsets"}:
        raise corrupted("the table", table, "its dtype, shape and data_offsets")
    dtype, shape, offsets = table["dtype"], table["shape"], table["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise corrupted("the dtype", dtype, f"one of {', '.join(ITEM_BYTES)}")
    if not _is_pair(shape):
        raise corrupted("the shape", shape, "two sizes")
    rows, width = shape
    nbytes = data_bytes(dtype, (rows, width))
    if not _is_pair(offsets) or offsets != [0, nbytes]:
        expected = f"[0, {nbytes}], as dtype and shape say"
        raise corrupted("the list data_offsets", offsets, expected)
    return metadata, dtype, (rows, width)


def _is_pair(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(n) is int and 0 <= n < 2**63 for n in value)
    )
