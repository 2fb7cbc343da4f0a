"""What changed from one file of a model to the next, as a small file of its own.

Training files and exports are safetensors files, and a delta knows what that means: rows are
matched by their slots, numbers are compared with the old ones (see `_difference`), and only the
rows that differ are in it. It holds hashes of both files, so that `patch` makes the new file byte
for byte or nothing.

A delta is a safetensors file as well, with one tensor "blocks". The metadata have the size and the
SHA-256 of both files.
"""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
from collections.abc import Iterator
from io import FileIO
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adagrad._atomic import StrPath, replacing
from adagrad._core import __version__
from adagrad.serving._difference import (
    BlockReader,
    Blocks,
    decode,
    decode_set,
    encode,
    encode_set,
)
from adagrad.serving._index import Index, index_of
from adagrad.tables import files
from adagrad.tables.tensors import (
    ITEM_BYTES,
    TableFileError,
    Tensor,
    read_head,
    read_tensors,
    strict_json,
    tensors_of,
)

__all__ = ["FORMAT", "Sizes", "diff", "patch"]

FORMAT = "adagrad.delta"
_VERSION = "1"
_CHUNK = 1 << 22  # numbers at once
_READ = 1 << 22  # bytes at once
_LONGEST_HEAD = 100_000_008
_MOST_GROWTH = 100  # a new file has at most so many times the bytes of the old one and the delta

Slots = npt.NDArray[np.uint32]


class Sizes(NamedTuple):
    """The sizes in bytes of an old and a new file, and of the delta between them."""

    old: int
    new: int
    delta: int


class _Sum(NamedTuple):
    size: int
    sha256: str


class _Rows:
    """A safetensors file, open for reading rows of its tensors."""

    def __init__(self, path: StrPath, file: FileIO) -> None:
        self.path, self._file = path, file
        file.seek(0)
        self.head, size = read_head(path, file)
        metadata, self.tensors = tensors_of(path, self.head, size)
        self.index = index_of(metadata, self.tensors)
        self.slots = None if self.index is None else self._slots(self.index)

    @property
    def known(self) -> Slots:
        """The slots that are listed."""
        return np.empty(0, np.uint32) if self.slots is None else self.slots

    def _slots(self, index: Index) -> Slots | None:
        """Return the slots of the rows, if the tensors of the index are what they say."""
        found = {
            name: self.rows(name, 0, self.tensors[name].shape[0])[:, 0] for name in index.names
        }
        slots = index.slots(found)
        if slots is None:
            return None
        expected = index.tensors(slots)
        same = (np.array_equal(expected[name], array) for name, array in found.items())
        return slots if all(same) else None

    def rows(self, name: str, first: int, last: int) -> npt.NDArray[Any]:
        """Return the bits of the rows [first, last) of a tensor, shape [last - first, columns]."""
        tensor = self.tensors[name]
        columns, item = _columns(tensor), ITEM_BYTES[tensor.dtype]
        found = np.empty((last - first, columns), f"<u{item}")
        self._file.seek(len(self.head) + tensor.begin + first * columns * item)
        files.fill(self.path, self._file, _bytes(found))
        return found


class _Alignment(NamedTuple):
    """Which rows of a new tensor are old ones, and where these were."""

    kept: npt.NDArray[np.bool_]
    old: npt.NDArray[Any]


def diff(old: StrPath, new: StrPath, delta: StrPath) -> Sizes:
    """Write what changed from one file to another.

    Parameters
    ----------
    old, new : str or PathLike
        Files of models, tables or exports: in the safetensors format.
    delta : str or PathLike
        Replaced as a whole, if it exists.

    Returns
    -------
    Sizes

    Raises
    ------
    adagrad.TableFileError
        A file is not in that format, or is damaged.
    ValueError
        The new file is a hundred times as large as the old one and the delta: no reader would
        believe such a delta.
    OSError
        A file cannot be read or written.
    """
    blocks = Blocks()
    with files.open_regular(old, "rb") as first, files.open_regular(new, "rb") as second:
        sums = {"old": _sum(first), "new": _sum(second)}
        before, after = _Rows(old, first), _Rows(new, second)
        _put_head(blocks, before.head, after.head)
        slots, derived = after.slots, tuple[str, ...]()
        blocks.put(bytes([slots is not None]))
        if slots is not None and after.index is not None:
            derived = after.index.names
            encode_set(blocks, slots, before.known)
        for name, tensor in _in_order(after.tensors):
            for rows in () if name in derived else _chunks(tensor):
                found = after.rows(name, rows.start, rows.stop)
                aligned = _aligned(before, name, tensor, slots, rows)
                encode(blocks, tensor.dtype, found[aligned.kept], aligned.old)
                encode(blocks, tensor.dtype, found[~aligned.kept], None)
        if (sums["old"], sums["new"]) != (_sum(first), _sum(second)):
            raise TableFileError(f"{old} or {new} changed while it was read")
    size = sum(map(len, blocks.parts))
    if sums["new"].size > _MOST_GROWTH * (sums["old"].size + size):
        raise ValueError(
            f"{new} is more than {_MOST_GROWTH} times as large as {old} and what changed: ship the"
            " file itself"
        )
    head = _head(sums, size)
    files.replace(delta, [memoryview(part) for part in (head, *blocks.parts)], len(head) + size)
    return Sizes(sums["old"].size, sums["new"].size, len(head) + size)


