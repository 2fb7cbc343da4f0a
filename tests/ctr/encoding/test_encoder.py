"""HashingEncoder follows its rules, value by value, for columns from any source."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hashing_reference as reference
from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.examples import concatenate
from checks import need_packages
from encoded import ROWS, entries_of, many

SCALARS = {
    pa.null(): st.none(),
    pa.bool_(): st.booleans(),
    pa.int8(): st.integers(-(2**7), 2**7 - 1),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint8(): st.integers(0, 2**8 - 1),
    pa.uint16(): st.integers(0, 2**16 - 1),
    pa.uint32(): st.integers(0, 2**32 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float16(): st.floats(width=16).map(np.float16),
    pa.float32(): st.floats(width=32).map(np.float32),
    pa.float64(): st.floats(),
    pa.string(): st.text(max_size=40),
    pa.large_string(): st.text(max_size=5),
    pa.string_view(): st.text(max_size=20),
    pa.binary(): st.binary(max_size=70),
    pa.large_binary(): st.binary(max_size=5),
    pa.binary_view(): st.binary(max_size=20),
}


NUMBERS = [kind for kind in SCALARS if pa.types.is_integer(kind) or pa.types.is_floating(kind)]


@st.composite
def columns(draw, rows):
    """Draw an array of any type, nullable, perhaps sliced; its values; and a kind for it."""
    item = draw(st.sampled_from(list(SCALARS)))
    values = SCALARS[item] | st.none()
    shape = draw(st.sampled_from(["plain", "plain", "dictionary", "list", "large_list", "of_keys"]))
    kinds = ["categorical"]
    if item in NUMBERS and shape in ("plain", "list", "large_list"):
        kinds += ["log2-bins", "value"] if shape == "plain" else ["log2-bins"]
    kind = draw(st.sampled_from(kinds))
    if kind == "value":
        largest = 2.0**16  # so that a product of three does not exceed the limit of 2**48
        values = values.filter(lambda x: x is None or x != x or abs(float(x)) <= largest)
    if shape == "dictionary":
        keys = draw(st.lists(values, min_size=1, max_size=5))
        index = draw(st.sampled_from([pa.int8(), pa.uint16(), pa.int32(), pa.uint64()]))
    elif shape != "plain":
        values = st.none() | st.lists(values, max_size=4)
    before, after = draw(st.integers(0, 9)), draw(st.integers(0, 3))
    size = before + rows + after
    if shape == "dictionary":
        picks = draw(
            st.lists(st.none() | st.integers(0, len(keys) - 1), min_size=size, max_size=size)
        )
        data = [None if k is None else keys[k] for k in picks]
        array = pa.DictionaryArray.from_arrays(pa.array(picks, index), pa.array(keys, item))
    else:
        data = draw(st.lists(values, min_size=size, max_size=size))
        if shape == "plain":
            array = pa.array(data, item)
        elif shape == "of_keys":
            flat = pa.array([x for row in data if row is not None for x in row], item)
            ends = np.cumsum([0, *(len(row or ()) for row in data)])
            mask = pa.array([row is None for row in data], pa.bool_())
            if not pa.types.is_null(item) and item not in (pa.string_view(), pa.binary_view()):
                flat = flat.dictionary_encode()
            array = pa.LargeListArray.from_arrays(ends, flat, mask=mask)
        else:
            array = pa.array(data, (pa.list_ if shape == "list" else pa.large_list)(item))
    return array.slice(before, rows), data[before : before + rows], kind


@st.composite
def frames(draw):
    rows = draw(st.integers(0, 12))
    drawn = {f"f{j}é": draw(columns(rows)) for j in range(draw(st.integers(1, 10)))}
    names = list(drawn)
    crosses = []
    if len(names) > 1 and draw(st.booleans()):
        crosses = [tuple(draw(st.permutations(names))[: draw(st.integers(2, 3))])]
        if any(drawn[name][2] == "value" for name in crosses[0]):  # products may overflow
            crosses = []
    fields = names + ["*".join(cross) for cross in crosses]
    return drawn, {
        "bits": draw(st.integers(8, 32)),
        "crosses": crosses,
        "wide": draw(st.lists(st.sampled_from(fields), max_size=2, unique=True)),
        "null": draw(st.sampled_from(["value", "skip"])),
        "multi": draw(st.sampled_from(["sum", "mean"])),
        "seed": draw(st.integers(0, 2**64 - 1)),
    }


@given(frames(), st.data())
@settings(max_examples=100)
def test_follows_the_rules(frame, data):
    drawn, params = frame
    kinds = {name: kind for name, (_, _, kind) in drawn.items()}
    table = pa.table({name: array for name, (array, _, _) in drawn.items()})
    encoder = HashingEncoder(fields=kinds, **params)
    whole = encoder.transform(table)
    expected = reference.encode({n: values for n, (_, values, _) in drawn.items()}, kinds, **params)
    assert entries_of(whole) == expected
    if whole.is_fixed:
        assert len(set(map(len, expected))) <= 1

    cuts = sorted(data.draw(st.lists(st.integers(0, len(table)), max_size=3)))
    pieces = [table.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, len(table)], strict=True)]
    chunked = pa.concat_tables(pieces)
    assert entries_of(encoder.transform(chunked)) == expected
    assert entries_of(concatenate([encoder.transform(p) for p in pieces])) == expected


def test_blocks_and_batches_join(rng):
    x = many(3000)
    x["c4"] = pa.array([None if k % 7 == 0 else v for k, v in enumerate(x["c4"])])
    x["tags"] = pa.array([[str(k % 5)] * (k % 4) for k in range(3000)])
    kinds = dict.fromkeys(x, "categorical")
    values = {name: pa.array(column).to_pylist() for name, column in x.items()}
    for names in (list(x)[:-1], list(x)):
        for null in ("value", "skip"):
            fields = {name: kinds[name] for name in names}
            encoded = HashingEncoder(16, fields, null=null).transform(pa.table(x))
            part = {name: values[name] for name in names}
            assert entries_of(encoded) == reference.encode(part, fields, bits=16, null=null)
            assert encoded.is_fixed == (null == "value" and "tags" not in names)


def test_nothing_skipped_is_fixed():
    x = many(100, 8)
    assert HashingEncoder(null="skip").transform(x).is_fixed
    x["c0"] = np.where(np.arange(100) == 99, np.nan, 1.0)
    assert HashingEncoder().transform(x).is_fixed
    assert not HashingEncoder(null="skip").transform(x).is_fixed
    assert not HashingEncoder(wide=["c1"]).transform(x).is_fixed


def test_a_dictionary_longer_than_the_column_is_not_hashed_whole():
    keys = pa.array([str(k) for k in range(1000)])
    array = pa.DictionaryArray.from_arrays(pa.array([999, None, 3], pa.int16()), keys)
    plain = HashingEncoder().transform({"x": ["999", None, "3"]})
    assert HashingEncoder().transform({"x": array}).slots.tolist() == plain.slots.tolist()


@pytest.fixture
def expected():
    return entries_of(HashingEncoder(18).transform(pa.table(ROWS).replace_schema_metadata()))


def test_expected_follows_the_rules(expected):
    kinds = {"site": "categorical", "hits": "log2-bins", "price": "log2-bins"}
    assert expected == reference.encode(ROWS, {**kinds, "new": "categorical"}, bits=18)


def test_arrow_sources(expected):
    table = pa.table(ROWS)
    encode = HashingEncoder(18).transform
    for source in (
        ROWS,
        {name: np.array(values, object) for name, values in ROWS.items()},
        {name: pa.array(values) for name, values in ROWS.items()},
        {name: pa.chunked_array([values[:1], values[1:]]) for name, values in ROWS.items()},
        table,
        table.to_batches()[0],
        table.to_reader(max_chunksize=3),
    ):
        assert entries_of(encode(source)) == expected


def test_pandas_and_its_index(expected):
    need_packages("pandas")
    import pandas as pd

    frame = pd.DataFrame(ROWS)
    encode = HashingEncoder(18).transform
    assert entries_of(encode(frame)) == expected
    order = [2, 0, 3, 1]  # an index that is not a range, as after train_test_split
    assert entries_of(encode(frame.iloc[order])) == [expected[k] for k in order]
    assert entries_of(encode(frame.astype({"site": "category"}))) == expected
    assert entries_of(encode({name: frame[name] for name in frame})) == expected


def test_polars(expected):
    need_packages("polars")
    import polars as pl

    frame = pl.DataFrame(ROWS)
    encode = HashingEncoder(18).transform
    assert entries_of(encode(frame)) == expected
    assert entries_of(encode(frame.with_columns(pl.col("site").cast(pl.Categorical)))) == expected
    assert entries_of(encode({name: frame[name] for name in frame.columns})) == expected


def test_duckdb(expected):
    need_packages("duckdb")
    import duckdb

    relation = duckdb.from_arrow(pa.table(ROWS))
    assert entries_of(HashingEncoder(18).transform(relation)) == expected


def test_text_and_types_encode_alike():
    typed = {"hits": [3, 0, None, -7], "id": [10**18, 5, 6, None], "price": [0.1, 1e-7, 0.0, None]}
    text = {"hits": ["3", "0", "", "-7"], "id": ["1" + "0" * 18, "5", "6", None]}
    text["price"] = ["0.1", "1e-07", "0", None]
    fields = {"hits": "log2-bins", "id": "categorical", "price": "categorical"}
    encoder = HashingEncoder(20, fields)
    assert entries_of(encoder.transform(typed)) == entries_of(encoder.transform(text))
    widened = {**typed, "hits": np.array([3, 0, np.nan, -7]), "id": pa.array(text["id"])}
    assert entries_of(encoder.transform(widened)) == entries_of(encoder.transform(text))
    views = {name: pa.array(column, pa.string_view()) for name, column in text.items()}
    assert entries_of(encoder.transform(views)) == entries_of(encoder.transform(text))


def wrapped():
    day, noon = datetime.date(2026, 1, 31), datetime.datetime(2026, 1, 31, 12)
    views = pa.ListViewArray.from_arrays([0, None, 1], [2, 0, 2], pa.array(["a", "b", "c"]))
    return [
        (pa.array([day, None]), ["2026-01-31", None], "categorical"),
        (pa.array([noon], pa.timestamp("s")), ["2026-01-31 12:00:00"], "categorical"),
        (pa.array([noon.time()], pa.time32("s")), ["12:00:00"], "categorical"),
        (pa.array([decimal.Decimal("1.50")]), ["1.50"], "categorical"),
        (pa.array([decimal.Decimal("1.50")]), [1.5], "value"),
        (pa.array([datetime.timedelta(seconds=5)], pa.duration("s")), [5], "log2-bins"),
        (pa.array([b"ab", None], pa.binary(2)), [b"ab", None], "categorical"),
        (pa.array([True, None]), [1, None], "value"),
        (pa.array([[1, None], None], pa.list_(pa.int8(), 2)), [[1, None], None], "categorical"),
        (views, [["a", "b"], None, ["b", "c"]], "categorical"),
        (pa.RunEndEncodedArray.from_arrays([2, 3], ["a", None]), ["a", "a", None], "categorical"),
        (pa.array([7, None, 7]).dictionary_encode(), [7, None, 7], "log2-bins"),
        (pa.array([day, day]).dictionary_encode(), ["2026-01-31"] * 2, "categorical"),
        (pa.array(["12", ""]).dictionary_encode(), [12, None], "value"),
        (pa.array(["0" * 32]).cast(pa.binary()).cast(pa.binary(32)), ["0" * 32], "categorical"),
    ]


@pytest.mark.parametrize("case", range(len(wrapped())))
def test_wrapped_types_encode_like_their_values(case):
    array, values, kind = wrapped()[case]
    encoder = HashingEncoder(20, {"x": kind})
    assert entries_of(encoder.transform({"x": array})) == reference.encode(
        {"x": values}, {"x": kind}, bits=20
    )


NOON = datetime.datetime(2026, 1, 31, 12, 30, 0, 500_000)


NIGHT, EARLY = datetime.datetime(2026, 1, 31), datetime.datetime(1969, 12, 31, 23, 59, 50)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("moments", "types", "texts"),
    [
        (
            [NOON, None, EARLY],
            [pa.timestamp(unit) for unit in ("ms", "us", "ns")],
            ["2026-01-31 12:30:00.5", None, "1969-12-31 23:59:50"],
        ),
        (
            [NIGHT, NIGHT],
            [pa.date32(), pa.date64(), *(pa.timestamp(u) for u in ("s", "ms", "us", "ns"))],
            ["2026-01-31", "2026-01-31"],
        ),
        (
            [NOON.replace(tzinfo=datetime.timezone.utc)],
            [pa.timestamp(u, z) for u in ("ms", "us", "ns") for z in ("UTC", "+05:00")],
            ["2026-01-31 12:30:00.5Z"],
        ),
        (
            [NIGHT.replace(tzinfo=datetime.timezone.utc)],
            [pa.timestamp("s", "UTC")],
            ["2026-01-31 00:00:00Z"],
        ),
        (
            [NOON.time(), NIGHT.time(), None],
            [pa.time32("ms"), pa.time64("us"), pa.time64("ns")],
            ["12:30:00.5", "00:00:00", None],
        ),
    ],
)
def test_dates_and_times_have_one_text_in_every_unit(moments, types, texts, nested):
    expected = [texts, None, []] if nested else texts
    for kind in types:
        column = pa.array(moments, kind)
        if nested:
            column = pa.array([moments, None, []], pa.list_(kind))
        for sliced in (column, pa.concat_arrays([column, column])[len(column) :]):
            encoded = HashingEncoder(20).transform({"x": sliced})
            assert entries_of(encoded) == reference.encode(
                {"x": expected}, {"x": "categorical"}, bits=20
            ), kind


def test_extension_types_encode_like_their_storage():
    array = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16)], pa.binary(16)))
    encoded = HashingEncoder(20).transform({"x": array})
    assert entries_of(encoded) == reference.encode(
        {"x": [bytes(16)]}, {"x": "categorical"}, bits=20
    )


@pytest.mark.parametrize("numeric", ["log2-bins", "value", "categorical"])
def test_kinds_by_type(numeric):
    x = {"i": [1], "f": [2.0], "s": ["a"], "b": [True], "n": [None], "l": [[1, 2]]}
    x["d"] = pa.array([3]).dictionary_encode()
    encoder = HashingEncoder(numeric=numeric).fit(x)
    rest = {"s": "categorical", "b": "categorical", "n": None}
    lists = {"l": "categorical", "d": "categorical"}
    assert encoder.fields_ == {"i": numeric, "f": numeric, **rest, **lists}


def test_values_multiply_in_crosses():
    x = {"user": ["u"], "price": [2.5], "tags": [["a", "b"]]}
    encoder = HashingEncoder(
        20, numeric="value", multi="mean", crosses=[("user", "price"), ("price", "tags")]
    )
    kinds = {"user": "categorical", "price": "value", "tags": "categorical"}
    expected = reference.encode(x, kinds, bits=20, multi="mean", crosses=encoder.crosses)
    assert entries_of(encoder.transform(x)) == expected
    assert sorted(encoder.transform(x).values.tolist()) == [0.5, 0.5, 1, 1.25, 1.25, 2.5, 2.5]
