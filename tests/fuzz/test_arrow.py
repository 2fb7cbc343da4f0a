"""Damaged Arrow, Feather and Parquet files: no crash, no long wait, one line about what is wrong.

Each input is read as a log and encoded, and given to the encoder as columns. That happens in child
processes, so that a crash is a failure that names its seed.
"""

from __future__ import annotations

from damaged_arrow import failures
from fuzz import seeds

# Each failed once: a table beyond its buffers, damaged statistics of a Parquet column, a view of a
# missing value with a negative length, a column name with a line break. (With files of pyarrow 26.)
KNOWN = [793, 18689, 20171, 61966, 62905, 60070]


def test_damaged_files():
    assert failures("any", seeds(300, KNOWN)) == []


def test_damaged_maps():
    assert failures("maps", seeds(150)) == []


def test_damaged_pages():
    """What the compiled module decodes equals what pyarrow does, and both refuse the same files."""
    assert failures("pages", seeds(600)) == []
