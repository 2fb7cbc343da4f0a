"""What an export says of itself: the JSON in its header."""

from __future__ import annotations

import os
from typing import Any

from adagrad.tables import files
from adagrad.tables.tensors import TableFileError, read_head, read_object, read_tensors, strict_json

__all__ = ["FORMAT", "VERSION", "description_of", "is_export"]

StrPath = str | os.PathLike[str]

FORMAT, VERSION = "adagrad.score", "1"


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
