"""Which columns and crosses an encoder encodes, checked; the encoder gives them slots."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

__all__ = [
    "CALENDAR",
    "GIVEN_KINDS",
    "KINDS",
    "GivenKind",
    "Kind",
    "calendar_names",
    "cross_name",
    "derived",
    "fields_in",
    "planned",
    "with_calendar",
]

Kind = Literal["categorical", "log2-bins", "value"]
GivenKind = Literal["categorical", "log2-bins", "value", "numeric", "calendar"]
KINDS: tuple[str, ...] = get_args(Kind)
GIVEN_KINDS: tuple[str, ...] = get_args(GivenKind)

Columns = list[tuple[str, str, bool]]
Crosses = list[tuple[str, list[int], bool]]

CALENDAR = "calendar"
"""The kind of a column of moments, which has three fields."""


def calendar_names(name: str) -> list[str]:
    """Return the fields of a column of moments: hour of day, day of week, hour of week."""
    return [f"{name}.hour", f"{name}.weekday", f"{name}.week_hour"]


def derived(kinds: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the fields of columns and their kinds: those of moments have three, all others one."""
    found: dict[str, str | None] = {}
    for name, kind in kinds.items():
        for field in calendar_names(name) if kind == CALENDAR else [name]:
            if field in found:
                raise ValueError(f"field {field!r} occurs twice")
            found[field] = "categorical" if kind == CALENDAR else kind
    return found


def cross_name(parts: str | Iterable[str]) -> str:
    """Return the name of a cross, or of a field."""
    return parts if isinstance(parts, str) else "*".join(parts)


def fields_in(found: Sequence[str], wanted: Any) -> dict[str, str | None]:
    """Return the columns to encode, and the kind of each that is given.

    Parameters
    ----------
    found : sequence of str
        The columns that there are.
    wanted : object
        As `HashingEncoder.fields`.

    Raises
    ------
    TypeError, ValueError
        A column is missing or occurs twice, or a kind is unknown.
    """
    if isinstance(wanted, str):
        raise TypeError(f"fields must be names or a dict, got {wanted!r}")
    counts = collections.Counter(found)
    names = list(found if wanted is None else wanted)
    if not names:
        raise ValueError("X has no columns to encode")
    for name, times in collections.Counter(names).items():
        if times > 1 or counts[name] > 1:
            raise ValueError(f"field {name!r} occurs twice")
        if counts[name] == 0:
            raise ValueError(f"X has no column {name!r}; its columns are {found}")
    given = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(names)
    for name, kind in given.items():
        if kind is not None and kind not in GIVEN_KINDS:
            raise ValueError(f"fields[{name!r}] must be in {GIVEN_KINDS}, got {kind!r}")
    return given


def with_calendar(
    calendar: Sequence[str], found: Sequence[str], given: dict[str, str | None]
) -> dict[str, str | None]:
    """Return the kinds that are given for the columns `found`, with those of moments.

    Raises
    ------
    TypeError, ValueError
        A column of moments is missing, or has another kind.
    """
    if isinstance(calendar, str):
        raise TypeError(f"calendar must be a sequence of names, got {calendar!r}")
    for name in calendar:
        if name not in given:
            what = "which is not one of the fields" if name in found else "but X has no such column"
            raise ValueError(f"calendar has {name!r}, {what}; the columns are {list(found)}")
        if given[name] not in (None, CALENDAR):
            raise ValueError(f"calendar has {name!r}, but fields[{name!r}] is {given[name]!r}")
    return {**given, **dict.fromkeys(calendar, CALENDAR)}


def planned(
    kinds: Mapping[str, str | None],
    crosses: Sequence[Sequence[str]],
    wide: Sequence[str | Sequence[str]],
) -> tuple[Columns, Crosses]:
    """Return what the compiled encoder takes: columns, and crosses with the positions of theirs.

    Raises
    ------
    TypeError, ValueError
        A cross or a wide field is none.
    """
    position = {name: j for j, name in enumerate(kinds)}
    names = list(position)
    for cross in crosses:
        if isinstance(cross, str) or len(cross) < 2:
            raise ValueError(f"a cross needs at least two fields, got {cross!r}")
        for part in cross:
            if part not in position:
                raise ValueError(
                    f"the cross {tuple(cross)!r} has {part!r}, which is not one of the fields"
                    f" {list(position)}"
                )
        if len(set(cross)) < len(cross):
            raise ValueError(f"the cross {tuple(cross)!r} has a field twice")
        name = cross_name(cross)
        if name in names:
            raise ValueError(f"field {name!r} occurs twice")
        names.append(name)
    if isinstance(wide, str):
        raise TypeError(f"wide must be a sequence of names, got {wide!r}")
    are_wide = {cross_name(name) for name in wide}
    if not are_wide <= set(names):
        raise ValueError(f"wide has {sorted(are_wide - set(names))}, but the fields are {names}")
    columns = [(name, kind or "categorical", name in are_wide) for name, kind in kinds.items()]
    return columns, [
        (cross_name(cross), [position[part] for part in cross], cross_name(cross) in are_wide)
        for cross in crosses
    ]
