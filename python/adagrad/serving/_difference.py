"""Numbers as their differences from earlier ones, compressed.

A weight that was not learned from today still changes a little, because a mixture combines its
experts in new proportions. So old and new numbers are compared as integers in the order of the
floats, after a curve through the changes has been taken off. The differences are written in the
order of the old numbers, which puts those of one size together, byte by byte, so that the bytes
that hardly vary are together as well. LZMA does the rest.

Whoever reads has the old numbers, so both sides compute the same order and the same curve: in
float64, each operation rounded alone, which gives the same bits on every machine.
"""

from __future__ import annotations

import lzma
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BlockReader", "Blocks", "decode", "decode_set", "encode", "encode_set"]

Bits = npt.NDArray[Any]
"""Numbers as unsigned integers of their size."""

Slots = npt.NDArray[np.uint32]

_FLOATS = ("F32", "F16", "BF16", "F64")
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 20, "lc": 0, "pb": 0}]
_RAW, _LZMA = 0, 1
_HEAD = 9  # bytes of a block before its data: how they are compressed, and how many they are
_ROWS_OF_KNOT = 2048
_MOST_KNOTS = 256
_LONG = 4096  # rows


class Blocks:
    """A sequence of blocks of bytes, each compressed."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def put(self, data: bytes | Bits) -> None:
        """Add a block."""
        data = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
        packed = lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS)
        kind = _LZMA if len(packed) < len(data) else _RAW
        packed = packed if kind == _LZMA else data
        self.parts += [bytes([kind]), len(packed).to_bytes(_HEAD - 1, "little"), packed]


class BlockReader:
    """The blocks of a `Blocks`, one after another.

    Parameters
    ----------
    data : memoryview
    """

    def __init__(self, data: memoryview) -> None:
        self._left = data

    def take(self, size: int) -> bytes:
        """Return the next block, which has `size` bytes.

        Raises
        ------
        ValueError
            It does not, or it is damaged.
        """
        head, left = self._left[:_HEAD], self._left[_HEAD:]
        count = int.from_bytes(head[1:], "little")
        if len(head) < _HEAD or count > len(left) or head[0] not in (_RAW, _LZMA):
            raise ValueError("a block is cut short")
        packed, self._left = left[:count], left[count:]
        if head[0] == _RAW:
            data = bytes(packed) if count == size else b""
        else:
            # It stops after one byte too many: a few bytes may expand to gigabytes.
            reader = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
            try:
                data = reader.decompress(packed, size + 1)
            except lzma.LZMAError as error:
                raise ValueError(f"a block is damaged: {error}") from None
        if len(data) != size:
            raise ValueError(f"a block does not have the {size} bytes that it should have")
        return data

    def array(self, dtype: str, count: int) -> npt.NDArray[Any]:
        """Return the next block as an array of numbers."""
        little = np.dtype(dtype).newbyteorder("<")
        return np.frombuffer(self.take(little.itemsize * count), little)

    def finish(self) -> None:
        """Raise a ValueError if there is another block."""
        if self._left:
            raise ValueError(f"it has {len(self._left)} bytes after its last block")


def encode(out: Blocks, dtype: str, new: Bits, old: Bits | None) -> None:
    """Write rows of numbers, given the old ones.

    Parameters
    ----------
    out : Blocks
    dtype : str
        The name of their type in the safetensors format.
    new : ndarray of unsigned integers, shape [n, c]
        The bits of the numbers.
    old : ndarray of unsigned integers, shape [n, c], optional
    """
    if old is not None:
        changed = (new != old).T
        # Columns of a row often change together.
        out.put(np.packbits(changed ^ _before(changed)))
    for part in _parts(*new.shape):
        found = new[:, part].T
        if old is None:
            _put_planes(out, _image(dtype, found.reshape(-1)))
        elif (where := changed[part]).any():
            _encode_changes(out, dtype, found[where], old[:, part].T[where])


def decode(blocks: BlockReader, dtype: str, rows: int, columns: int, old: Bits | None) -> Bits:
    """Return the rows that `encode` wrote, of shape [rows, columns]."""
    new = np.empty((rows, columns), _unsigned(dtype))
    if old is not None:
        new[:] = old
        mask = np.frombuffer(blocks.take(-(-new.size // 8)), np.uint8)
        bits = np.unpackbits(mask, count=new.size).reshape(columns, rows)
        changed = np.bitwise_xor.accumulate(bits, axis=0).astype(np.bool_)
    for part in _parts(rows, columns):
        found = new[:, part].T  # a view
        if old is None:
            found[:] = _of_image(dtype, _planes(blocks, new.dtype, found.size)).reshape(found.shape)
        elif (where := changed[part]).any():
            found[where] = _decode_changes(blocks, dtype, found[where])
    return new


def _before(changed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the line before each line; False before the first."""
    return np.concatenate([np.zeros_like(changed[:1]), changed[:-1]])