def patch(old: StrPath, delta: StrPath, new: StrPath) -> Sizes:
    """Make a new file from an old one and what changed.

    Parameters
    ----------
    old : str or PathLike
        The file that `diff` compared. If it is already the new one, it is copied, so that a job
        may be repeated.
    delta : str or PathLike
        What it wrote.
    new : str or PathLike
        Replaced as a whole, if it exists. It has the bytes of the file that `diff` read.

    Returns
    -------
    Sizes

    Raises
    ------
    adagrad.TableFileError
        `old` is another file, or `delta` is damaged or of a newer version. `new` is untouched.
    OSError
        A file cannot be read or written.
    """
    sums, data, size = _read_delta(delta)
    with files.open_regular(old, "rb") as file:
        found = _sum(file)
        if found == sums["new"]:
            _copy(old, file, found, new)
            return Sizes(found.size, found.size, size)
        if found != sums["old"]:
            raise TableFileError(
                f"{delta} starts from another file than {old}: from one of {sums['old'].size} bytes"
                f" with SHA-256 {sums['old'].sha256[:16]}..., but this one has {found.size} bytes"
                f" and {found.sha256[:16]}...: take the deltas in their order, or the whole file"
            )
        before = _Rows(old, file)
        digest = hashlib.sha256()
        with replacing(new, sums["new"].size) as out:
            try:
                for part in _patched(before, BlockReader(data), sums["new"].size):
                    digest.update(part)
                    out.write(part)
            except (ValueError, IndexError, OverflowError) as error:
                raise TableFileError(f"{delta} is corrupted: {error}") from error
            if digest.hexdigest() != sums["new"].sha256:
                raise TableFileError(f"{delta} is corrupted: it does not make the file it names")
    return Sizes(found.size, sums["new"].size, size)


def _copy(old: StrPath, file: FileIO, expected: _Sum, new: StrPath) -> None:
    """Write the new file from a file that has its bytes."""
    digest = hashlib.sha256()
    file.seek(0)
    with replacing(new, expected.size) as out:
        while part := file.read(_READ):
            digest.update(part)
            out.write(part)
        if digest.hexdigest() != expected.sha256:
            raise TableFileError(f"{old} changed while it was read")


def _patched(before: _Rows, blocks: BlockReader, size: int) -> Iterator[memoryview]:
    """Yield the bytes of the new file in parts."""
    head = _take_head(blocks, before.head)
    yield memoryview(head)
    metadata, tensors = tensors_of("the new file", head, size)
    slots, derived = None, dict[str, npt.NDArray[Any]]()
    if blocks.take(1) != b"\0":
        index = index_of(metadata, tensors)
        if index is None:
            raise ValueError("it has slots for a file without them")
        slots = decode_set(blocks, index.rows, before.known)
        derived = index.tensors(slots)
    for name, tensor in _in_order(tensors):
        if name in derived:
            yield _bytes(derived[name])
            continue
        for rows in _chunks(tensor):
            kept, old = _aligned(before, name, tensor, slots, rows)
            found = np.empty((len(kept), _columns(tensor)), f"<u{ITEM_BYTES[tensor.dtype]}")
            count = int(np.count_nonzero(kept))
            found[kept] = decode(blocks, tensor.dtype, count, found.shape[1], old)
            found[~kept] = decode(blocks, tensor.dtype, len(found) - count, found.shape[1], None)
            yield _bytes(found)
    blocks.finish()


def _aligned(
    before: _Rows, name: str, tensor: Tensor, slots: Slots | None, rows: slice
) -> _Alignment:
    """Return which of the rows of a new tensor are in the old file, and their numbers there."""
    old = before.tensors.get(name)
    count = rows.stop - rows.start
    none = np.zeros(count, np.bool_), np.empty((0, _columns(tensor)), "u1")
    if old is None or old.dtype != tensor.dtype or old.shape[1:] != tensor.shape[1:]:
        return _Alignment(*none)
    if _is_by_slot(old, before.slots) and _is_by_slot(tensor, slots):
        wanted = np.arange(rows.start, rows.stop) if slots is None else slots[rows]
        if before.slots is None:
            at, kept = wanted.astype(np.int64), wanted < old.shape[0]
        else:
            at = np.searchsorted(before.slots, wanted)
            kept = at < len(before.slots)
            kept[kept] = before.slots[at[kept]] == wanted[kept]
        at = at[kept]
    elif old.shape == tensor.shape:
        at, kept = np.arange(rows.start, rows.stop), np.ones(count, np.bool_)
    else:
        return _Alignment(*none)
    if not len(at):
        return _Alignment(kept, none[1])
    first = int(at[0])
    return _Alignment(kept, before.rows(name, first, int(at[-1]) + 1)[at - first])


