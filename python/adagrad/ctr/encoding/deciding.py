"""Which kind each column of an encoder gets, and why.

A kind that is given counts. The type of a column decides next, and for integers its first values do
(`looks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from adagrad._text import one_line
from adagrad.ctr.encoding.columns import default_kind, encodable, is_number_type
from adagrad.ctr.encoding.fields import CALENDAR
from adagrad.ctr.encoding.looks import LOOK, Look, look_at, rows_to_look_at

__all__ = ["Decisions", "decide", "first_rows"]

NUMERIC = "numeric"
WORDS = {"ids": "ids", "codes": "codes", "number": "a number"}


@dataclass
class Decisions:
    """The kinds of columns, and what to say about them.

    Attributes
    ----------
    kinds : dict of str to str or None
        Kind of each column to encode; None for one of nulls.
    reasons : dict of str to str
        Why it has this kind, also of columns that are not encoded.
    looks : dict of str to Look
        The columns of integers that were looked at.
    moments : list of str
        Columns of timestamps that are not encoded.
    declared : set of str
        Columns whose kind was given.
    doubtful : list of str
        Columns that look like ids, but were declared numbers.
    """

    kinds: dict[str, str | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    looks: dict[str, Look] = field(default_factory=dict)
    moments: list[str] = field(default_factory=list)
    declared: set[str] = field(default_factory=set)
    doubtful: list[str] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """Return what a user of Python should know, in lines."""
        lines = [
            f"X[{name!r}] is a number as declared, but looks like ids: {self.looks[name].why}; give"
            f" it the kind 'categorical'"
            for name in self.doubtful
        ]
        return lines + [
            f"X[{name!r}] holds moments, which do not return, and is not encoded: name it in"
            f" calendar=[{name!r}], or give it the kind 'categorical'"
            for name in self.moments
        ]


def first_rows(reader: pa.RecordBatchReader) -> pa.Table:
    """Return the first rows of a reader, as many as `decide` looks at."""
    batches: list[pa.RecordBatch] = []
    rows = 0
    try:
        while rows < LOOK:
            batches.append(reader.read_next_batch())
            rows += len(batches[-1])
    except StopIteration:
        pass
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"X cannot be read: {one_line(error)}") from None
    return pa.Table.from_batches(batches, reader.schema).slice(0, LOOK)


def decide(
    schema: pa.Schema,
    given: Mapping[str, str | None],
    numeric: str,
    first: pa.Table | None,
    *,
    by_types: bool,
) -> Decisions:
    """Decide the kinds of columns.

    Parameters
    ----------
    schema : pyarrow.Schema
    given : dict of str to str or None
        The columns, and the kinds that are known.
    numeric : str
        Kind of numbers.
    first : pyarrow.Table or None
        The first rows, of some columns. In others, integers are numbers.
    by_types : bool
        Whether types alone decide: moments without a kind are categories then, and not left out.
    """
    found = Decisions()
    if first is not None and numeric != "categorical":
        found.looks = _looks(schema, given, first)
    for name, kind in given.items():
        of_type = schema.field(name).type
        look = found.looks.get(name)
        if kind is not None:
            found.kinds[name] = numeric if kind == NUMERIC else kind
            found.reasons[name] = "as declared"
            found.declared.add(name)
            if look is not None and look.kind == "ids":
                found.doubtful.append(name)
                found.reasons[name] += f", but looks like ids: {look.why}"
        elif pa.types.is_timestamp(of_type) and not by_types:
            found.moments.append(name)
            found.reasons[name] = "a moment, which does not return; see calendar"
        elif look is not None:
            found.kinds[name] = "categorical" if look.is_category else numeric
            found.reasons[name] = f"looks like {WORDS[look.kind]}: {look.why}"
        else:
            found.kinds[name] = default_kind(of_type, numeric)
            found.reasons[name] = "by its type"
    if not found.kinds:
        raise ValueError(
            f"X has no columns to encode but moments: name them in calendar={found.moments}"
        )
    return found


def _looks(schema: pa.Schema, given: Mapping[str, str | None], first: pa.Table) -> dict[str, Look]:
    """Look at the columns of numbers that may be ids."""
    present = set(first.column_names)
    numbers = [
        name
        for name, kind in given.items()
        if name in present
        and kind not in ("categorical", CALENDAR)
        and is_number_type(schema.field(name).type)
    ]
    if not numbers:
        return {}
    is_all = len(first) < LOOK
    first = first.slice(0, rows_to_look_at(len(numbers)))
    values: Any = encodable(
        first.select(numbers), dict.fromkeys(numbers, "log2-bins"), checked=True
    )
    looks = ((name, look_at(values.column(name), is_all=is_all)) for name in numbers)
    return {name: look for name, look in looks if look is not None}
