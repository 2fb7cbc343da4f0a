"""Text files as blocks of whole lines, with line numbers.

The readers of text formats use this module. What a line means belongs in those readers.
"""

from __future__ import annotations

import codecs
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from adagrad.ctr.logs.rows import Fault, LogError, ParsedRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from adagrad.ctr.logs.sources import Source

__all__ = ["Block", "is_utf8", "parse_block", "read_blocks"]

# A block stays in the cache between reading and parsing.
BLOCK_BYTES = 1 << 20
LONGEST_LINE = 1 << 26
WIDE = 1 << 14
# A decompressor whose input ends early loses the output of the read at hand, so reads are short.
COMPRESSED_READ = 1 << 16
# NumPy counts a byte faster than bytes.count, as long as the comparison fits into the cache.
COUNTED = 1 << 18
LINE_END = ord("\n")
FIRST_NOT_ASCII = 0x80


@dataclass(frozen=True)
class Block:
    """Whole lines of a file, each with its line end.

    The memory is valid until the next block is read.

    Attributes
    ----------
    data : memoryview or bytes
        The bytes of the lines.
    first : int
        Number of the first line, from 1.
    count : int
        Number of lines.
    returns : bool
        Whether the bytes contain a carriage return.
    """

    data: memoryview | bytes
    first: int
    count: int
    returns: bool

    def without_first(self, length: int) -> Block:
        """Return the block without its first line, which has ``length`` bytes with its end."""
        return replace(self, data=self.data[length:], first=self.first + 1, count=self.count - 1)

    def is_wide(self) -> bool:
        """Return whether the lines are so long that a block has few of them."""
        return len(self.data) > WIDE * self.count

    def has_lone_returns(self) -> bool:
        """Return whether there is a carriage return that is not part of a line end."""
        if not self.returns:
            return False
        data = bytes(self.data)
        return data.count(b"\r") != data.count(b"\r\n")

    def split(self, count: int) -> tuple[Block, ...]:
        """Return the first ``count`` lines and, if there are more, the rest."""
        if self.count <= count:
            return (self,)
        end = int(np.flatnonzero(np.frombuffer(self.data, np.uint8) == LINE_END)[count - 1]) + 1
        return (
            replace(self, data=self.data[:end], count=count),
            replace(self, data=self.data[end:], first=self.first + count, count=self.count - count),
        )


def read_blocks(source: Source, raw: object) -> Iterator[Block]:
    """Read a file as blocks of whole lines, in constant memory.

    If the last line of the file has no end, it gets one.

    Parameters
    ----------
    source : Source
        The file.
    raw : file-like
        Its bytes, from ``source.open()``.

    Raises
    ------
    LogError
        The stream ends early or is damaged, after the lines before the damage; or a line is longer
        than 64 MiB.
    """
    stream = source.decompressed(raw)
    step = COMPRESSED_READ if source.codec else BLOCK_BYTES
    buffer = bytearray(BLOCK_BYTES)
    held, line = 0, 1
    passed = 0  # bytes of the blocks before this one
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
        cancelled = source.pipe is not None and source.pipe.cancelled
        if end and not (broken or cancelled) and held and buffer[held - 1] != LINE_END:
            buffer[held : held + 1] = b"\n"
            held += 1
        cut = buffer.rfind(b"\n", 0, held) + 1
        if cut:
            data = memoryview(buffer)[:cut]
            count = _count_lines(data)
            yield Block(data, line, count, buffer.find(b"\r", 0, cut) >= 0)
            line += count
            passed += cut
        if broken:
            raise LogError(source.path, line, broken)
        if end:
            return
        if not cut and held >= LONGEST_LINE:
            raise LogError(source.path, line, f"the line has no end within {held} bytes")
        rest = bytes(memoryview(buffer)[cut:held])
        if not cut:
            buffer = bytearray(2 * len(buffer))
        held = len(rest)
        buffer[:held] = rest


def _rest(source: Source, given: int) -> bytes:
    """Return the bytes of a damaged file between the first ``given`` ones and the damage.

    A decompressor that fails loses the output of its last read, so the file is decompressed again
    from its beginning, and byte by byte at the end.
    """
    rest = bytearray()
    with source.open() as raw, contextlib.suppress(OSError, pa.ArrowException):
        stream = source.decompressed(raw)
        while given and (got := len(stream.read(min(given, COMPRESSED_READ)))):
            given -= got
        while byte := stream.read(1):
            rest += byte
    return bytes(rest)


def parse_block(
    block: Block,
    parse: Callable[[Block], ParsedRows | None],
    find_fault: Callable[[bytes], Fault],
    schema: pa.Schema,
) -> ParsedRows:
    """Parse lines with a parser that rejects a block without saying which line is at fault.

    Bisection finds the lines: each costs about ``log2(lines)`` further calls of the parser, for
    ever fewer lines.

    Parameters
    ----------
    block : Block
        The lines.
    parse : callable
        Parses any number of lines, or returns None if it rejects one of them.
    find_fault : callable
        Returns the fault of one line that `parse` rejects.
    schema : pyarrow.Schema
        The columns that `parse` returns.
    """
    parsed = parse(block)
    if parsed is not None:
        return parsed
    lines = [line + b"\n" for line in bytes(block.data).split(b"\n")[:-1]]
    parts = [ParsedRows(schema.empty_table(), np.arange(0))]
    ranges = [(0, len(lines))] if lines else []  # a file of a header alone has no lines
    while ranges:
        low, high = ranges.pop()
        part = Block(b"".join(lines[low:high]), block.first + low, high - low, returns=True)
        parsed = parse(part)
        if parsed is not None:
            parts.append(parsed)
        elif part.count == 1:
            parts[0].faults[part.first] = find_fault(lines[low])
        else:
            middle = (low + high) // 2
            ranges += [(middle, high), (low, middle)]
    return ParsedRows(
        pa.concat_tables([part.table for part in parts]),
        np.concatenate([part.lines for part in parts]),
        {line: fault for part in parts for line, fault in part.faults.items()},
    )


def is_utf8(data: bytes | memoryview) -> bool:
    """Return whether bytes are valid UTF-8."""
    if np.frombuffer(data, np.uint8).max(initial=0) < FIRST_NOT_ASCII:
        return True
    try:
        codecs.utf_8_decode(data, "strict", True)
    except UnicodeDecodeError:
        return False
    return True


def _count_lines(data: memoryview) -> int:
    ends = np.frombuffer(data, np.uint8)
    return sum(
        int(np.count_nonzero(ends[at : at + COUNTED] == LINE_END))
        for at in range(0, len(ends), COUNTED)
    )