def _parts(rows: int, columns: int) -> list[slice]:
    """Return the columns that go together: one if it is long, since each has its own scale."""
    if not rows * columns:
        return []
    width = 1 if rows >= _LONG else columns
    return [slice(first, first + width) for first in range(0, columns, width)]


def _encode_changes(out: Blocks, dtype: str, new: Bits, old: Bits) -> None:
    order = _order(dtype, old)
    new, old = new[order], old[order]
    knots = _fit(dtype, new, old)
    out.put(len(knots).to_bytes(4, "little"))
    out.put(knots)
    expected = _image(dtype, _expected(dtype, old, knots))
    _put_planes(out, _folded(_image(dtype, new) - expected))


def _decode_changes(blocks: BlockReader, dtype: str, old: Bits) -> Bits:
    order = _order(dtype, old)
    count = int.from_bytes(blocks.take(4), "little")
    if count > _MOST_KNOTS:
        raise ValueError(f"it has a curve of {count} points, expected {_MOST_KNOTS} or fewer")
    knots = blocks.array("f4", 2 * count).reshape(count, 2)
    expected = _image(dtype, _expected(dtype, old[order], knots))
    new = np.empty_like(old)
    new[order] = _of_image(dtype, expected + _unfolded(_planes(blocks, old.dtype, len(old))))
    return new


def encode_set(out: Blocks, new: Slots, old: Slots) -> None:
    """Write integers that ascend, given others that do: which of these are gone, and which came."""
    gone = ~np.isin(old, new, assume_unique=True)
    came = new[~np.isin(new, old, assume_unique=True)]
    out.put(np.packbits(gone))
    out.put(len(came).to_bytes(8, "little"))
    _put_planes(out, np.diff(came, prepend=np.uint32(0)))


