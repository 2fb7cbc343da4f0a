"""The values in the metadata of a file that take more than one check: rules and whole numbers."""

from __future__ import annotations

import dataclasses
import reprlib
from typing import Any

from adagrad.rule import Rule
from adagrad.tables.tensors import StrPath, TableFileError

__all__ = ["number_in", "rule_of"]

# The fields of a rule that every file has. A file that is older than an option lacks it, and the
# option then has its default, which changes nothing.
_FIELDS_OF_FORMAT_1 = {
    *("lr", "eps", "eps_position", "initial_accumulator", "lr_decay", "weight_decay"),
    *("weight_decay_mode", "weight_decay_rows", "power", "accumulator_decay", "lagged", "maximize"),
    *("scale", "clip_value", "statistic", "row_statistic", "evaluation", "skip_zero_accumulator"),
    *("accumulator", "duplicates", "on_nonfinite"),
}


def rule_of(path: StrPath, found: Any) -> Rule:
    """Return the rule in a file.

    Raises
    ------
    TableFileError
        It has a field that this version does not know, or lacks one.
    TypeError, ValueError
        A field has a wrong value.
    """
    fields = {field.name for field in dataclasses.fields(Rule)}
    if not isinstance(found, dict):
        raise TypeError(f"its rule is {reprlib.repr(found)}")
    if unknown := sorted(found.keys() - fields):
        raise TableFileError(
            f"{path} was written by another version of adagrad: its rule has {', '.join(unknown)},"
            " which this version does not know"
        )
    if missing := sorted(_FIELDS_OF_FORMAT_1 - found.keys()):
        raise TableFileError(f"{path} is corrupted: its rule lacks {', '.join(missing)}")
    return Rule(**found)


def number_in(found: dict[str, str], name: str, default: str | None = None) -> int:
    """Return a whole number that is written as `str` writes it."""
    text = found[name] if default is None else found.get(name, default)
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and str(int(text)) == text):
        raise ValueError(f"{name} is {reprlib.repr(text)}, expected a whole number")
    return int(text)
