"""The header of a table file: one tensor in the safetensors format, and its metadata."""

from __future__ import annotations

import dataclasses
import reprlib
from io import FileIO

from adagrad.tables.tensors import (
    ITEM_BYTES,
    StrPath,
    TableFileError,
    are_sizes,
    check_size,
    check_strings,
    corrupted,
    data_bytes,
    read_head,
    read_object,
)

__all__ = [
    "COUNTERS",
    "DIGITS",
    "ITEM_BYTES",
    "Header",
    "TableFileError",
    "data_bytes",
    "decode",
    "encode",
    "parse",
]

FORMAT = "adagrad.Table"
FORMAT_VERSION = "1"
COUNTERS = ("steps", "skipped", "decays")
METADATA = (
    *("format", "format_version", "adagrad_version", "rule", *COUNTERS, "seed"),
    *("rows", "dim", "dtype", "state", "state_dtype"),
)

_PAGE = 4096  # the data start at a multiple of it
DIGITS = 20  # per counter: a fixed width, because counters are overwritten in place


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
    head, size = read_head(path, file)
    metadata, dtype, shape = decode(path, head[8:])
    nbytes = data_bytes(dtype, shape)
    check_size(path, size, len(head) + nbytes)
    return Header(metadata, dtype, shape, len(head), nbytes), head


def decode(path: StrPath, text: bytes) -> tuple[dict[str, str], str, tuple[int, int]]:
    """Return the metadata, dtype and shape in the JSON of a header."""
    header = read_object(path, text)
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise TableFileError(
            f"{path} is a safetensors file, but does not hold an adagrad.Table: its metadata are"
            f" {reprlib.repr(metadata)}, without format {FORMAT!r}"
        )
    check_strings(path, metadata)
    version = metadata.get("format_version", "")
    if version != FORMAT_VERSION:
        if version.isdecimal() and version.isascii() and version[0] != "0":
            raise TableFileError(
                f"{path} was written by a newer adagrad (format {version[:20]}), but this version"
                f" reads format {FORMAT_VERSION}: upgrade adagrad"
            )
        raise corrupted(path, "format_version", version, repr(FORMAT_VERSION))
    missing = [name for name in METADATA if name not in metadata]
    if missing:
        raise TableFileError(f"{path} is corrupted: its metadata lack {', '.join(missing)}")
    for name in COUNTERS:
        value = metadata[name]
        if len(value) != DIGITS or not (value.isascii() and value.isdecimal()):
            raise corrupted(path, name, value, f"{DIGITS} digits")

    tensors = [name for name in header if name != "__metadata__"]
    if tensors != ["table"]:
        raise corrupted(path, "the list of tensors", tensors, "['table']")
    table = header["table"]
    if not isinstance(table, dict) or set(table) != {"dtype", "shape", "data_offsets"}:
        raise corrupted(path, "the table", table, "its dtype, shape and data_offsets")
    dtype, shape, offsets = table["dtype"], table["shape"], table["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise corrupted(path, "the dtype", dtype, f"one of {', '.join(ITEM_BYTES)}")
    if not are_sizes(shape) or len(shape) != 2:
        raise corrupted(path, "the shape", shape, "two sizes")
    rows, width = shape
    nbytes = data_bytes(dtype, (rows, width))
    if not are_sizes(offsets) or offsets != [0, nbytes]:
        expected = f"[0, {nbytes}], as dtype and shape say"
        raise corrupted(path, "the list data_offsets", offsets, expected)
    return metadata, dtype, (rows, width)
