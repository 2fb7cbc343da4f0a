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
<<<<<<< HEAD


def test_fit_remembers_columns_and_kinds():
    encoder = HashingEncoder(18).fit(pa.table(ROWS))
    assert list(encoder.feature_names_in_) == list(ROWS)
    assert encoder.n_features_in_ == 4
    shuffled = {name: ROWS[name] for name in reversed(ROWS)} | {"other": [1, 2, 3, 4]}
    expected = entries_of(encoder.transform(ROWS))
    assert entries_of(encoder.transform(shuffled)) == expected
    as_text = {**ROWS, "hits": [str(x) for x in ROWS["hits"]]}
    assert entries_of(encoder.transform(as_text)) == expected
    assert entries_of(encoder.fit_transform(pa.table(ROWS).to_reader())) == expected
    reader = pa.table(ROWS).to_reader()
    assert entries_of(encoder.fit(reader).transform(reader)) == expected  # fit left it unread
    assert encoder.fit({"a": ["x"]}).fields_ == {"a": "categorical"}  # and forgets the former


def test_copies_encode_alike():
    crosses, wide = [("site", "hits")], ["site", ("site", "hits")]
    encoder = HashingEncoder(18, crosses=crosses, wide=wide, null="skip", multi="mean", seed=3)
    for one in (encoder, HashingEncoder(18, {"hits": None, "site": "categorical"}).fit(ROWS)):
        expected = entries_of(one.transform(ROWS))
        stored = HashingEncoder.from_dict(json.loads(json.dumps(one.to_dict())))
        for copy in (stored, pickle.loads(pickle.dumps(one))):
            assert entries_of(copy.transform(ROWS)) == expected
            assert repr(copy.to_dict()) == repr(one.to_dict())
    with pytest.raises(ValueError, match="format 2"):
        HashingEncoder.from_dict({**encoder.to_dict(), "format": 2})


def test_no_rows():
    lists = {"tags": pa.array([], pa.list_(pa.string()))}
    for x in (pa.table(ROWS).slice(0, 0), pa.table(ROWS).schema.empty_table(), lists, many(0)):
        encoded = HashingEncoder().transform(x)
        assert len(encoded) == len(encoded.slots) == 0
        assert entries_of(encoded) == []
    assert HashingEncoder().transform(many(0)).is_fixed
    assert HashingEncoder().inverse(lists) == {}
    assert HashingEncoder().collisions(lists)["tags"]["values"] == 0


