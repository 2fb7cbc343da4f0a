"""Compressed files: how they begin, and their contents as a stream.

A source opens its file here. `adagrad.ctr.logs.blocks` reads the stream.
"""

from __future__ import annotations

import bz2
import io
import lzma
import re
import zlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SNIFFED", "codec_of", "decompressed", "may_be_compressed"]

SNIFFED = 16
"""First bytes of a file that tell its compression."""

# The first bytes of a compressed file.
MAGIC = {
    "gzip": b"\x1f\x8b",
    "zstd": b"\x28\xb5\x2f\xfd",
    "bz2": b"BZh",
    "xz": b"\xfd7zXZ\0",
}

# A frame without data, with which a parallel compressor begins its .zst files.
SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)

READ = 1 << 16
LARGEST_DICTIONARY = 1 << 28  # bytes of memory that an .xz file may ask for


def codec_of(head: bytes) -> str | None:
    """Return the compression that the first bytes of a file belong to."""
    if SKIPPABLE.match(head):
        return "zstd"
    return next((codec for codec, magic in MAGIC.items() if head.startswith(magic)), None)


def may_be_compressed(head: bytes) -> bool:
    """Return whether more bytes are needed to tell the compression of a file."""
    return any(len(head) < len(magic) and magic.startswith(head) for magic in MAGIC.values())


def decompressed(raw: Any, codec: str | None) -> Any:
    """Return a file-like object with the decompressed bytes of `raw`.

    Its ``readinto`` raises OSError where the input ends early or is damaged.
    """
    if codec is None:
        return raw
    if codec == "zstd":
        return pa.CompressedInputStream(raw, codec)
    return _Members(raw, _DECOMPRESSORS[codec])


class _Gzip:
    """A gzip member, with the interface of the decompressors of `bz2` and `lzma`."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)
        self._held = b""

    def decompress(self, data: bytes, room: int) -> bytes:
        out = self._inner.decompress(self._held + data, room)
        self._held = self._inner.unconsumed_tail
        return out

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._held and not self.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "gzip": _Gzip,
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, LARGEST_DICTIONARY),
}


class _Members(io.RawIOBase):
    """The concatenated contents of compressed members; zeros after the last one are padding."""

    def __init__(self, raw: Any, new: Callable[[], Any]) -> None:
        self._raw, self._new = raw, new
        self._member: Any = None
        self._data = b""
        self._has_one = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Decompress at most as many bytes as the buffer has; 0 at the end."""
        try:
            out = self._next(len(buffer))
        except (zlib.error, lzma.LZMAError, ValueError, EOFError) as error:
            raise OSError(str(error)) from None
        buffer[: len(out)] = out
        return len(out)

    def _next(self, room: int) -> bytes:
        while True:
            if self._member is None and not self._begin():
                return b""
            if self._member.needs_input and not self._data:
                self._data = self._raw.read(READ)
                if not self._data:
                    raise EOFError("the compressed data end within a member")
            data, self._data = self._data, b""
            out: bytes = self._member.decompress(data, room)
            if self._member.eof:
                self._data, self._member = self._member.unused_data, None
            if out:
                return out

    def _begin(self) -> bool:
        """Begin with the next member; return False if there is none."""
        while True:
            if self._has_one:
                self._data = self._data.lstrip(b"\0")
            if self._data:
                self._member, self._has_one = self._new(), True
                return True
            self._data = self._raw.read(READ)
            if not self._data:
                return False