def decode_set(blocks: BlockReader, count: int, old: Slots) -> Slots:
    """Return the integers that `encode_set` wrote."""
    mask = np.frombuffer(blocks.take(-(-len(old) // 8)), np.uint8)
    kept = old[np.unpackbits(mask, count=len(old)) == 0]
    added = int.from_bytes(blocks.take(8), "little")
    if added != count - len(kept):
        raise ValueError(f"it has {added} new rows, expected {count - len(kept)}")
    came = np.cumsum(_planes(blocks, np.dtype("<u4"), added), dtype=np.uint32)
    new: Slots = np.concatenate([kept, came])
    new.sort(kind="stable")
    return new


def _unsigned(dtype: str) -> np.dtype[Any]:
    from adagrad.tables.tensors import ITEM_BYTES

    return np.dtype(f"<u{ITEM_BYTES[dtype]}")


def _image(dtype: str, bits: Bits) -> Bits:
    """Return integers in the order of the numbers: floats that are neighbors differ by 1."""
    if dtype not in _FLOATS:
        return bits
    top = bits.dtype.type(1 << (8 * bits.itemsize - 1))
    return np.where(bits & top, ~bits, bits | top)


def _of_image(dtype: str, image: Bits) -> Bits:
    if dtype not in _FLOATS:
        return image
    top = image.dtype.type(1 << (8 * image.itemsize - 1))
    return np.where(image & top, image ^ top, ~image)


def _folded(differences: Bits) -> Bits:
    """Return differences modulo a power of two with the small ones, of either sign, first."""
    negative = differences >> (8 * differences.itemsize - 1)
    folded: Bits = (differences << 1) ^ (0 - negative)
    return folded


def _unfolded(folded: Bits) -> Bits:
    differences: Bits = (folded >> 1) ^ (0 - (folded & 1))
    return differences


def _put_planes(out: Blocks, image: Bits) -> None:
    planes = image.astype(image.dtype.newbyteorder("<"), copy=False).view(np.uint8)
    for plane in planes.reshape(-1, image.itemsize).T:
        out.put(plane)


def _planes(blocks: BlockReader, dtype: np.dtype[Any], count: int) -> Bits:
    planes = [np.frombuffer(blocks.take(count), np.uint8) for _ in range(dtype.itemsize)]
    return np.stack(planes, axis=1).reshape(-1).view(dtype)


def _order(dtype: str, bits: Bits) -> npt.NDArray[np.intp]:
    if dtype not in _FLOATS:
        return np.arange(len(bits))
    return np.argsort(_image(dtype, bits), kind="stable")


def _floats(dtype: str, bits: Bits) -> npt.NDArray[np.float64]:
    """Return the numbers of 16 or 32 bits; 0 for those that are not finite."""
    if dtype == "BF16":
        bits = bits.astype(np.uint32) << 16
    numbers = bits.view(f"f{bits.itemsize}")
    return np.where(np.isfinite(numbers), numbers, numbers.dtype.type(0)).astype(np.float64)


def _bits(dtype: str, numbers: npt.NDArray[np.float64]) -> Bits:
    """Return the nearest numbers of a type."""
    if dtype == "F16":
        return numbers.astype(np.float16).view(np.uint16)
    single = numbers.astype(np.float32).view(np.uint32)
    if dtype == "F32":
        return single
    return ((single + 0x7FFF + ((single >> 16) & 1)) >> 16).astype(np.uint16)


def _fit(dtype: str, new: Bits, old: Bits) -> npt.NDArray[np.float32]:
    """Return points of a curve through the changes: old number and change, medians of groups."""
    count = min(len(old) // _ROWS_OF_KNOT, _MOST_KNOTS)
    if dtype not in _FLOATS or dtype == "F64" or count < 2:
        return np.empty((0, 2), np.float32)
    before, after = _floats(dtype, old), _floats(dtype, new)
    edges = np.linspace(0, len(old), count + 1).astype(np.intp)
    groups = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    with np.errstate(all="ignore"):
        points = [(np.median(before[i:j]), np.median(after[i:j] - before[i:j])) for i, j in groups]
        knots = np.array(points, np.float32)
    knots = knots[np.isfinite(knots).all(axis=1)]
    return knots[np.diff(knots[:, 0], prepend=-np.inf) > 0]


def _expected(dtype: str, old: Bits, knots: npt.NDArray[np.float32]) -> Bits:
    """Return what new numbers should be according to the curve."""
    if len(knots) < 2:
        return old
    x, y = knots.astype(np.float64).T
    before = _floats(dtype, old)
    # Each step on its own: a fused one would have other bits on some machines.
    with np.errstate(all="ignore"):
        slopes = (y[1:] - y[:-1]) / (x[1:] - x[:-1])
        at = np.clip(np.searchsorted(x, before) - 1, 0, len(slopes) - 1)
        part = np.clip(before, x[0], x[-1]) - x[at]
        rise = part * slopes[at]
        change = y[at] + rise
        return _bits(dtype, before + change)