def test_scikit_learn():
    from sklearn.base import BaseEstimator, ClassifierMixin, clone
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.utils import get_tags

    class Majority(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            assert isinstance(X, Examples)
            self.classes_, self.seen_ = np.unique(y), X.n_slots
            return self

        def predict(self, X):
            return np.full(len(X), self.classes_[0])

    encoder = HashingEncoder(12, crosses=[("site", "new")])
    copy = clone(encoder)
    assert copy is not encoder
    assert copy.get_params() == encoder.get_params()
    assert copy.set_params(bits=14).bits == 14
    with pytest.raises(ValueError, match="no parameter 'bit'"):
        copy.set_params(bit=3)
    assert repr(encoder) == "HashingEncoder(bits=12, crosses=[('site', 'new')])"
    assert not get_tags(encoder).requires_fit

    need(importlib.util.find_spec("pandas") is not None, "pandas")
    import pandas as pd

    frame, y = pd.concat([pd.DataFrame(ROWS)] * 5), np.arange(20) % 2
    search = GridSearchCV(
        make_pipeline(encoder, Majority()), {"hashingencoder__bits": [10, 11]}, cv=2
    ).fit(frame, y)
    best = search.best_estimator_
    assert best[-1].seen_ == 2 ** best[0].bits
    assert (best.predict(frame) == 0).all()


def test_collisions_are_counted():
    rows = 4000
    x = {f"c{j}": [f"{k % (300 + 10 * j)}" for k in range(rows)] for j in range(9)}
    x["tags"] = [[f"{k}", f"{k % 50}"] for k in range(rows)]
    encoder = HashingEncoder(12, wide=["tags"])
    report = encoder.collisions(x)
    values = {
        name: {v for cell in column for v in (cell if isinstance(cell, list) else [cell])}
        for name, column in x.items()
    }
    slots = {
        name: {
            v: reference.slot_of(
                reference.xxh64(v.encode(), reference.xxh64(name.encode())), j, 10, j == 9, 12
            )
            for v in values[name]
        }
        for j, name in enumerate(x)
    }
    everything = [slot for mine in slots.values() for slot in mine.values()]
    counts = np.bincount(everything)
    for name, row in report.items():
        mine = np.array(list(slots[name].values()))
        assert row["values"] == len(values[name])
        assert row["slots"] == len(set(mine.tolist()))
        assert row["shared"] == np.mean(counts[mine] > 1)
        assert row["shared_within"] == np.mean(np.bincount(mine)[mine] > 1)
        assert row["expected"] == pytest.approx(row["shared"], abs=0.1)
        assert row["expected_within"] == pytest.approx(row["shared_within"], abs=0.1)


def test_inverse_finds_what_was_encoded():
    x = {
        "site": ["a", "b", None],
        "hits": [5, -7, 0],
        "tags": [["x", None, "y"], [], ["z"]],
        "score": [0.5, 2.0, None],
    }
    kinds = {"site": None, "hits": None, "tags": None, "score": "value"}
    encoder = HashingEncoder(22, kinds, crosses=[("site", "tags", "hits")], wide=["tags"])
    found = encoder.inverse(x)
    assert set(found) == set(encoder.transform(x).slots.tolist())
    by_field: dict[str, list] = {}
    for entries in found.values():
        for name, value in entries:
            by_field.setdefault(name, []).append(value)
    assert set(by_field["site"]) == {"a", "b", None}
    assert set(by_field["hits"]) == {"[4, 6)", "(-8, -6]", "0"}
    assert set(by_field["tags"]) == {"x", "y", "z"}
    assert set(by_field["score"]) == {"value", None}
    crossed = {("a", "x", "[4, 6)"), ("a", "y", "[4, 6)"), (None, "z", "0")}
    assert set(by_field["site*tags*hits"]) == crossed
    for value in by_field["tags"]:
        (slot,) = (s for s, entries in found.items() if ("tags", value) in entries)
        s = reference.xxh64(b"tags")
        assert slot == reference.slot_of(reference.xxh64(value.encode(), s), 2, 5, True, 22)
    missing = [value for entries in encoder.set_params(null="skip").inverse(x).values()
               for _, value in entries]  # fmt: skip
    assert None not in missing
    assert not any(isinstance(value, tuple) and None in value for value in missing)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"bits": 7}, ValueError, "bits must be from 8 to 32, got 7"),
        ({"bits": 33}, ValueError, "bits must be from 8 to 32"),
        ({"bits": 20.0}, TypeError, "bits must be an integer, got 20.0"),
        ({"bits": True}, TypeError, "bits must be an integer"),
        ({"seed": -1}, ValueError, "seed must be from 0"),
        ({"numeric": "log"}, ValueError, "numeric must be in .*got 'log'"),
        ({"null": None}, ValueError, "null must be in"),
        ({"multi": "max"}, ValueError, "multi must be in"),
        ({"fields": "site"}, TypeError, "fields must be names or a dict, got 'site'"),
        ({"fields": []}, ValueError, "no columns"),
        ({"fields": ["site", "site"]}, ValueError, "field 'site' is there twice"),
        ({"fields": ["site", "nope"]}, ValueError, "X has no column 'nope', but"),
        ({"fields": {"site": "bins"}}, ValueError, r"fields\['site'\] must be in .*got 'bins'"),
        ({"fields": {"site": "value"}}, ValueError, r"X\['site'\]\[0\] = 'a.com' cannot be read"),
        ({"fields": {"new": "value"}, "crosses": [("new", "hits")]}, ValueError, "has 'hits'"),
        ({"crosses": ["site"]}, ValueError, "at least two fields, got 'site'"),
        ({"crosses": [("site",)]}, ValueError, "at least two fields"),
        ({"crosses": [("site", "hits")] * 2}, ValueError, r"'site\*hits' is there twice"),
        ({"wide": ["sites"]}, ValueError, r"wide has \['sites'\]"),
        ({"wide": "site"}, TypeError, "wide must be a sequence of names"),
    ],
)
def test_bad_parameters(params, error, message):
    encoder = HashingEncoder(**params)
    with pytest.raises(error, match=message):
        encoder.transform(ROWS)
    if "cannot be read" not in message:
        with pytest.raises(error, match=message):
            encoder.fit(ROWS)


