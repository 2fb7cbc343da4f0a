"""How a training that resumes recognizes its log: names, sizes and hashes of its files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import adagrad._core as _core
from adagrad.ctr.logs.log import Log

__all__ = ["describe_identity", "log_identity"]

_END = 1 << 16


def log_identity(log: Log) -> list[list[Any]]:
    """Return ``[name, size in bytes, hash]`` of each file of a log.

    The hash is the XXH64, in hexadecimal, of the first and the last 64 KiB. A change between them
    that keeps the size goes unnoticed. The standard input is ``["-", None, None]``.
    """
    return [
        ["-", None, None] if path == "-" else [Path(path).name, *_size_and_hash(Path(path))]
        for path in log.paths
    ]


def describe_identity(identity: list[list[Any]]) -> str:
    """Return the first three files of an identity as text, for an error message."""
    first = ", ".join(
        f"{name:.80} ({size} bytes, ends {ends!s:.20})" for name, size, ends in identity[:3]
    )
    return first + (f" and {len(identity) - 3} more" if len(identity) > 3 else "")


def _size_and_hash(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        ends = file.read(_END)
        file.seek(max(len(ends), size - _END))
        return size, f"{_core.xxh64(ends + file.read(_END)):016x}"
