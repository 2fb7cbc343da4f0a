"""Dates and times as the texts that are hashed.

The encoder and the readers of logs use it, so that a date has one text wherever it becomes one.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["iso_texts"]


def iso_texts(moments: pa.Array) -> pa.DictionaryArray:
    """Return dates and times as ISO texts that do not depend on the unit.

    Each distinct value is formatted once. Fractions of a second have no trailing zeros. A timestamp
    at midnight is written as a date. A timestamp with a time zone is written in UTC, with a Z.
    """
    kind = moments.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        moments = moments.cast(pa.timestamp(kind.unit, "UTC"))
    codes = moments.dictionary_encode()
    texts = codes.dictionary.cast(pa.string())
    texts = pc.replace_substring_regex(texts, r"(\.\d*[1-9])0+(Z?)$", r"\1\2")
    texts = pc.replace_substring_regex(texts, r"\.0+(Z?)$", r"\1")
    texts = pc.replace_substring_regex(texts, r" 00:00:00$", "")
    return pa.DictionaryArray.from_arrays(codes.indices, texts)