@pytest.mark.parametrize(
    ("x", "kind", "error", "message"),
    [
        (np.zeros((2, 2)), None, TypeError, "X must be columns.*got ndarray"),
        ([{"x": 1}], None, TypeError, "X must be columns.*got list"),
        ({"x": "abc"}, None, TypeError, r"X\['x'\] must be an array or a list, got 'abc'"),
        ({"x": 3}, None, TypeError, r"X\['x'\] must be an array or a list, got 3"),
        ({"x": [1, "a"]}, None, TypeError, r"X\['x'\] is no column of one type"),
        ({"x": np.zeros((2, 2))}, None, TypeError, r"X\['x'\] is no column of one type"),
        ({"x": np.zeros(2, ">i4")}, None, TypeError, r"X\['x'\] is no column of one type"),
        ({"x": [1, 2], "y": [1]}, None, ValueError, "expected length 2 but got length 1"),
        ({"x": [{"a": 1}]}, None, TypeError, r"X\['x'\] is struct.*, which is not encoded"),
        ({"x": [[[1]]]}, None, TypeError, r"X\['x'\] is list<.*, which is not encoded"),
        ({"x": [datetime.date(2026, 1, 1)]}, "value", TypeError, "date32.*, which is no number"),
        ({"x": [[1.0]]}, "value", TypeError, "a 'value' is one number a row"),
        ({"x": ["1", "2", "x", "3"]}, "value", ValueError, r"X\['x'\]\[2\] = 'x' cannot be read"),
        ({"x": [[1], [2]]}, "value", TypeError, "one number a row"),
        ({"x": [1.0, -np.inf]}, "value", ValueError, r"X\['x'\]\[1\] = -inf is not finite"),
        ({"x": [1.0, 1e30]}, "value", ValueError, r"X\['x'\]\[1\] = 1e\+30 is more than 2\*\*48"),
        ({"x": [1.0, 1e39]}, "value", ValueError, r"X\['x'\]\[1\] = 1e\+39 is not finite"),
    ],
)
def test_bad_columns(x, kind, error, message):
    encoder = HashingEncoder(fields=None if kind is None else {"x": kind})
    with pytest.raises(error, match=message):
        encoder.transform(x)


def test_bad_numbers_are_found_in_any_batch():
    x = np.ones(2000)
    x[1700] = np.inf
    table = pa.table({"x": pa.chunked_array([x[:1000], x[1000:]])})
    with pytest.raises(ValueError, match=r"X\['x'\]\[1700\] = inf is not finite in float32"):
        HashingEncoder(fields={"x": "value"}).transform(table)
    big = {"x": [1.0, 2.0**40], "y": [1.0, 2.0**9]}
    with pytest.raises(ValueError, match=r"X\['x\*y'\]\[1\] = 562949953421312 is more than 2"):
        HashingEncoder(numeric="value", crosses=[("x", "y")]).transform(big)


def test_a_column_twice():
    table = pa.Table.from_arrays([pa.array(["a"])] * 2, names=["x", "x"])
    with pytest.raises(ValueError, match="field 'x' is there twice"):
        HashingEncoder().transform(table)


