"""Blocks of whole lines from a stream, with the number of each.

Called by the readers of text formats. Nothing here knows what a line means.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from adagrad.ctr.logs.checks import Fault, LogError, Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from adagrad.ctr.logs.sources import Source

__all__ = ["Lines", "blocks", "parsed"]

# A block stays in the cache from where it is read to where it is parsed.
BLOCK = 1 << 20
LONGEST_LINE = 1 << 26
# What a decompressor had in hand is lost when its input ends early: ask it for little at a time.
COMPRESSED_READ = 1 << 16
# NumPy counts a byte faster than bytes.count does, as long as the comparison stays in the cache.
COUNTED = 1 << 18
LINE_END = ord("\n")


@dataclass(frozen=True)
class Lines:
    """Whole lines, each with its end.

    The memory is valid until the next block is asked for.

    Attributes
    ----------
    data : memoryview or bytes
        The bytes.
    first : int
        The number of the first line, from 1.
    count : int
        How many lines these are.
    returns : bool
        Whether there is a carriage return somewhere.
    """

    data: memoryview | bytes
    first: int
    count: int
    returns: bool

    def without_first(self, length: int) -> Lines:
        """Return the lines after the first one, which has ``length`` bytes with its end."""
        return replace(self, data=self.data[length:], first=self.first + 1, count=self.count - 1)

    def has_lone_returns(self) -> bool:
        """Whether there is a carriage return that is not part of the end of a line."""
        if not self.returns:
            return False
        data = bytes(self.data)
        return data.count(b"\r") != data.count(b"\r\n")

    def cut(self, count: int) -> tuple[Lines, ...]:
        """Return the first ``count`` lines and the rest, if any."""
        if self.count <= count:
            return (self,)
        end = int(np.flatnonzero(np.frombuffer(self.data, np.uint8) == LINE_END)[count - 1]) + 1
        return (
            replace(self, data=self.data[:end], count=count),
            replace(self, data=self.data[end:], first=self.first + count, count=self.count - count),
        )


def blocks(source: Source, raw: object) -> Iterator[Lines]:
    """Read a file as blocks of whole lines, in constant memory.

    The last line may lack its end.

    Raises
    ------
    LogError
        The stream ends early or is damaged (the lines before are given out first), or a line is
        longer than 64 MiB.
    """
    stream = source.decompressed(raw)
    step = COMPRESSED_READ if source.codec else BLOCK
    buffer = bytearray(BLOCK)
    held, line = 0, 1
    passed = 0  # bytes of the blocks before
    broken: str | None = None
    if source.codec and source.size == 0:
        broken = "the compressed file is empty"
    while True:
        end = broken is not None
        while held < len(buffer) and not end:
            try:
                got = stream.readinto(memoryview(buffer)[held : held + step])
            except (OSError, pa.ArrowException) as error:
                broken, got = f"the file ends early or is damaged: {error}", 0
                rest = _rest(source, passed + held)
                buffer[held : held + len(rest)] = rest
                held += len(rest)
            held += got
            end = not got
        called_off = source.pipe is not None and source.pipe.called_off
        if end and not (broken or called_off) and held and buffer[held - 1] != LINE_END:
            buffer[held : held + 1] = b"\n"
            held += 1
        cut = buffer.rfind(b"\n", 0, held) + 1
        if cut:
            data = memoryview(buffer)[:cut]
            count = _count(data)
            yield Lines(data, line, count, buffer.find(b"\r", 0, cut) >= 0)
            line += count
            passed += cut
        if broken:
            raise LogError(source.path, line, broken)
        if end:
            return
        if not cut and held >= LONGEST_LINE:
            raise LogError(source.path, line, f"no end of the line within {held} bytes")
        rest = bytes(memoryview(buffer)[cut:held])
        if not cut:
            buffer = bytearray(2 * len(buffer))
        held = len(rest)
        buffer[:held] = rest


def _rest(source: Source, given: int) -> bytes:
    """Return what a damaged file has after so many bytes and before the damage.

    The decompressor loses what it has in hand when it fails, so that it begins anew.
    """
    rest = bytearray()
    with source.open() as raw, contextlib.suppress(OSError, pa.ArrowException):
        stream = source.decompressed(raw)
        while given and (got := len(stream.read(min(given, COMPRESSED_READ)))):
            given -= got
        while byte := stream.read(1):
            rest += byte
    return bytes(rest)


def parsed(
    lines: Lines,
    parse: Callable[[Lines], Piece | None],
    why: Callable[[bytes], Fault],
    schema: pa.Schema,
) -> Piece:
    """Parse lines that may hold some which a parser refuses without telling which.

    Parameters
    ----------
    lines : Lines
        Whole lines.
    parse : callable
        Parses any number of lines, or returns None if it refuses one of them.
    why : callable
        Says what is wrong with one line that ``parse`` refuses.
    schema : pyarrow.Schema
        The columns that ``parse`` returns.

    Returns
    -------
    Piece
        Rows and faults. Halving finds the faults: ``log2(lines)`` more readings for one of them.
    """
    piece = parse(lines)
    if piece is not None:
        return piece
    each = [line + b"\n" for line in bytes(lines.data).split(b"\n")[:-1]]
    pieces = [Piece(schema.empty_table(), np.arange(0))]
    ranges = [(0, len(each))] if each else []  # a file of a header alone has no lines
    while ranges:
        low, high = ranges.pop()
        part = Lines(b"".join(each[low:high]), lines.first + low, high - low, returns=True)
        piece = parse(part)
        if piece is not None:
            pieces.append(piece)
        elif part.count == 1:
            pieces[0].faults[part.first] = why(each[low])
        else:
            middle = (low + high) // 2
            ranges += [(middle, high), (low, middle)]
    return Piece(
        pa.concat_tables([piece.table for piece in pieces]),
        np.concatenate([piece.lines for piece in pieces]),
        {line: fault for piece in pieces for line, fault in piece.faults.items()},
    )


def _count(data: memoryview) -> int:
    ends = np.frombuffer(data, np.uint8)
    return sum(
        int(np.count_nonzero(ends[at : at + COUNTED] == LINE_END))
        for at in range(0, len(ends), COUNTED)
    )
