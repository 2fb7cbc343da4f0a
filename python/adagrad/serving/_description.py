"""What an export says of itself: the JSON in its header, and the checksum there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import adagrad._core as _core
from adagrad.ctr.learners.file_format import EXPORT as FORMAT
from adagrad.tables import files
from adagrad.tables.tensors import TableFileError, read_head, read_object, read_tensors, strict_json

__all__ = ["FORMAT", "NO_CHECKSUM", "VERSION", "description_of", "is_export", "sealed"]

StrPath = str | os.PathLike[str]

VERSION = "1"
NO_CHECKSUM = "0" * 16  # in the place of the checksum, in what it is computed of


def is_export(path: StrPath) -> bool:
    """Return whether a file is an export, of whatever version.

    Raises
    ------
    adagrad.TableFileError
        It is no safetensors file.
    OSError
        It cannot be read.
    """
    with files.open_regular(path, "rb") as file:
        head, _ = read_head(path, file)
    metadata = read_object(path, head[8:]).get("__metadata__")
    return isinstance(metadata, dict) and metadata.get("format") == FORMAT


def description_of(path: StrPath) -> dict[str, Any]:
    """Return what an export says of its model, and the "dtype" and number of its "rows".

    Raises
    ------
    adagrad.TableFileError
        The file is not an export of this version, or is damaged.
    OSError
        It cannot be read.
    """
    with files.open_regular(path, "rb") as file:
        metadata, tensors, _ = read_tensors(path, file)
    if metadata.get("format") != FORMAT:
        raise TableFileError(f"{path} is not an export: adagrad export makes one of a model")
    if (version := metadata.get("format_version", "")) != VERSION:
        raise TableFileError(
            f"{path} was written by another adagrad (format {version[:20]!r}), this one reads"
            f" {VERSION}: upgrade"
        )
    try:
        found = strict_json(metadata["model"])
        rows = tensors["rows"]
        return {**found, "dtype": rows.dtype, "rows": rows.shape[0]}
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise TableFileError(f"{path} is corrupted: its metadata: {error}") from error


def sealed(head: bytes, tensors: Iterable[memoryview]) -> bytes:
    """Return a head with the checksum of a file in the place of `NO_CHECKSUM`.

    Parameters
    ----------
    head : bytes
        The length of the header, and the header.
    tensors : iterable of memoryview
        The bytes of each tensor in their order, those of padding too. The checksum is the XXH64 of
        the head, and then of each tensor, seeded with the hash before it.
    """
    found = _core.xxh64(head)
    for tensor in tensors:
        found = _core.xxh64(tensor, found)
    key = b'"checksum":"'
    return head.replace(key + NO_CHECKSUM.encode(), key + f"{found:016x}".encode(), 1)