def dictionaries(rng, n):
    """Batches whose dictionaries are the one before, another of the same size, or much longer."""
    words = [f"{k:x}" * (k % 4 + 1) for k in range(3 * n)]
    values = [words[:n], words[:n], words[1 : n + 1], words[: 2 * n], words, [*words[:9], None]]
    for texts, kind in itertools.product(values, (pa.string(), pa.large_string())):
        codes = pa.array(rng.integers(0, len(texts), n), pa.int32())
        yield pa.DictionaryArray.from_arrays(codes, pa.array(texts, kind))
    sliced = pa.array([*words[5:9], *words[:n]], pa.string())[4:]
    yield pa.DictionaryArray.from_arrays(pa.array(range(n), pa.int32()), sliced)


def test_what_is_kept_of_the_dictionaries_before_does_not_change_a_slot(rng):
    encoder = HashingEncoder(bits=20)
    for column in dictionaries(rng, 300):
        texts = {"x": column.cast(pa.string()), "y": column.cast(pa.string())}
        expected = HashingEncoder(bits=20).transform(texts).slots
        for _ in range(2):
            got = encoder.transform({"x": column, "y": column}).slots
            np.testing.assert_array_equal(got, expected)


def test_other_params_do_not_find_the_dictionaries_of_those_before():
    column = {"x": pa.array(["a", "b", "a"]).dictionary_encode()}
    encoder = HashingEncoder(bits=20)
    encoder.transform(column)
    for params in ({"seed": 1}, {"bits": 9}, {"fields": {"x": None}}):
        encoder.set_params(**params)
        expected = HashingEncoder(**encoder.get_params()).transform(column).slots
        np.testing.assert_array_equal(encoder.transform(column).slots, expected)
    renamed = {"z": column["x"]}
    encoder.set_params(fields=None)
    expected = HashingEncoder(**encoder.get_params()).transform(renamed).slots
    np.testing.assert_array_equal(encoder.transform(renamed).slots, expected)


def test_threads_share_what_is_known_of_dictionaries(rng):
    encoder = HashingEncoder(bits=20)
    columns = [{"x": column} for column in dictionaries(rng, 2000)] * 8
    expected = [HashingEncoder(bits=20).transform(column).slots for column in columns]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda column: encoder.transform(column).slots, columns))
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_dictionaries_are_not_pickled_or_copied():
    words = pa.array([f"word {k}" for k in range(10_000)]).dictionary_encode()
    encoder = HashingEncoder(bits=20)
    before = pickle.dumps(encoder)
    encoder.transform({"x": words})
    assert pickle.dumps(encoder) == before
    assert vars(deepcopy(encoder)) == vars(pickle.loads(before))


def test_an_index_outside_its_dictionary():
    buffers = [None, pa.py_buffer(np.array([0, 5], np.int32))]
    kind = pa.dictionary(pa.int32(), pa.string())
    index = pa.Array.from_buffers(pa.int32(), 2, buffers)
    array = pa.DictionaryArray.from_arrays(index, pa.array(["a"]), safe=False)
    assert array.type == kind
    with pytest.raises(ValueError, match=r"X\['x'\] has an index outside its dictionary"):
        HashingEncoder().transform({"x": array})


def test_the_compiled_part_checks_too():
    batch = pa.record_batch({"x": ["a"]})
    with pytest.raises(TypeError, match=r"X\['x'\] must hold numbers"):
        _core.Hasher([("x", "value", False)], [], 20, 0, False, False).encode([batch])
    with pytest.raises(TypeError, match="record batch of 2 columns"):
        _core.Hasher([("x", "value", False)] * 2, [], 20, 0, False, False).encode([batch])
    with pytest.raises(IndexError, match="cross 'c' has column 1, but there are 1 columns"):
        _core.Hasher([("x", "value", False)], [("c", [0, 1], False)], 20, 0, False, False)
    nested = pa.record_batch({"x": [[["a"]]]})
    with pytest.raises(TypeError, match=r"X\['x'\] is nested more deeply"):
        _core.Hasher([("x", "categorical", False)], [], 20, 0, False, False).encode([nested])
=======
>>>>>>> main
