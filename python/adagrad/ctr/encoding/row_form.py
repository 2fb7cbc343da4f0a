"""Rows of dicts as programs have them, brought into the form of the columns of a model.

A line of JSON has objects within objects, whose values a log has as columns such as ``user.id``. A
field of CSV may hold several values, which a model that was trained with `--multi` knows as a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["RowForm"]


class RowForm:
    """What rows need before an encoder reads them.

    Parameters
    ----------
    columns : iterable of str
        The columns that are read.
    separators : dict of str to str
        What separates the values in a text, by column; see `HashingEncoder.separators_`.
    """

    def __init__(self, columns: Iterable[str], separators: Mapping[str, str]) -> None:
        self._columns = frozenset(columns)
        self._separators = dict(separators)
        dotted = (name for name in self._columns if "." in name)
        above = {name[:at] for name in dotted for at, c in enumerate(name) if c == "."}
        self._objects = above - self._columns

    def __bool__(self) -> bool:
        return bool(self._separators or self._objects)

    def __call__(self, row: Any) -> Any:
        """Return a row whose texts are split and whose objects are columns.

        Raises
        ------
        ValueError
            A column is there twice: in an object, and under its own name.
        """
        if not isinstance(row, Mapping):
            return row
        found = dict(row)
        for name in self._objects.intersection(row):
            if isinstance(row[name], Mapping):
                self._spread(name, found.pop(name), found)
        for name, separator in self._separators.items():
            if isinstance(text := found.get(name), str):
                found[name] = [part for part in text.split(separator) if part]
        return found

    def _spread(self, above: str, values: Mapping[Any, Any], row: dict[str, Any]) -> None:
        for key, value in values.items():
            name = f"{above}.{key}"
            if name in self._objects and isinstance(value, Mapping):
                self._spread(name, value, row)
            elif name in row and name in self._columns:
                raise ValueError(f"X[{name!r}] is there twice: in an object, and by its own name")
            else:
                row[name] = value
