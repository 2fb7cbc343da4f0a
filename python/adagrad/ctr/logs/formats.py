"""The formats: which `Reader` opens a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adagrad.ctr.logs.arrow import ColumnReader
from adagrad.ctr.logs.csv import DelimitedReader
from adagrad.ctr.logs.jsonl import JsonReader
from adagrad.ctr.logs.libffm import LibffmReader
from adagrad.ctr.logs.libsvm import LibsvmReader
from adagrad.ctr.logs.multi import SplittingReader
from adagrad.ctr.logs.partitions import PartitionedReader
from adagrad.ctr.logs.reader import EmptyReader
from adagrad.ctr.logs.vw import VwReader

if TYPE_CHECKING:
    from adagrad.ctr.logs.reader import Reader
    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.sources import Source

__all__ = ["open_reader"]


def open_reader(source: Source, request: Request) -> Reader:
    """Open a file with the reader of its format."""
    if source.size == 0:
        return EmptyReader(source, request)
    if request.multi:
        return SplittingReader(source, request, _whole_columns)
    return _whole_columns(source, request)


def _whole_columns(source: Source, request: Request) -> Reader:
    if source.partitions:
        return PartitionedReader(source, request, _of_format)
    return _of_format(source, request)


def _of_format(source: Source, request: Request) -> Reader:
    if source.format in ("parquet", "arrow"):
        return ColumnReader(source, request)
    if source.format == "libsvm":
        return LibsvmReader(source, request)
    if source.format == "jsonl" or (source.format is None and _begins_like_json(source)):
        return JsonReader(source, request)
    if source.format == "libffm":
        return LibffmReader(source, request)
    if source.format == "vw":
        return VwReader(source, request)
    return DelimitedReader(source, request)


def _begins_like_json(source: Source) -> bool:
    return source.pipe is not None and source.pipe.peek().lstrip()[:1] == b"{"
