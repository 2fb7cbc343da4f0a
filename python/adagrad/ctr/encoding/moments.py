"""Moments as features: hour of day, day of week and hour of week.

The moment itself says little about rows to come, because it does not return. The encoder asks here
for what does return, as small integers that are categories.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from adagrad._arrow import type_name

__all__ = ["calendar_columns", "looks_like_moments"]

HOUR, DAY = 3_600, 86_400
LARGEST_DATE = 100_000_000
"""Integers below are YYMMDDHH, such as 14102100."""

LARGEST_SECOND, LARGEST_MILLISECOND = 10**11, 10**14
"""Integers below are Unix seconds (since 1973) and Unix milliseconds."""

_DAYS = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])

_DIGITS = r"^\d+$"
_FRACTION = r"[.,]\d+"
_ZONE = r"(Z|[+-]\d\d(:?\d\d)?)$"

# Unix seconds of the years 2000 to 2100, and the longest log that is taken for one.
_UNIX = (946_684_800, 4_102_444_800)
_SPAN = 5 * 366 * DAY


def calendar_columns(name: str, column: pa.ChunkedArray) -> list[pa.ChunkedArray]:
    """Return hour of day, day of week (Monday is 0) and hour of week of a column of moments.

    Raises
    ------
    TypeError
        The type cannot hold moments.
    ValueError
        A value is not a moment.
    """
    seconds = _seconds(name, column)
    missing = seconds.is_null()
    values = seconds.fill_null(0).to_numpy()
    days = values // DAY
    hours = (values - days * DAY) // HOUR
    weekdays = (days + 3) % 7  # 1970-01-01 was a Thursday
    return [
        pa.chunked_array(
            [pa.array(x.astype(np.int32), mask=missing.to_numpy(zero_copy_only=False))]
        )
        for x in (hours, weekdays, weekdays * 24 + hours)
    ]


def _seconds(name: str, column: pa.ChunkedArray) -> pa.Array:
    """Return local seconds since 1970, as int64."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # pyarrow before 18, of no chunks
        array = pa.array([], column.type)
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary.take(array.indices)
        kind = array.type
    if pa.types.is_null(kind):
        return pa.nulls(len(array), pa.int64())
    if pa.types.is_timestamp(kind):
        return _of_timestamps(name, array)
    if pa.types.is_date(kind):
        return pc.multiply(array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), DAY)
    if pa.types.is_integer(kind):
        return _of_integers(name, array, _wide(name, array))
    if pa.types.is_floating(kind):  # as pandas holds integers with missing values
        array = pc.if_else(pc.is_nan(array), None, array)
        try:
            return _of_integers(name, array, array.cast(pa.float64()).cast(pa.int64()))
        except pa.ArrowException:
            values = array.fill_null(0).to_numpy().astype(np.float64)
            wrong = (np.trunc(values) != values) | (np.abs(values) >= 2.0**63)
            raise _wrong(name, array, int(np.flatnonzero(wrong)[0])) from None
    if any(
        getattr(pa.types, f"is_{text}")(kind) for text in ("string", "large_string", "string_view")
    ):
        return _of_texts(name, array.cast(pa.large_string()))
    raise TypeError(f"X[{name!r}] has type {type_name(kind)}, which cannot be a moment")


def _wide(name: str, array: pa.Array) -> pa.Array:
    try:
        return array.cast(pa.int64())
    except pa.ArrowException:  # uint64
        at = int(np.argmax(array.fill_null(0).to_numpy()))
        raise _wrong(name, array, at) from None


def _of_timestamps(name: str, array: pa.Array) -> pa.Array:
    kind = array.type
    if kind.tz is not None:
        try:
            array = pc.local_timestamp(array)
        except pa.ArrowException as error:
            raise TypeError(f"X[{name!r}] has the time zone {kind.tz!r}: {error}") from None
    ticks = array.cast(pa.int64())
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
    floored = ticks.fill_null(0).to_numpy() // per_second
    return pa.array(floored, mask=ticks.is_null().to_numpy(zero_copy_only=False))


