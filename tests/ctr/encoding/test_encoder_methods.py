"""The other methods of HashingEncoder: fit, copies, scikit-learn, collisions and inverse."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pyarrow as pa
import pytest

import hashing_reference as reference
from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.examples import Examples
from checks import need_packages
from encoded import ROWS, entries_of, many


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
    with pytest.raises(ValueError, match="format 4"):
        HashingEncoder.from_dict({**encoder.to_dict(), "format": 4})


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
    with pytest.raises(ValueError, match="Invalid parameter 'bit'"):
        copy.set_params(bit=3)
    assert repr(encoder) == "HashingEncoder(bits=12, crosses=[('site', 'new')])"
    assert not get_tags(encoder).requires_fit

    need_packages("pandas")
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


def test_names_of_slots():
    encoder = HashingEncoder(10, crosses=[("site", "hits")], wide=["new"]).fit(ROWS)
    names = encoder.get_feature_names_out()
    x = encoder.transform(ROWS)
    assert names.dtype == object
    assert names.shape == (x.shape[1],) == (x.to_csr().shape[1],)
    assert len(set(names.tolist())) == 1024
    for slot, features in encoder.inverse(ROWS).items():
        fields, number = names[slot].rsplit("_", 1)
        assert int(number) == slot
        assert {field for field, _ in features} <= set(fields.split("|"))
    same = encoder.get_feature_names_out(encoder.feature_names_in_.tolist())
    assert (same == names).all()


def test_names_that_are_refused():
    with pytest.raises(ValueError, match="call fit first"):
        HashingEncoder(10).get_feature_names_out()
    encoder = HashingEncoder(10).fit(ROWS)
    for other in (["site"], [*ROWS, "more"], list(reversed(ROWS))):
        with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
            encoder.get_feature_names_out(other)
    with pytest.raises(ValueError, match=r"2\*\*25 slots are too many to name: regions\(\)"):
        HashingEncoder(25).fit(ROWS).get_feature_names_out()


def test_output_in_pipelines():
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    need_packages("pandas")
    import pandas as pd

    frame, y = pd.DataFrame(ROWS), [0, 1, 0, 1]
    encoder = HashingEncoder(8)
    pipeline = make_pipeline(encoder, FunctionTransformer(Examples.to_csr))
    assert pipeline.set_output(transform="default") is pipeline
    assert encoder.set_output() is encoder
    with pytest.raises(ValueError, match=r"Pandas output.*set_output\(transform='default'\)"):
        make_pipeline(HashingEncoder(8)).set_output(transform="pandas").fit_transform(frame)
    # A transformer of columns takes sparse matrices, and the names of their columns.
    named = FunctionTransformer(Examples.to_csr, feature_names_out="one-to-one")
    columns = ColumnTransformer([("hashed", make_pipeline(encoder, named), ["site", "hits"])])
    found = columns.fit_transform(frame, y)
    expected = HashingEncoder(8).fit(frame[["site", "hits"]])
    assert (found != expected.transform(frame).to_csr()).nnz == 0
    assert columns.get_feature_names_out().tolist() == [
        f"hashed__{name}" for name in expected.get_feature_names_out()
    ]


def test_html():
    from sklearn.pipeline import make_pipeline

    encoder = HashingEncoder(12, crosses=[("site", "hits")])
    for page in (encoder._repr_html_(), make_pipeline(encoder)._repr_html_()):
        assert "HashingEncoder" in page
        assert "crosses" in page
        assert "(&#x27;site&#x27;, &#x27;hits&#x27;)" in page or "('site', 'hits')" in page