def _is_by_slot(tensor: Tensor, slots: Slots | None) -> bool:
    return len(tensor.shape) > 0 and (slots is None or tensor.shape[0] == len(slots))


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _in_order(tensors: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    return sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end))


def _chunks(tensor: Tensor) -> Iterator[slice]:
    """Return slices of the rows of a tensor; one tensor of no dimension is a row."""
    count = tensor.shape[0] if tensor.shape else 1
    step = max(1, _CHUNK // max(1, _columns(tensor)))
    return (slice(first, min(first + step, count)) for first in range(0, count, step))


def _columns(tensor: Tensor) -> int:
    return math.prod(tensor.shape[1:])


def _put_head(blocks: Blocks, old: bytes, new: bytes) -> None:
    """Write a header, of which the beginning and the end are often those of the old one."""
    shorter = min(len(old), len(new))
    first = _common(old[:shorter], new[:shorter])
    last = _common(old[first:][::-1][: shorter - first], new[first:][::-1][: shorter - first])
    middle = new[first : len(new) - last]
    blocks.put(np.array([first, last, len(middle)], "<u4"))
    blocks.put(middle)


def _take_head(blocks: BlockReader, old: bytes) -> bytes:
    first, last, count = blocks.array("u4", 3).tolist()
    if first + last > len(old) or first + last + count > _LONGEST_HEAD:
        raise ValueError(f"its header has {first}, {count} and {last} bytes")
    return old[:first] + blocks.take(count) + old[len(old) - last :]


def _common(one: bytes, other: bytes) -> int:
    """Return how many bytes are equal at the beginning of two texts of one length."""
    differs = np.frombuffer(one, np.uint8) != np.frombuffer(other, np.uint8)
    return int(np.argmax(differs)) if differs.any() else len(one)


def _sum(file: FileIO) -> _Sum:
    """Return the size and the hash of a file."""
    digest, size = hashlib.sha256(), 0
    file.seek(0)
    while part := file.read(_READ):
        digest.update(part)
        size += len(part)
    return _Sum(size, digest.hexdigest())


def _head(sums: dict[str, _Sum], size: int) -> bytes:
    """Return the header of a delta whose blocks have `size` bytes."""
    metadata = {
        "format": FORMAT,
        "format_version": _VERSION,
        "adagrad_version": __version__,
        **{name: json.dumps(found._asdict()) for name, found in sums.items()},
    }
    blocks = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    text = json.dumps({"__metadata__": metadata, "blocks": blocks}).encode()
    return len(text).to_bytes(8, "little") + text


def _read_delta(path: StrPath) -> tuple[dict[str, _Sum], memoryview, int]:
    """Return the sizes and hashes that a delta names, its blocks, and its size."""
    with files.open_regular(path, "rb") as file:
        metadata, tensors, start = read_tensors(path, file)
        if metadata.get("format") != FORMAT:
            raise TableFileError(f"{path} is not a delta of adagrad diff")
        if (version := metadata.get("format_version", "")) != _VERSION:
            raise TableFileError(
                f"{path} was written by another adagrad (format {version[:20]!r}), this one reads"
                f" {_VERSION}: upgrade"
            )
        tensor = tensors.get("blocks")
        if len(tensors) != 1 or tensor is None or tensor.dtype != "U8" or len(tensor.shape) != 1:
            raise TableFileError(f"{path} is corrupted: its tensors are not those of a delta")
        try:
            sums = {name: _checked_sum(strict_json(metadata[name])) for name in ("old", "new")}
        except (KeyError, TypeError, ValueError) as error:
            raise TableFileError(f"{path} is corrupted: its metadata: {error}") from error
        most = _MOST_GROWTH * (sums["old"].size + tensor.end)
        if sums["new"].size > most:
            raise TableFileError(
                f"{path} is corrupted: it would make a file of {sums['new'].size} bytes, expected"
                f" {most} or fewer"
            )
        data = np.empty(tensor.end, np.uint8)
        file.seek(start)
        files.fill(path, file, data.data)
    return sums, data.data, start + tensor.end


def _checked_sum(found: dict[str, Any]) -> _Sum:
    size, digest = found["size"], found["sha256"]
    if type(size) is not int or not 0 <= size < 2**63:
        raise ValueError(f"the size {reprlib.repr(size)}")
    if not isinstance(digest, str) or len(digest) != 64:
        raise ValueError(f"the hash {reprlib.repr(digest)}")
    return _Sum(size, digest)
