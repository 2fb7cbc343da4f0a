"""How a training that resumes recognizes its log: names, sizes and hashes of its files.

In the first pass, what must be the same is only what was read; see `adagrad.ctr.training.digest`.
"""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Any

import adagrad._core as _core
from adagrad.ctr.logs.log import Log
from adagrad.ctr.logs.sources import Source

__all__ = ["changed_files", "describe_identity", "is_recognized", "log_identity"]

_END = 1 << 16


def log_identity(log: Log) -> list[list[Any]]:
    """Return ``[name, size in bytes, hash]`` of each file of a log.

    The hash is the XXH64, in hexadecimal, of the first and the last 64 KiB. A change between them
    that keeps the size goes unnoticed. The standard input is ``["-", None, None]``.
    """
    return [
        ["-", None, None]
        if source.pipe is not None
        else [PurePath(source.path).name, *_size_and_hash(source)]
        for source in log.sources
    ]


def is_recognized(identity: list[list[Any]]) -> bool:
    """Return whether an identity tells a log from others; that of the standard input does not."""
    return all(ends is not None for _, _, ends in identity)


def describe_identity(identity: list[list[Any]]) -> str:
    """Return the first three files of an identity as text, for an error message."""
    first = ", ".join(
        f"{name:.80} ({size} bytes, ends {ends!s:.20})" for name, size, ends in identity[:3]
    )
    return first + (f" and {len(identity) - 3} more" if len(identity) > 3 else "")


def changed_files(before: list[list[Any]], now: list[list[Any]]) -> str:
    """Return the names of the first files of an identity that have changed."""
    names = [was[0] for k, was in enumerate(before) if k >= len(now) or was != now[k]]
    return ", ".join(f"{name:.80}" for name in names[:3])


def _size_and_hash(source: Source) -> tuple[int, str]:
    with source.open() as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        ends = file.read(_END)
        file.seek(max(len(ends), size - _END))
        return size, f"{_core.xxh64(ends + file.read(_END)):016x}"
