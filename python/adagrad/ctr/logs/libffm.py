"""Logs in libffm's format: ``label field:id:value field:id:value ...``.

A field is a column of maps from ids to values, and its number is the name of the column.
"""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa

from adagrad.ctr.logs.labels import wrong_label
from adagrad.ctr.logs.maps import MapReader
from adagrad.ctr.logs.rows import Fault

__all__ = ["LibffmReader"]


class LibffmReader(MapReader):
    """The `Reader` of libffm's format."""

    FORMAT: ClassVar[str] = "libffm"
    KEY: ClassVar[pa.DataType] = pa.int64()

    def _fault(self, kind: str, text: str) -> Fault:
        if kind == "late column":
            return Fault(
                kind,
                f"the field {text} is new, but the first MiB of the log decides the columns: leave"
                f" it out by --ignore {text}, or name all columns by --columns",
                stops=True,
            )
        if kind == "bad label":
            return wrong_label(repr(text))
        if kind == "bad entry":
            reason = (
                f"{text!r} is not field:id:value with a field below 10**9 and an id below 2**63"
            )
            return Fault(kind, reason)
        return super()._fault(kind, text)
