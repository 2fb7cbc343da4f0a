"""Damaged Arrow, Feather and Parquet files: no crash, no long wait, one line about what is wrong.

Each input is read as a log and encoded, and given to the encoder as columns. That happens in child
processes, so that a crash is a failure that names its seed.
"""

from __future__ import annotations

from damaged_arrow import failures
from fuzz import seeds

KNOWN: list[int] = []


def test_damaged_files():
    assert failures(seeds(300, KNOWN)) == []
