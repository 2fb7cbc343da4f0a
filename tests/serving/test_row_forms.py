"""Rows as programs have them: objects within objects, and texts that hold several values."""

from __future__ import annotations

import json

import numpy as np
import pytest

from checks import need_packages

need_packages("sklearn", "scipy", "pyarrow")

import pyarrow as pa

from adagrad.ctr import HashingEncoder, LogisticRegression, load
from adagrad.serving import Scorer, write_export
from command import invoke

NESTED = {"user": {"id": "a", "home": {"town": "x"}}, "n": 1}
FLAT = {"user.id": "a", "user.home.town": "x", "n": 1}


def printed(*arguments):
    code, out, err = invoke(*arguments)
    assert code == 0, err
    return out


def answers(model, path, row):
    """Return what a learner, its scorer and a batch say of a row."""
    write_export(model, path)
    scorer = Scorer(path)
    return {
        model.predict_one(row),
        scorer.predict_one(row),
        model.predict_proba([row])[0, 1],
        scorer.predict_proba([row])[0, 1],
    }


@pytest.fixture
def nested():
    rows = {"user.id": ["a", "b"] * 4, "user.home.town": ["x", "y", "y", "x"] * 2, "n": [1.0] * 8}
    return LogisticRegression(lr=0.5, encoder=HashingEncoder(10)).fit(rows, [1, 0, 0, 0] * 2)


@pytest.mark.parametrize(
    "row",
    [
        NESTED,
        {"user": {"id": "a", "home.town": "x"}, "n": 1},
        {"user.home": {"town": "x"}, "user": {"id": "a"}, "n": 1},
        {"user.id": "a", "user": {"home": {"town": "x"}, "other": [1]}, "n": 1, "else": {}},
    ],
)
def test_objects_are_columns(nested, tmp_path, row):
    assert answers(nested, tmp_path / "m", row) == answers(nested, tmp_path / "m", FLAT)
    assert answers(nested, tmp_path / "m", FLAT) != answers(nested, tmp_path / "m", {"n": 1})


def test_an_object_that_repeats_a_column_is_refused(nested, tmp_path):
    row = {"user": {"id": "a"}, "user.id": "a"}
    write_export(nested, tmp_path / "m")
    for model in (nested, Scorer(tmp_path / "m")):
        for predict in (model.predict_one, lambda row, model=model: model.predict_proba([row])):
            with pytest.raises(ValueError, match=r"X\['user\.id'\] is there twice"):
                predict(row)


@pytest.fixture
def genres(tmp_path, monkeypatch):
    """Return the folder of a model of ``--multi``, its log and its export."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    texts = ["|".join(rng.choice(list("xyz"), rng.integers(0, 4))) for _ in range(60)]
    lines = [f"{int('x' in text)},{text},s{k % 3}" for k, text in enumerate(texts)]
    (tmp_path / "log.csv").write_text("\n".join(["click,genres,site", *lines, ""]))
    printed("train", "log.csv", "-l", "click", "-m", "m", "--multi", "genres=|", "-q", "-b", 10)
    printed("export", "m", "-o", "m.score")
    return texts


def test_texts_are_split_as_in_the_log(genres):
    logged = [float(line) for line in printed("predict", "m", "log.csv").split()]
    assert printed("predict", "m.score", "log.csv") == printed("predict", "m", "log.csv")
    sites = [f"s{k % 3}" for k in range(len(genres))]
    rows = [{"genres": text, "site": site} for text, site in zip(genres, sites, strict=True)]
    load("m").save("again")
    for model in (load("m"), load("again"), Scorer("m"), Scorer("m.score")):
        one = [model.predict_one(row) for row in rows]
        np.testing.assert_allclose(one, logged, rtol=1e-6)
        for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())):
            table = pa.table({"genres": pa.array(genres).cast(kind), "site": sites})
            np.testing.assert_array_equal(model.predict_proba(table)[:, 1], one)
        np.testing.assert_array_equal(model.predict_proba(rows)[:, 1], one)
        lists = [{**row, "genres": [x for x in row["genres"].split("|") if x]} for row in rows]
        assert [model.predict_one(row) for row in lists] == one


def test_the_server_splits_too(genres):
    pytest.importorskip("msgspec")
    from adagrad.serving.bodies import JSON, answer

    scorer = Scorer("m.score")
    body, _, _ = answer(b'{"genres": "x||y", "site": "s1"}', JSON, scorer, 1)
    p = scorer.predict_one({"genres": ["x", "y"], "site": "s1"})
    assert json.loads(body)["probability"] == p


def test_texts_ask_for_no_more_work_than_lists(tmp_path):
    pytest.importorskip("msgspec")
    from adagrad.serving.bodies import ARROW, JSON, answer
    from adagrad.serving.refusals import Refused

    encoder = HashingEncoder(10, crosses=[("a", "b")]).fit({"a": [["x"]], "b": [["x"]]})
    encoder.separators_ = {"a": "|", "b": "|"}
    model = LogisticRegression(lr=0.5, encoder=encoder).fit(
        {"a": [["x"], []], "b": [["x"]] * 2}, [1, 0]
    )
    write_export(model, tmp_path / "m")
    row = dict.fromkeys("ab", "x|" * 2_000)
    batch = pa.RecordBatch.from_pylist([row])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write(batch)
    for body, kind in ((json.dumps(row).encode(), JSON), (sink.getvalue().to_pybytes(), ARROW)):
        with pytest.raises(Refused, match="the lists of 'a' and 'b'"):
            answer(body, kind, Scorer(tmp_path / "m"), 1)


def test_a_separator_that_is_none_is_refused():
    encoder = HashingEncoder(10).fit({"a": ["x"]})
    for separators in ({"a": ""}, {"a": 1}, ["a"]):
        with pytest.raises((TypeError, ValueError), match="separators"):
            HashingEncoder.from_dict({**encoder.to_dict(), "separators": separators})
