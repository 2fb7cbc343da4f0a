"""Moments as features: the hour of the day, the day of the week and the hour of the week."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.moments import calendar_columns, looks_like_moments
from checks import need_packages
from encoded import entries_of

UTC = dt.timezone.utc
NAMES = ["at.hour", "at.weekday", "at.week_hour"]


def parts(moment: dt.datetime | None) -> list[int | None]:
    """Return what the three fields of a local moment hold."""
    if moment is None:
        return [None, None, None]
    return [moment.hour, moment.weekday(), 24 * moment.weekday() + moment.hour]


def found(values: object) -> list[list[int | None]]:
    columns = calendar_columns("at", pa.chunked_array([values]))
    return [list(row) for row in zip(*(column.to_pylist() for column in columns), strict=True)]


SECONDS = st.integers(-(10**10), 10**11 - 1)


@given(st.lists(st.one_of(st.none(), SECONDS), min_size=1, max_size=20))
@settings(max_examples=100)
def test_timestamps_texts_and_integers_are_the_same_moments(seconds):
    moments = [
        None if s is None else dt.datetime(1970, 1, 1) + dt.timedelta(seconds=s) for s in seconds
    ]
    expected = [parts(moment) for moment in moments]
    of_seconds = pa.array(seconds, pa.int64())
    for unit in ("s", "ms", "us"):
        stamps = of_seconds.cast(pa.timestamp("s")).cast(pa.timestamp(unit))
        assert found(stamps) == expected
        assert found(stamps.dictionary_encode()) == expected
    for separator, zone in ((" ", ""), ("T", ""), ("T", "Z"), (" ", "+00:00")):
        texts = [None if m is None else m.isoformat(separator) + zone for m in moments]
        assert found(pa.array(texts, pa.string())) == expected
    unix = [None if s is None else abs(s) + 10**8 for s in seconds]
    unix = [None if s is None or s >= 10**11 else s for s in unix]
    of_unix = [parts(None if s is None else dt.datetime.fromtimestamp(s, UTC)) for s in unix]
    assert found(pa.array(unix, pa.int64())) == of_unix
    assert found(pa.array([None if s is None else str(s) for s in unix], pa.string())) == of_unix
    as_floats = np.array([np.nan if s is None else s for s in unix], np.float64)
    assert found(pa.array(as_floats)) == of_unix
    millis = [None if s is None or s < 10**8 else 1000 * s + 999 for s in unix]
    assert found(pa.array(millis, pa.int64())) == [
        parts(None if s is None else dt.datetime.fromtimestamp(s // 1000, UTC)) for s in millis
    ]


@given(st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2099, 12, 31)))
def test_eight_digits_are_year_month_day_and_hour(moment):
    number = int(moment.strftime("%y%m%d%H"))
    assert found(pa.array([number])) == [parts(moment)]
    assert found(pa.array([f"{number:08}"])) == [parts(moment)]


@given(st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2030, 1, 1)))
def test_a_zone_counts_in_its_local_time(moment):
    for zone in ("Asia/Kolkata", "America/New_York", "UTC"):
        aware = moment.replace(tzinfo=UTC)
        local = aware.astimezone(zoneinfo.ZoneInfo(zone))
        for unit in ("us", "ns"):
            assert found(pa.array([aware], pa.timestamp(unit, zone))) == [parts(local)]


def test_dates_and_offsets():
    day = dt.date(2026, 11, 28)  # a Saturday
    for kind in (pa.date32(), pa.date64()):
        assert found(pa.array([day, None], kind)) == [[0, 5, 120], [None, None, None]]
    texts = ["2026-11-28", "2026-11-28 23:59:59.999999999", "2026-11-28T02:00:00+03:00", "", None]
    utc = [[0, 5, 120], [23, 5, 143], [23, 4, 119], [None] * 3, [None] * 3]
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        assert found(pa.array(texts, kind)) == utc


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([14102100, 14133100], "14133100"),  # month 13
        ([14022900], "14022900"),  # 2014 is no leap year
        ([14102124], "14102124"),
        ([-1], "-1"),
        ([10**14], "100000000000000"),
        (pa.array([2**64 - 1], pa.uint64()), "18446744073709551615"),
        ([1.5e9, 1.5], "1.5"),
        (["2026-11-28", "soon"], "'soon'"),
        (["2026-11-31"], "'2026-11-31'"),
        (["12"], "'12'"),
    ],
)
def test_what_is_not_a_moment_is_refused_by_name(values, shown):
    encoder = HashingEncoder(10, calendar=["at"])
    with pytest.raises(ValueError, match=re.escape(f"X['at'] has {shown}, which is not a moment")):
        encoder.transform({"at": values, "site": ["a"] * len(values)})


@pytest.mark.parametrize("values", [[True], [[1]], [dt.time(12)], [b"x"], [dt.timedelta(1)]])
def test_types_that_are_no_moments_are_refused(values):
    with pytest.raises(TypeError, match=r"X\['at'\] has type .*, which cannot be a moment"):
        HashingEncoder(10, calendar=["at"]).transform({"at": values})


def test_same_slots_in_every_format():
    seconds = np.arange(1_790_000_000, 1_790_900_000, 3_601)
    stamps = seconds.astype("datetime64[s]")
    forms = {
        "seconds": seconds,
        "milliseconds": seconds * 1000,
        "numpy": stamps,
        "ns": stamps.astype("datetime64[ns]"),
        "text": np.datetime_as_string(stamps).astype(object),
        "arrow": pa.array(stamps),
        "zoned": pa.array(stamps).cast(pa.timestamp("us", "UTC")),
        "coded": pa.array(stamps).dictionary_encode(),
        "digits": [str(s) for s in seconds],
    }
    site = ["a", "b", "c"] * (len(seconds) // 3) + ["d"] * (len(seconds) % 3)
    encoder = HashingEncoder(14, calendar=["at"], crosses=[("site", "at.hour")])
    encoder.fit({"at": stamps, "site": site})
    expected = entries_of(encoder.transform({"at": stamps, "site": site}))
    for name, values in forms.items():
        assert entries_of(encoder.transform({"at": values, "site": site})) == expected, name
    need_packages("pandas")
    import pandas as pd

    frame = pd.DataFrame({"at": pd.to_datetime(stamps), "site": site})
    assert entries_of(encoder.transform(frame)) == expected


def test_a_calendar_column_has_three_fields_and_not_its_own():
    x = {"at": np.array(["2026-11-28T12", "2026-11-29T12", "NaT"], "M8[h]"), "ad": ["x", "y", "z"]}
    encoder = HashingEncoder(12, calendar=["at"]).fit(x)
    assert encoder.fields_ == {"at": "calendar", "ad": "categorical"}
    assert list(encoder.regions()) == [*NAMES, "ad"]
    assert encoder.describe().splitlines()[0] == "at: calendar, as declared"
    by_hand = {
        "at.hour": [12, 12, None],
        "at.weekday": [5, 6, None],
        "at.week_hour": [132, 156, None],
    }
    plain = HashingEncoder(12, dict.fromkeys([*NAMES, "ad"], "categorical"))
    assert entries_of(encoder.transform(x)) == entries_of(
        plain.transform({**by_hand, "ad": x["ad"]})
    )
    values = {value for pairs in encoder.inverse(x).values() for value in pairs}
    assert ("at.week_hour", 156) in values
    assert ("at.hour", None) in values
    again = HashingEncoder.from_dict(encoder.to_dict())
    assert entries_of(again.transform(x)) == entries_of(encoder.transform(x))
    assert again.describe() == encoder.describe()


def test_moments_that_are_not_named_are_left_out_and_said():
    x = {"at": np.array(["2026-11-28T12"] * 3, "M8[s]"), "to": np.array([1] * 3, "M8[us]")}
    encoder = HashingEncoder(12)
    with pytest.warns(UserWarning, match=r"name it in calendar=\['(at|to)'\]") as warned:
        encoder.fit({**x, "ad": ["x", "y", "z"]})
    assert len(warned) == 2
    assert encoder.fields_ == {"ad": "categorical"}
    assert "at: not encoded, a moment, which does not return; see calendar" in encoder.describe()
    with pytest.raises(
        ValueError, match="no columns to encode but moments: name them in calendar="
    ):
        encoder.fit(x)
    dates = {"day": pa.array([1, 2, 3], pa.date32())}  # as text in CSV
    assert encoder.fit(dates).fields_ == {"day": "categorical"}
    own = HashingEncoder(12, {"at": "categorical"}).fit(x)  # asked for
    assert own.fields_ == {"at": "categorical"}


@pytest.mark.parametrize(
    ("params", "error", "said"),
    [
        ({"calendar": ["no"]}, ValueError, "calendar has 'no', but X has no such column"),
        ({"calendar": "at"}, TypeError, "calendar must be a sequence of names"),
        ({"calendar": ["at"], "fields": ["ad"]}, ValueError, "which is not one of the fields"),
        (
            {"calendar": ["at"], "fields": {"at": "value", "ad": None}},
            ValueError,
            "but fields['at'] is 'value'",
        ),
    ],
)
def test_calendar_must_fit_the_columns(params, error, said):
    with pytest.raises(error, match=re.escape(said)):
        HashingEncoder(10, **params).fit({"at": ["2026-11-28"], "ad": ["x"]})


def test_a_derived_name_that_is_taken_is_refused():
    with pytest.raises(ValueError, match=r"field 'at\.hour' occurs twice"):
        HashingEncoder(10, calendar=["at"]).fit({"at": ["2026-11-28"], "at.hour": ["x"]})


def test_integers_that_look_like_moments():
    unix = np.arange(1_790_000_000, 1_790_050_000, 7)
    assert looks_like_moments(unix) == "Unix seconds"
    assert looks_like_moments(unix * 1000) == "Unix milliseconds"
    assert looks_like_moments(np.array([14102100, 14102123])) == "YYMMDDHH"
    assert looks_like_moments(np.array([14102100, 14102199])) is None
    assert looks_like_moments(np.array([1_000_000_000, 4_000_000_000])) is None  # too long a log
    assert looks_like_moments(np.array([-5, 3])) is None