def _of_integers(name: str, shown: pa.Array, array: pa.Array) -> pa.Array:
    missing = array.is_null().to_numpy(zero_copy_only=False)
    values = np.where(missing, 0, array.fill_null(0).to_numpy())
    dates = _dates(values)
    is_unix = (values >= LARGEST_DATE) & (values < LARGEST_MILLISECOND)
    fits = missing | is_unix | (dates != -1)
    if not fits.all():
        raise _wrong(name, shown, int(np.flatnonzero(~fits)[0]))
    seconds = np.where(values < LARGEST_SECOND, values, values // 1_000)
    return pa.array(np.where(is_unix, seconds, dates), mask=missing)


def _dates(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the seconds of integers YYMMDDHH; -1 for those that cannot be read as such."""
    hours, rest = values % 100, values // 100
    days, rest = rest % 100, rest // 100
    months, years = rest % 100, rest // 100
    fits = (values >= 0) & (values < LARGEST_DATE) & (hours < 24)
    fits &= (months >= 1) & (months <= 12) & (days >= 1)
    fits &= days <= _DAYS[np.where(fits, months, 0)]
    fits &= (months != 2) | (days < 29) | (years % 4 == 0)
    first = (2000 + years - 1970) * 12 + months - 1
    of_month = np.where(fits, first, 0).astype("datetime64[M]").astype("datetime64[D]")
    seconds = (of_month.astype(np.int64) + days - 1) * DAY + hours * HOUR
    found: npt.NDArray[np.int64] = np.where(fits, seconds, -1)
    return found


def _of_texts(name: str, texts: pa.Array) -> pa.Array:
    codes = pc.utf8_trim(texts, characters=" ").dictionary_encode()
    distinct = codes.dictionary
    distinct = pc.if_else(pc.equal(distinct, ""), None, distinct)
    are_digits = pc.match_substring_regex(distinct, _DIGITS)
    try:
        # A text with an offset is the moment in UTC, as a reader of CSV has it.
        plain = pc.replace_substring_regex(distinct, _FRACTION, "")
        zoned = pc.and_(
            pc.match_substring_regex(plain, _ZONE), pc.match_substring_regex(plain, ":")
        )
        nothing = pa.scalar(None, distinct.type)
        moments = pc.coalesce(
            pc.if_else(are_digits, nothing, pc.if_else(zoned, nothing, plain)).cast(
                pa.timestamp("s")
            ),
            pc.if_else(zoned, plain, nothing)
            .cast(pa.timestamp("s", "UTC"))
            .cast(pa.timestamp("s")),
        ).cast(pa.int64())
        digits = pc.if_else(are_digits, distinct, nothing).cast(pa.int64())
    except pa.ArrowException:
        raise _wrong(name, texts, _first_that_fails(name, texts)) from None
    if digits.null_count < len(digits):
        moments = pc.coalesce(moments, _of_integers(name, distinct, digits))
    return moments.take(codes.indices)


def _first_that_fails(name: str, texts: pa.Array) -> int:
    if len(texts) == 1:
        return 0
    half = len(texts) // 2
    try:
        _of_texts(name, texts[:half])
    except ValueError:
        return _first_that_fails(name, texts[:half])
    return half + _first_that_fails(name, texts[half:])


def _wrong(name: str, values: pa.Array, at: int) -> ValueError:
    return ValueError(
        f"X[{name!r}] has {values[at].as_py()!r}, which is not a moment: give a date, a timestamp,"
        " ISO text, Unix seconds or YYMMDDHH"
    )


def looks_like_moments(distinct: npt.NDArray[Any]) -> str | None:
    """Return how integers seem to spell moments; None if they do not. They are in order."""
    low, high = int(distinct[0]), int(distinct[-1])
    for unit, factor in (("seconds", 1), ("milliseconds", 1_000)):
        is_then = _UNIX[0] * factor <= low and high < _UNIX[1] * factor
        if is_then and len(distinct) > 1 and high - low < _SPAN * factor:
            return f"Unix {unit}"
    if low > 1_000_000 and high < 41_000_000 and (_dates(distinct.astype(np.int64)) != -1).all():
        return "YYMMDDHH"
    return None
