"""A row alone is predicted, or refused, as it is in a batch: by learners, and by scorers."""

from __future__ import annotations

import copy
import datetime
import decimal
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks import need_packages

need_packages("sklearn", "scipy", "pyarrow")

from adagrad.ctr import (
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    HashingEncoder,
    LogisticRegression,
)
from adagrad.serving import Scorer, write_export

COLUMNS = ("site", "count", "price", "tags", "time", "never", "words")
KINDS = {
    "site": "categorical",
    "count": "log2-bins",
    "price": "value",
    "tags": None,
    "time": "calendar",
    "never": None,
    "words": None,
}
LEARNERS = (LogisticRegression, FactorizationMachine, FieldAwareFactorizationMachine)
HOW = ({"lr": 0.3}, {}, {"lr": 0.3, "l1": 0.2, "l2": 0.1}, {"lr": 0.3, "negative_rate": 0.25})


def log_of(rng, n):
    return {
        "site": [f"s{i}" for i in rng.integers(0, 9, n)],
        "count": rng.integers(0, 5, n).tolist(),
        "price": np.round(rng.random(n), 1).tolist(),
        "tags": [["a", "b", "c"][: rng.integers(0, 4)] for _ in range(n)],
        "time": (1_700_000_000 + 3_000 * rng.integers(0, 99, n)).tolist(),
        "never": [None] * n,
        "words": [dict.fromkeys("xyz"[: rng.integers(0, 4)], 0.5) for _ in range(n)],
    }


