"""Which integers are ids and which are numbers, decided from the first rows."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.looks import FEWEST, LOOK, look_at, rows_to_look_at
from adagrad.ctr.learners.logistic import LogisticRegression
from adagrad.datasets import synthetic_clicks
from checks import need_packages
from encoded import entries_of

ROWS = 4_000


def kind_of(values) -> str:
    look = look_at(pa.chunked_array([pa.array(values)]))
    assert look is not None
    return look.kind


def ids(rng, values, rows=ROWS, power=1.1):
    """Draw from values whose popularity, in random order, falls with a power of their rank."""
    weights = np.arange(1, len(values) + 1.0) ** -power
    return rng.choice(rng.permutation(values), rows, p=weights / weights.sum())


COUNTS = {
    "geometric": lambda rng, n: rng.geometric(0.3, n) - 1,
    "steeper": lambda rng, n: rng.geometric(0.75, n) - (n > 1_000),
    "steep": lambda rng, n: rng.geometric(0.6, n) - 1,
    "flat": lambda rng, n: rng.geometric(0.01, n),
    "lognormal": lambda rng, n: rng.lognormal(2, 1.5, n).astype(np.int64),
    "wide": lambda rng, n: rng.lognormal(8, 3, n).astype(np.int64),
    "negative, too": lambda rng, n: rng.lognormal(4, 2, n).astype(np.int64) - 2,
    "losses": lambda rng, n: -rng.lognormal(6, 1, n).astype(np.int64),
    "power law": lambda rng, n: (rng.pareto(0.8, n) * 3).astype(np.int64),
    "mostly zero": lambda rng, n: rng.poisson(5, n) * (rng.random(n) < 0.1),
    "amounts": lambda rng, n: rng.normal(10_000, 1_500, n).astype(np.int64),
}
IDS = {
    "few": lambda rng: ids(rng, np.arange(100, 140)),
    "dense": lambda rng: ids(rng, np.arange(1, 2_000)),
    "sparse": lambda rng: ids(rng, rng.choice(2**31, 3_000, replace=False)),
    "hashes": lambda rng: ids(rng, rng.integers(-(2**63), 2**63 - 1, 3_000)),
    "hashes seen once": lambda rng: rng.integers(-(2**63), 2**63 - 1, ROWS),
    "evenly popular": lambda rng: rng.integers(10_000, 90_000, ROWS),
    "alike": lambda rng: rng.integers(1, 3_000, ROWS),
    "widths": lambda rng: rng.choice([120, 160, 300, 320, 728, 970], ROWS),
    "large and unsigned": lambda rng: ids(rng, np.uint64(2**63) + np.arange(500, dtype=np.uint64)),
}
CODES = {
    "weekdays": lambda rng: rng.integers(0, 7, ROWS),
    "hours": lambda rng: rng.integers(0, 24, ROWS),
    "months": lambda rng: rng.integers(1, 13, ROWS),
    "with gaps": lambda rng: rng.choice([0, 1, 4, 5], ROWS, p=[0.04, 0.92, 0.03, 0.01]),
    "a flag": lambda rng: rng.integers(0, 2, ROWS),
    "one value": lambda rng: np.full(ROWS, 14_200),
}


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("rows", [300, ROWS, LOOK])
def test_counts_and_amounts_are_numbers(name, rows, rng):
    assert kind_of(COUNTS[name](rng, rows)) == "number"


@pytest.mark.parametrize("name", IDS)
def test_ids_are_ids(name, rng):
    assert kind_of(IDS[name](rng)) == "ids"


@pytest.mark.parametrize("name", CODES)
def test_few_values_are_codes(name, rng):
    assert kind_of(CODES[name](rng)) == "codes"


def test_lumpy_amounts_are_no_ids_in_a_table_without_more_rows(rng):
    amounts = (
        rng.lognormal(7, 1, ROWS).astype(np.int64) // 2 * 2
    )  # equal values agree twice as often
    column = pa.chunked_array([amounts])
    assert look_at(column).kind == "ids"
    assert look_at(column, is_all=True).kind == "number"
    assert HashingEncoder(10).fit({"x": amounts}).fields_ == {"x": "log2-bins"}
    more = np.concatenate([amounts] * (LOOK // ROWS + 1))
    assert HashingEncoder(10).fit({"x": more}).fields_ == {"x": "categorical"}
    often = rng.choice(np.arange(16, 90, 2), ROWS)
    assert look_at(pa.chunked_array([often]), is_all=True).is_category


def test_what_cannot_be_told_is_a_number(rng):
    assert kind_of(rng.integers(0, 10**6, FEWEST - 1)) == "number"
    assert kind_of(np.arange(ROWS)) == kind_of(-np.arange(ROWS)) == "number"  # row numbers
    assert kind_of(np.arange(1_790_000_000, 1_790_050_000, 7)) == "number"  # Unix seconds


def test_the_synthetic_log_has_counts_and_planted_ids():
    table = pa.Table.from_batches(list(synthetic_clicks(20_000, 1)))
    numbers = [name for name in table.column_names if name.startswith("I")]
    assert [kind_of(table.column(name).drop_null()) for name in numbers] == ["number"] * 13


@given(st.randoms(use_true_random=False), st.sampled_from(sorted({*COUNTS})))
def test_the_order_and_the_repetition_of_rows_do_not_matter(random, name):
    values = COUNTS[name](np.random.default_rng(random.getrandbits(32)), 500).tolist()
    shuffled = random.sample(values, len(values))
    assert kind_of(np.array(values)) == kind_of(np.array(shuffled))
    with_missing = [x for value in shuffled for x in (None, value)]
    assert kind_of(pa.array(with_missing, pa.int64())) == kind_of(np.array(values))


def test_floats_are_numbers_unless_pandas_holds_integers_with_missing_values(rng):
    users = ids(rng, rng.choice(10**6, 900, replace=False))
    as_float = users.astype(np.float64)
    assert look_at(pa.chunked_array([as_float])) is None
    assert look_at(pa.chunked_array([np.append(as_float, [np.nan, 0.5])])) is None
    assert kind_of(np.append(as_float, np.nan)) == "ids"
    assert kind_of(pa.array([*as_float, None])) == "ids"
    assert kind_of(np.append(COUNTS["lognormal"](rng, ROWS), np.nan)) == "number"


def columns(rng):
    users = ids(rng, rng.choice(10**6, 900, replace=False)).astype(object)
    users[::9] = None
    clicks = COUNTS["lognormal"](rng, ROWS).astype(object)
    clicks[3] = None
    return {"user": users.tolist(), "clicks": clicks.tolist(), "day": CODES["weekdays"](rng)}


DECIDED = {"user": "categorical", "clicks": "log2-bins", "day": "categorical"}


def test_every_source_decides_alike(rng):
    need_packages("pandas", "polars", "duckdb")
    import duckdb
    import pandas as pd
    import polars as pl

    x = columns(rng)
    table = pa.table(x)
    narrow = table.set_column(2, "day", table.column("day").cast(pa.int8()))
    unsigned = table.set_column(0, "user", table.column("user").cast(pa.uint32()))
    runs = table.set_column(
        2,
        "day",
        pa.chunked_array([pa.compute.run_end_encode(table.column("day").combine_chunks())]),
    )
    relation = duckdb.from_arrow(table)
    pieces = pa.concat_tables([table.slice(0, 100), table.slice(100)])
    frame = pd.DataFrame({name: pd.Series(pd.array(list(x[name]), "Int64")) for name in x})
    sources = [x, table, narrow, unsigned, runs, pieces, relation, pl.DataFrame(x), frame]
    encoder = HashingEncoder(16)
    expected = entries_of(encoder.fit(table).transform(table))
    for source in [*sources, frame.astype({"user": float, "clicks": float})]:
        assert encoder.fit(source).fields_ == DECIDED
        assert entries_of(encoder.transform(source)) == expected
    assert entries_of(encoder.fit_transform(table.to_reader(97))) == expected
    assert encoder.fields_ == DECIDED


def test_only_the_first_rows_decide(rng):
    day = np.concatenate([rng.integers(0, 7, LOOK), rng.integers(0, 10**9, 1000)])
    table = pa.table({"day": day})
    assert HashingEncoder(10).fit(table).fields_ == {"day": "categorical"}
    assert HashingEncoder(10).fit(table.slice(LOOK - 100)).fields_ == {"day": "log2-bins"}


def test_a_wide_table_is_looked_at_in_fewer_rows(rng):
    assert rows_to_look_at(1) == rows_to_look_at(128) == LOOK
    assert rows_to_look_at(10_000) == 2_048
    table = pa.table({f"c{k}": rng.integers(0, 7, 3_000) for k in range(5)})
    assert set(HashingEncoder(10).fit(table).fields_.values()) == {"categorical"}


def test_what_is_declared_counts(rng):
    x = columns(rng)
    declared = {"user": "numeric", "clicks": "categorical", "day": "value"}
    with pytest.warns(
        UserWarning, match=r"X\['user'\] is a number as declared, but looks like ids"
    ):
        encoder = HashingEncoder(10, declared).fit(x)
    assert encoder.fields_ == {"user": "log2-bins", "clicks": "categorical", "day": "value"}
    with pytest.warns(UserWarning, match="'user'"):
        encoder = HashingEncoder(10, {"user": "numeric"}, numeric="value").fit(x)
    assert encoder.fields_ == {"user": "value"}
    assert HashingEncoder(10, numeric="categorical").fit(x).fields_ == dict.fromkeys(
        x, "categorical"
    )
    by_types = HashingEncoder(10, kinds="types").fit(x)
    assert by_types.fields_ == dict.fromkeys(x, "log2-bins")


def test_describe_says_name_kind_and_why(rng):
    encoder = HashingEncoder(10, {**dict.fromkeys(columns(rng)), "site": None, "cost": "value"})
    with pytest.raises(ValueError, match=r"call fit first .* of a learner is its encoder_"):
        encoder.describe()
    x = {**columns(rng), "site": ["a"] * ROWS, "cost": [0.5] * ROWS}
    lines = encoder.fit(x).describe().splitlines()
    assert lines[0].startswith("user: categorical, looks like ids: equal values are ")
    assert lines[1:] == [
        "clicks: log2-bins, looks like a number: values of about the same size are about equally"
        " frequent",
        "day: categorical, looks like codes: 7 values, hardly any of them rare",
        "site: categorical, by its type",
        "cost: value, as declared",
    ]
    again = HashingEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again.describe().splitlines() == lines


def test_without_fit_integers_are_numbers_and_ids_raise_a_warning(rng):
    x = columns(rng)
    encoder = HashingEncoder(10)
    with pytest.warns(UserWarning, match=r"X\['user'\] looks like ids .* call fit, or give kinds"):
        found = entries_of(encoder.transform(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.transform(x)  # said once
        by_types = HashingEncoder(10, kinds="types").transform(x)
    assert found == entries_of(by_types)


def test_without_fit_only_the_first_rows_are_looked_at(rng, monkeypatch):
    x = {"clicks": columns(rng)["clicks"]}
    looks = []
    encoder = HashingEncoder(10)
    decide = encoder._decisions
    monkeypatch.setattr(
        encoder, "_decisions", lambda *a, **k: looks.append(a[1]) or decide(*a, **k)
    )
    rows = len(x["clicks"])
    for _ in range(LOOK // rows + 3):
        encoder.transform(x)
    seen = [len(first) for first in looks if first is not None]
    assert sum(seen) >= LOOK
    assert sum(seen[:-1]) < LOOK


@pytest.mark.parametrize("before", ["no column", "another type", "no values", "ids in a text"])
def test_without_fit_a_column_that_turns_into_ids_raises_a_warning(rng, before):
    """Though other columns have been looked at in full."""
    x = columns(rng)
    rows = len(x["clicks"])
    earlier = {"clicks": x["clicks"]}
    if before == "another type":
        earlier["user"] = pa.array(np.arange(rows) % 2 == 0)
    elif before == "no values":
        earlier["user"] = pa.nulls(rows, pa.int64())
    elif before == "ids in a text":
        earlier["user"] = pa.array(x["user"]).cast(pa.string())
    encoder = HashingEncoder(10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(LOOK // rows + 2):
            encoder.transform(earlier)
    later = {"clicks": x["clicks"], "user": pa.array(x["user"], pa.int64())}
    with pytest.warns(UserWarning, match=r"X\['user'\] looks like ids"):
        encoder.transform(later)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.transform(later)  # said once


def test_without_fit_only_columns_with_few_values_are_looked_at_again(rng, monkeypatch):
    rows = 10_000
    x = {"clicks": rng.integers(0, 100, rows), "rare": pa.array([1] + [None] * (rows - 1))}
    encoder = HashingEncoder(10)
    for _ in range(LOOK // rows + 1):
        encoder.transform(x)
    looks = []
    decide = encoder._decisions
    monkeypatch.setattr(
        encoder, "_decisions", lambda *a, **k: looks.append(a[1]) or decide(*a, **k)
    )
    encoder.transform(x)
    assert [first.column_names for first in looks if first is not None] == [["rare"]]


def test_an_encoder_of_version_0_1_keeps_its_meaning(rng):
    x = {**columns(rng), "at": np.array(["2026-11-28"] * ROWS, "M8[s]")}
    new = HashingEncoder(10, kinds="types")
    state = new.to_dict()  # what 0.1 wrote
    assert state["format"] == 1
    assert not {"kinds", "calendar"} & state["params"].keys()
    old = HashingEncoder.from_dict(state)
    assert old.to_dict() == state
    assert entries_of(old.fit(x).transform(x)) == entries_of(new.fit(x).transform(x))
    assert old.fields_ == {**dict.fromkeys(columns(rng), "log2-bins"), "at": "categorical"}


def test_a_learner_takes_ids_as_ids(rng):
    users = ids(rng, np.arange(1_000, 1_400))
    y = (users % 2 == 0) ^ (rng.random(ROWS) < 0.1)  # neighbours differ
    model = LogisticRegression(encoder=HashingEncoder(12)).fit({"user": users}, y)
    assert model.encoder_.fields_ == {"user": "categorical"}
    assert model.progressive_["auc"] > 0.8
    binned = LogisticRegression(encoder=HashingEncoder(12, kinds="types")).fit({"user": users}, y)
    assert binned.progressive_["auc"] < 0.6
