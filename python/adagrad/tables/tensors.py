"""What a safetensors file says of itself: its metadata and the place of each tensor, all checked.

Files of tables and of learners are read through this module instead of the safetensors package,
which maps a file: if that is cut short meanwhile, a mapping ends the process instead of raising.
"""

from __future__ import annotations

import dataclasses
import math
import os
import reprlib
from io import FileIO
from pathlib import Path
from typing import Any

StrPath = str | os.PathLike[str]

ITEM_BYTES = {"F64": 8, "F32": 4, "U32": 4, "BF16": 2, "F16": 2, "U16": 2, "U8": 1}

_LONGEST_HEADER = 100_000_000  # the limit of safetensors
_LONGEST_MESSAGE = 900


class TableFileError(ValueError):
    """A file of a table, learner or checkpoint is not complete, or this version cannot read it.

    The message is one line and not long, whatever the file holds.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_one_line(message))


def _one_line(text: str) -> str:
    if len(text) > _LONGEST_MESSAGE:
        third = _LONGEST_MESSAGE // 3
        text = f"{text[: 2 * third]} ... {text[-third:]}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """The place of a tensor in a file.

    Attributes
    ----------
    dtype : str
        A key of `ITEM_BYTES`.
    shape : tuple of int
    begin, end : int
        Its bytes, counted from the end of the header.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def data_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Return the size in bytes of a tensor."""
    return math.prod(shape) * ITEM_BYTES[dtype]


def strict_json(text: bytes | str, *, finite: bool = True) -> Any:
    """Return what JSON holds, if it has one meaning.

    Parameters
    ----------
    text : bytes or str
    finite : bool, default True
        Whether to refuse NaN, infinities and numbers that overflow a float.

    Raises
    ------
    ValueError
        The text is not JSON or not UTF-8, is nested too deeply, or repeats a key of an object.
    """
    import json  # here, because it would add 4 ms to `import adagrad`

    def constant(name: str) -> float:
        raise ValueError(f"{name} is not a number")

    def number(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else constant(digits[:30])

    how: dict[str, Any] = {"parse_constant": constant, "parse_float": number} if finite else {}
    try:
        return json.loads(
            text.decode() if isinstance(text, bytes) else text, object_pairs_hook=_once, **how
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path, longest: int, *, finite: bool = True) -> Any:
    """Return what a JSON file of at most `longest` bytes holds; see `strict_json`.

    Raises
    ------
    TableFileError
        The file is longer, or not JSON.
    OSError
        It cannot be read.
    """
    size = path.stat().st_size
    if size > longest:
        raise TableFileError(
            f"{path} is corrupted: it has {size} bytes, expected {longest} or less"
        )
    try:
        return strict_json(path.read_bytes(), finite=finite)
    except ValueError as error:
        raise TableFileError(f"{path} is corrupted: it is not JSON: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {reprlib.repr(twice)} occurs twice")
    return found


def read_head(path: StrPath, file: FileIO) -> tuple[bytes, int]:
    """Return the length and the text of a header as bytes, and the size of the file."""
    size = os.fstat(file.fileno()).st_size
    begin = file.read(9)
    if begin[8:] != b"{":
        raise TableFileError(
            f"{path} is not a safetensors file: it has {size} bytes and starts with {begin!r}"
        )
    length = int.from_bytes(begin[:8], "little")
    if not 2 <= length <= _LONGEST_HEADER:
        raise TableFileError(
            f"{path} is not a safetensors file, or is corrupted: the length of its header is"
            f" {length} bytes, expected 2 to {_LONGEST_HEADER}"
        )
    start = 8 + length
    # Before the read, which allocates all it is asked for.
    head = begin + file.read(length - 1) if start <= size else begin
    if len(head) < start:
        raise TableFileError(
            f"{path} is truncated: it has {size} bytes, but its header alone needs {start}"
        )
    return head, size


def check_size(path: StrPath, size: int, expected: int) -> None:
    """Raise if a file does not have the size that its header says."""
    if size != expected:
        what = "is truncated" if size < expected else "has bytes after its end"
        raise TableFileError(f"{path} {what}: it has {size} bytes, its header says {expected}")


def corrupted(path: StrPath, what: str, found: object, expected: str) -> TableFileError:
    """Return the error for a value that cannot be; the value is shown shortened."""
    return TableFileError(
        f"{path} is corrupted: {what} is {reprlib.repr(found)}, expected {expected}"
    )


def read_object(path: StrPath, text: bytes) -> dict[str, Any]:
    """Return the JSON object in a header."""
    try:
        header = strict_json(text)
    except ValueError as error:
        raise TableFileError(f"{path} is corrupted: its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise corrupted(path, "the header", header, "an object")
    return header


def check_strings(path: StrPath, metadata: dict[str, Any]) -> None:
    """Raise if a value of the metadata is not a string."""
    for name, value in metadata.items():
        if not isinstance(value, str):
            raise corrupted(path, f"metadata {name[:20]!r}", value, "a string")


def read_tensors(path: StrPath, file: FileIO) -> tuple[dict[str, str], dict[str, Tensor], int]:
    """Return the metadata and the tensors of an open file, and the position of its data.

    Raises
    ------
    TableFileError
        If the file is of another format or corrupted, or if the tensors do not fill it exactly,
        one after another.
    """
    head, size = read_head(path, file)
    metadata, tensors = tensors_of(path, head, size)
    return metadata, tensors, len(head)


def tensors_of(path: StrPath, head: bytes, size: int) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the metadata and the tensors of a file of `size` bytes, given its header.

    Raises
    ------
    TableFileError
        As `read_tensors` does.
    """
    header = read_object(path, head[8:])
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise corrupted(path, "the metadata", metadata, "an object")
    check_strings(path, metadata)
    tensors = {name: _tensor(path, name, found) for name, found in header.items()}
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].begin):
        if tensor.begin != end:
            what = f"the first byte of tensor {reprlib.repr(name)}"
            raise corrupted(path, what, tensor.begin, f"{end}, where the one before it ends")
        end = tensor.end
    check_size(path, size, len(head) + end)
    return metadata, tensors


def _tensor(path: StrPath, name: str, found: Any) -> Tensor:
    what = f"tensor {reprlib.repr(name)}"
    if not isinstance(found, dict) or set(found) != {"dtype", "shape", "data_offsets"}:
        raise corrupted(path, what, found, "its dtype, shape and data_offsets")
    dtype, shape, offsets = found["dtype"], found["shape"], found["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise corrupted(path, f"the dtype of {what}", dtype, f"one of {', '.join(ITEM_BYTES)}")
    if not are_sizes(shape) or len(shape) > 8:
        raise corrupted(path, f"the shape of {what}", shape, "up to 8 sizes")
    nbytes = data_bytes(dtype, tuple(shape))
    if not are_sizes(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != nbytes:
        expected = f"two that are {nbytes} apart, as dtype and shape say"
        raise corrupted(path, f"data_offsets of {what}", offsets, expected)
    return Tensor(dtype, tuple(shape), *offsets)


def are_sizes(value: object) -> bool:
    """Return whether a value is a list of whole numbers that 63 bits can hold."""
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)
