"""What the first bytes of a file say about its format.

The sources use this module where a suffix is missing, and the readers to check what a suffix says.
"""

from __future__ import annotations

import re

from adagrad.ctr.logs.mistakes import other_delimiter

__all__ = [
    "HEAD",
    "LOOKS",
    "format_of_text",
    "looks_like",
    "looks_like_text",
    "named_format",
    "not_read",
]

HEAD = 1 << 16
"""Bytes that are enough to tell a format."""

# Files that are not delimited text, by their first bytes.
BINARY = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow",
}
NOT_READ = {
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it first",
    b"Rar!": "a rar archive: unpack it first",
    b"\x04\x22\x4d\x18": "compressed by lz4: decompress it first",
    b"\x1f\x9d": "compressed by compress: decompress it first",
    b"ORC": "an ORC file: convert it to Parquet first",
    b"Obj\x01": "an Avro file: convert it to Parquet first",
    b"FEA1": "a Feather file of version 1: convert it to version 2 first",
    b"\x89HDF": "an HDF5 file: convert it to Parquet first",
    b"\x93NUMPY": "a NumPy file: convert it to Parquet first",
    b"SQLite format 3\x00": "an SQLite database: export a table first",
    b"\xff\xfe": "text in UTF-16: convert it to UTF-8 first",
    b"\xfe\xff": "text in UTF-16: convert it to UTF-8 first",
}

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
LIBSVM = re.compile(rf"{NUMBER}(?:[ \t]+qid:\d+)?(?:[ \t]+\d+:{NUMBER})+[ \t]*(?:#.*)?")
FIELD = rf"\d+:\d+:{NUMBER}"
# A log to predict may lack labels. One entry without a label may also be a time of day.
LIBFFM = re.compile(rf"(?:{NUMBER}|{FIELD})(?:[ \t,]+{FIELD})+[ \t]*")
# Tables with bars have no number and space before the first one. Labels with colons are recognized
# too, so that the reader can say that they are not read.
VW = re.compile(
    rf"(?:(?:{NUMBER}(?::{NUMBER})*|shared)(?: +{NUMBER}){{0,2}} +(?:'?[^\s|]*)?|'[^\s|]* *)?"
    rf"\|[^\s|:]*(?::{NUMBER})?(?:[ \t].*|\|.*)?"
)


def named_format(head: bytes) -> str | None:
    """Return "parquet" or "arrow" if a file begins like one."""
    return next((name for magic, name in BINARY.items() if head.startswith(magic)), None)


def not_read(head: bytes) -> str | None:
    """Return what a file is and what to do, if it begins like a format that is not read."""
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it first"
    return next((what for magic, what in NOT_READ.items() if head.startswith(magic)), None)


def looks_like_text(head: bytes) -> bool:
    """Return whether bytes are UTF-8 text without control characters, perhaps cut in the end."""
    if any(byte < ord(" ") and byte not in b"\t\r\n\f" for byte in head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


def looks_like(line: str) -> str | None:
    """Return "libsvm", "libffm" or "vw" if a line has this format."""
    line = line.strip()
    if LIBFFM.fullmatch(line):
        return "libffm"
    if LIBSVM.fullmatch(line):
        return "libsvm"
    return "vw" if VW.fullmatch(line) else None


def format_of_text(head: bytes) -> str:
    """Return the format of a text file by its first line that is not a comment.

    Raises
    ------
    ValueError
        The line has neither tabs nor commas nor entries of libsvm, or the format is not read.
    """
    lines = head.decode("utf-8", "replace").lstrip("\ufeff").split("\n")
    line = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    found = looks_like(line)
    if found is not None:
        return found
    if line.lstrip().startswith(("{", "[")):
        return "jsonl"
    if "\t" in line:
        return "tsv"
    if "," in line:
        return "csv"
    doubt = other_delimiter([line], None)
    if doubt is not None:
        raise ValueError(f"{doubt.removesuffix('?')} with --format csv")
    raise ValueError(
        "neither the suffix nor the first line tells the format; give --format: csv, tsv, parquet,"
        " arrow, libsvm, libffm, vw, jsonl"
    )


LOOKS = {
    "jsonl": "this looks like JSON (an object per line): use --format jsonl?",
    "libsvm": "this looks like libsvm (label id:value ...): use --format libsvm?",
    "libffm": "this looks like libffm (label field:id:value ...): use --format libffm?",
    "vw": "this looks like Vowpal Wabbit's format (label |namespace name:value): use --format vw?",
}
