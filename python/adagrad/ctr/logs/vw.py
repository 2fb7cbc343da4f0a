"""Logs in the text format of Vowpal Wabbit: ``label importance 'tag |namespace:scale name:value``.

A namespace is a column of maps from the names of its features to their values. What Vowpal Wabbit
makes of them afterwards, such as its hashes, is not done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from adagrad._text import typed
from adagrad.ctr.logs.maps import MapReader
from adagrad.ctr.logs.rows import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["IMPORTANCE", "TAG", "VwReader"]

IMPORTANCE, TAG = "importance", "tag"


class VwReader(MapReader):
    """The `Reader` of Vowpal Wabbit's text: labels of one number, and namespaces."""

    FORMAT: ClassVar[str] = "vw"
    KEY: ClassVar[pa.DataType] = pa.string()
    OWN: ClassVar[dict[str, pa.DataType]] = {IMPORTANCE: pa.float32(), TAG: pa.string()}

    def _no_column(self, name: str, role: str) -> str:
        if role == "weight":
            return f"the weights of a vw file are in the column {IMPORTANCE!r}, not in {name!r}"
        return super()._no_column(name, role)

    def _own(self, name: str, found: Mapping[str, Any]) -> pa.Array:
        if name == IMPORTANCE:
            return pa.array(found["importances"])
        buffers = [None, *map(pa.py_buffer, found["tags"])]
        return pa.Array.from_buffers(pa.string(), len(found["labels"]), buffers)

    def _fault(self, kind: str, text: str) -> Fault:
        if kind == "late column":
            way = f"by --ignore {typed([self._column(text)])}"
            return Fault(
                kind,
                f"the namespace {text!r} is new, but the first MiB of the log decides the columns:"
                f" leave it out {way}, or name all columns by --columns",
                stops=True,
            )
        if kind == "empty line":
            reason = "the line is empty: examples of several lines are not read"
        elif kind == "no bar":
            reason = "the line has no | before its features"
        elif kind == "tab before bar":
            reason = "a tab is before the first |, where only spaces separate words"
        elif kind == "bad label":
            reason = (
                f"the label is {text!r}, not one number: the labels of contextual bandits, of"
                " classes with costs and of rankers are not read"
            )
        elif kind == "missing label":
            reason = f"the label is missing: {text!r} is a tag, as no space is between it and the |"
        elif kind == "bad importance":
            kind, reason = "bad weight", f"the importance is {text!r}, not a number of at least 0"
        elif kind == "base":
            kind, reason = "bad label", f"the base is {text!r}, but a base other than 0 is not read"
        elif kind == "bad namespace":
            kind, reason = "bad entry", f"{text!r} does not begin a namespace, which is |name:scale"
        elif kind == "bad scale":
            kind, reason = "bad entry", f"the scale of a namespace is {text!r}, not a number"
        elif kind == "bad entry":
            reason = f"{text!r} is not a feature, which is name or name:value"
        else:
            return super()._fault(kind, text)
        return Fault("bad entry" if kind in ("no bar", "tab before bar") else kind, reason)
