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
HEAD = 512  # bytes that tell a format
WIDE = 1 << 14
# A decompressor whose input ends early loses the output of the read at hand, so reads are short.
COMPRESSED_READ = 1 << 16
# NumPy counts a byte faster than bytes.count, as long as the comparison fits into the cache.
COUNTED = 1 << 18
# Empty lines that are yielded at once.
MOST_EMPTY = 1 << 16
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
    judged : bool
        Whether each line is known to be one row, so that a parser need not check.
    pauses : bool
        Whether the writer of a live pipe has paused, so that a reader must not wait for more before
        it yields these rows and those before them. Such a block may have no lines.
    """

    data: memoryview | bytes
    first: int
    count: int
    returns: bool
    judged: bool = False
    pauses: bool = False

    def without_mark(self) -> Block:
        """Return the first block of a file without a byte order mark at its start."""
        is_marked = self.data[: len(codecs.BOM_UTF8)] == codecs.BOM_UTF8
        return replace(self, data=self.data[len(codecs.BOM_UTF8) :]) if is_marked else self

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
            replace(self, data=self.data[:end], count=count, pauses=False),
            replace(self, data=self.data[end:], first=self.first + count, count=self.count - count),
        )


def read_blocks(source: Source, raw: object) -> Iterator[Block]:
    """Read a file as blocks of whole lines, in constant memory.

    If the last line of the file has no end, it gets one. Empty lines at the end of the file are
    left out. A block of a live pipe ends where the writer pauses.

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
    empty = 0  # lines that are left out unless others follow
    waits = False  # whether rows of the blocks so far may be held back
    for block in _blocks(source, raw):
        if source.pipe is not None:
            source.pipe.has_paused = block.pauses
        data = block.data
        end = _end_of_lines(data)
        if end == 0:
            empty += block.count
            if block.pauses and waits:
                yield replace(block, data=b"", count=0)
                waits = False
            continue
        while empty > MOST_EMPTY:
            yield Block(b"\n" * MOST_EMPTY, block.first - empty, MOST_EMPTY, returns=False)
            empty -= MOST_EMPTY
        count = block.count - (_count_lines(data[end:]) if end < len(data) else 0)
        lines = data[:end] if not empty else b"\n" * empty + bytes(data[:end])
        yield replace(block, data=lines, first=block.first - empty, count=count + empty)
        empty = block.count - count
        waits = not block.pauses


def _end_of_lines(data: memoryview | bytes) -> int:
    """Return the end of the last line that is not empty; 0 if all are."""
    if bytes(data[-2:]) not in (b"\n\n", b"\r\n", b"\n"):
        return len(data)
    tail = bytes(data[-64:]).rstrip(b"\r\n")
    before = len(data) - 64 if tail and len(data) > 64 else 0
    if not tail:
        tail = bytes(data).rstrip(b"\r\n")
    if not tail:
        return 0
    at = before + len(tail)
    while data[at] != LINE_END:
        at += 1
    return at + 1


def _blocks(source: Source, raw: object) -> Iterator[Block]:
    stream, codec = source.stream(raw)
    step = COMPRESSED_READ if codec else BLOCK_BYTES
    buffer = bytearray(BLOCK_BYTES)
    held, line = 0, 1
    passed = 0  # bytes of the blocks before this one
    broken: str | None = None
    while True:
        end = broken is not None
        pauses = False
        while held < len(buffer) and not (end or pauses):
            try:
                got = stream.readinto(memoryview(buffer)[held : held + step])
            except (OSError, pa.ArrowException) as error:
                broken, got = f"the file ends early or is damaged: {error}", 0
                rest = _rest(source, passed + held)
                buffer[held : held + len(rest)] = rest
                held += len(rest)
            held += got
            end = not got
            pauses = not end and source.pipe is not None and source.pipe.pauses()
        cancelled = source.pipe is not None and source.pipe.cancelled
        if end and not (broken or cancelled) and held and buffer[held - 1] != LINE_END:
            buffer[held : held + 1] = b"\n"
            held += 1
        if not passed and line == 1:  # what was decompressed may be a file of another format
            source.check_text(bytes(memoryview(buffer)[: min(held, HEAD)]))
        cut = buffer.rfind(b"\n", 0, held) + 1
        if cut or pauses:
            data = memoryview(buffer)[:cut]
            count = _count_lines(data)
            returns = buffer.find(b"\r", 0, cut) >= 0
            yield Block(data, line, count, returns, pauses=pauses)
            line += count
            passed += cut
        if broken:
            raise LogError(source.path, line, broken)
        if end:
            return
        if not cut and held >= LONGEST_LINE:
            raise LogError(source.path, line, f"the line has no end within {held} bytes")
        rest = bytes(memoryview(buffer)[cut:held])
        if not (cut or pauses):
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
        stream, _ = source.stream(raw)
        while given and (got := len(stream.read(min(given, COMPRESSED_READ)))):
            given -= got
        while byte := stream.read(1):
            rest += byte
    return bytes(rest)


def parse_block(
    block: Block,
    parse: Callable[[Block], ParsedRows | None],
    find_faults: Callable[[list[bytes]], dict[int, Fault]],
    schema: pa.Schema,
) -> ParsedRows:
    """Parse lines with a parser that rejects a block without saying which lines are at fault.

    Parameters
    ----------
    block : Block
        The lines.
    parse : callable
        Parses any number of lines, or returns None if it rejects one of them.
    find_faults : callable
        Returns the positions of all lines that `parse` rejects, and their faults.
    schema : pyarrow.Schema
        The columns that `parse` returns.
    """
    parsed = parse(block) if block.count else ParsedRows(schema.empty_table(), np.arange(0))
    if parsed is not None:
        return parsed
    lines = bytes(block.data).split(b"\n")[:-1]
    faults = find_faults(lines)
    good = np.array([k for k in range(len(lines)) if k not in faults], np.int64)
    parts = [ParsedRows(schema.empty_table(), np.arange(0))]
    ranges = [good] if len(good) else []
    while ranges:
        part = ranges.pop()
        data = b"".join(lines[k] + b"\n" for k in part.tolist())
        parsed = parse(Block(data, 0, len(part), returns=True, judged=True))
        if parsed is not None:
            numbers = block.first + part[parsed.lines]
            parts.append(ParsedRows(parsed.table, numbers))
            faults |= {int(part[line]): fault for line, fault in parsed.faults.items()}
        elif len(part) == 1:
            faults[int(part[0])] = Fault("unreadable line", "the line cannot be read")
        else:  # a fault that `find_faults` does not know
            ranges += [part[len(part) // 2 :], part[: len(part) // 2]]
    return ParsedRows(
        pa.concat_tables([part.table for part in parts]),
        np.concatenate([part.lines for part in parts]),
        {block.first + line: fault for line, fault in faults.items()},
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


def _count_lines(data: memoryview | bytes) -> int:
    ends = np.frombuffer(data, np.uint8)
    return sum(
        int(np.count_nonzero(ends[at : at + COUNTED] == LINE_END))
        for at in range(0, len(ends), COUNTED)
    )