def encoder_of(rng):
    crosses = [(), [("site", "count")], [("site", "tags", "price"), ("tags", "words")]]
    wide = [(), ["site"], ["words", "price"]]
    return HashingEncoder(
        bits=int(rng.choice([8, 10])),
        fields=KINDS,
        crosses=crosses[rng.integers(3)],
        wide=wide[rng.integers(3)],
        multi=str(rng.choice(["sum", "mean"])),
        null=str(rng.choice(["value", "skip"])),
        numeric=str(rng.choice(["log2-bins", "value", "categorical"])),
        seed=int(rng.integers(2**63)),
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Twelve models of random encoders, and scorers of their exports."""
    folder = tmp_path_factory.mktemp("exports")
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        how = {**HOW[seed % 4], "fit_intercept": bool(rng.integers(4))}
        kind = LEARNERS[seed % 3]
        if kind is not LogisticRegression:
            how |= {"normalize": bool(rng.integers(3)), "factors": int(rng.choice([3, 4, 8]))}
        x, y = log_of(rng, 400), rng.random(400) < 0.4
        # Pairs that matter, so that the mixture keeps them.
        y = np.where([s[-1] in "02468" for s in x["site"]], np.array(x["count"]) % 2 == 0, y)
        model = kind(encoder=encoder_of(rng), **how).fit(x, y)
        write_export(model, folder / str(seed))
        found.append((model, Scorer(folder / str(seed))))
    return found


NUMBERS = st.one_of(
    st.integers(-3, 40),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.floats(-1e3, 1e3).map(lambda x: round(x, 2)),
    st.booleans(),
    st.none(),
)
TEXTS = st.one_of(
    st.text(max_size=9),
    st.sampled_from(["", "1", "-0", "+1", "1.50", ".5", "5.", "1e3", "1e400", "1e-400", "-1e999"]),
    st.sampled_from(["nan", "NaN", "-inf", "Infinity", "0x1", " 1", "1 ", "1_0", "1e", "+-1", "."]),
    st.sampled_from(["s1", "s2", "a", "\ud800", "\0", "é" * 20]),
)
ISO = st.builds(
    "{}{}{}{}".format,
    st.dates(datetime.date(1900, 1, 1)).map(str) | st.sampled_from(["2023-02-29", "0000-01-01"]),
    st.sampled_from(["", "T07", " 23:59", "T07:08:09", "T24:00", " 7:08", "T07:08:60", "T070809"]),
    st.sampled_from(["", ".5", ",123456", "."]),
    st.sampled_from(["", "Z", "+02", "-0330", "+14:00", "+2", "+25:00", " ", "z"]),
)
MOMENTS = st.one_of(
    st.integers(0, 10**15),
    st.integers(14010100, 15123123),
    st.floats(0, 1e12).map(np.floor),
    ISO,
    ISO.map(lambda text: f"  {text} "),
    st.integers(0, 10**11).map(str),
    st.datetimes(),
    NUMBERS,
)
RARE = st.one_of(
    st.binary(max_size=9),
    st.datetimes(),
    st.dates(),
    st.decimals(allow_nan=False, allow_infinity=False, places=2),
    st.integers(-9, 9).map(np.int64),
    st.integers(0, 9).map(np.uint8),
    st.floats(width=32).map(np.float32),
    st.floats(width=16).map(np.float16),
    st.booleans().map(np.bool_),
    st.just(decimal.Decimal("NaN")),
    st.just(object()),
    st.sets(st.integers(0, 9)),
)
LISTS = st.lists(NUMBERS | TEXTS, max_size=4) | st.lists(TEXTS, max_size=4).map(tuple)
MAPS = st.dictionaries(TEXTS | st.integers(-3, 3), NUMBERS | TEXTS, max_size=3)
ANY = st.one_of(NUMBERS, TEXTS, LISTS, MAPS, RARE)
LIKELY = {
    "site": TEXTS | NUMBERS,
    "count": NUMBERS,
    "price": st.floats(-100, 100) | NUMBERS,
    "tags": LISTS | TEXTS,
    "time": MOMENTS,
    "never": NUMBERS | TEXTS | LISTS,
    "words": MAPS | LISTS,
}
ROWS = st.fixed_dictionaries({}, optional=LIKELY) | st.fixed_dictionaries(
    {}, optional=dict.fromkeys([*COLUMNS, "other"], ANY)
)


def outcome(f):
    """What a call returns, or what it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return float(f())
        except (TypeError, ValueError) as error:
            return type(error).__name__, str(error)


def same(a, b):
    return a == b or (a != a and b != b)


@settings(max_examples=300)
@given(which=st.integers(0, 11), row=ROWS)
def test_random_rows(models, which, row):
    model, scorer = models[which]
    expected = outcome(lambda: model.predict_proba([row])[0, 1])
    assert same(outcome(lambda: model.predict_one(row)), expected)
    assert same(outcome(lambda: scorer.predict_one(row)), expected)
    margin = outcome(lambda: model.decision_function([row])[0])
    assert same(outcome(lambda: scorer.decision_function([row])[0]), margin)


@settings(max_examples=150)
@given(which=st.integers(0, 11), moment=MOMENTS)
def test_moments(models, which, moment):
    model, scorer = models[which]
    row = {"time": moment}
    expected = outcome(lambda: model.predict_proba([row])[0, 1])
    assert same(outcome(lambda: scorer.predict_one(row)), expected)


def test_plain_rows_take_the_short_way(models):
    rng = np.random.default_rng(99)
    log = log_of(rng, 50)
    rows = [{name: values[i] for name, values in log.items()} for i in range(50)]
    for _, scorer in models:
        assert [scorer._core.predict_one(row) for row in rows] == (
            scorer.predict_proba(rows)[:, 1].tolist()
        )


def test_a_learner_that_answers_can_be_copied_and_learn_on(models):
    rng = np.random.default_rng(5)
    log = log_of(rng, 30)
    row = {name: values[0] for name, values in log.items()}
    for model, _ in models[:3]:
        before = model.predict_one(row)
        other = pickle.loads(pickle.dumps(model))
        assert other.predict_one(row) == copy.deepcopy(model).predict_one(row) == before
        other.partial_fit(log, np.arange(30) % 2)
        assert other.predict_one(row) == other.predict_proba([row])[0, 1] != before


def test_other_keys_do_not_count(models):
    for model, scorer in models[:3]:
        row = {"site": "s1", "other": object()}
        expected = model.predict_proba([{"site": "s1"}])[0, 1]
        assert model.predict_proba([row, row])[1, 1] == expected
        assert model.predict_one(row) == scorer.predict_one(row) == expected
        with pytest.raises(TypeError, match="keys must be text"):
            _ = [each.predict_one({"site": "s1", 5: 1}) for each in (model, scorer)]


def test_what_is_no_row(models):
    for each in models[0]:
        for wrong in (None, [], "site", 3.0, [{"site": "a"}]):
            with pytest.raises(TypeError, match="row must be a dict of values by column"):
                each.predict_one(wrong)


def test_models_keep_their_pairs(models):
    scales = [model._model._exported.scale for model, _ in models if model._model.pair_mixing]
    assert np.count_nonzero(scales) >= 1
