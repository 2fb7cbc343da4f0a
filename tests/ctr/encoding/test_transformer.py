"""HashingEncoder among the transformers and estimators of scikit-learn."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse

from checks import need_packages

need_packages("pandas", "sklearn")

import pandas as pd
import sklearn
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.validation import check_is_fitted

import adagrad.ctr
from adagrad.ctr import Examples, HashingEncoder, LogisticRegression
from encoded import entries_of

pytestmark = pytest.mark.unsanitized

rng = np.random.default_rng(20261129)
X = pd.DataFrame(
    {
        "site": rng.choice(["a.com", "b.org", "c.net"], 60),
        "ad": rng.integers(1000, 1004, 60),
        "price": rng.normal(size=60),
    }
)
y = (X["site"] == "a.com").to_numpy().astype(int)
TO_CSR = {"bits": 8, "output": "csr"}


def difference(a, b):
    return abs(a - b).max()


def test_the_matrix_of_examples():
    encoder = HashingEncoder(8, ["site", "ad", "tags"], multi="mean", kinds="types", output="csr")
    x = {"site": ["a", None], "ad": [1, 2], "tags": [["u", "v", "u"], []]}
    matrix = encoder.fit_transform(x)
    assert isinstance(matrix, scipy.sparse.csr_matrix)
    assert (matrix.shape, matrix.dtype) == ((2, 256), np.float32)
    assert matrix.has_canonical_format
    assert matrix.has_sorted_indices
    assert matrix.nnz < len(encoder.set_params(output="examples").transform(x).slots)
    assert difference(matrix, encoder.transform(x).to_csr()) == 0


def test_classes():
    assert isinstance(HashingEncoder(), TransformerMixin)
    assert isinstance(HashingEncoder(), BaseEstimator)
    check_is_fitted(HashingEncoder())  # it transforms without `fit`
    for method in ("get_feature_names_out", "regions", "describe"):
        with pytest.raises(NotFittedError, match="call fit first"):
            getattr(HashingEncoder(), method)()


@pytest.mark.parametrize("estimator", [SGDClassifier(random_state=0), DecisionTreeClassifier()])
def test_estimators_of_scikit_learn(estimator):
    pipeline = make_pipeline(HashingEncoder(**TO_CSR), estimator).fit(X, y)
    assert pipeline.score(X, y) == 1
    with pytest.raises(TypeError, match=r"Examples are sparse.*HashingEncoder\(output='csr'\)"):
        make_pipeline(HashingEncoder(8), estimator).fit(X, y)


@pytest.mark.parametrize(
    "use",
    [
        np.asarray,
        lambda examples: np.asarray(examples, np.float32),
        lambda examples: StandardScaler(with_mean=False).fit(examples),
        lambda _: FeatureUnion([("a", HashingEncoder(22))]).fit_transform(X),
        lambda _: make_column_transformer((HashingEncoder(22), ["site"])).fit_transform(X),
        lambda _: make_column_transformer(
            (HashingEncoder(22), ["site"]), (OneHotEncoder(), ["ad"])
        ).fit_transform(X),
    ],
    ids=["array", "floats", "scaler", "union", "columns", "sparse columns"],
)
def test_examples_become_no_dense_array(use):
    with pytest.raises(TypeError, match=r"give other estimators a matrix.*output='csr'"):
        use(HashingEncoder(22).fit_transform(X))


@pytest.mark.parametrize("remainder", ["drop", "passthrough"])
@pytest.mark.parametrize("threshold", [0.3, 0])
def test_column_transformer(remainder, threshold):
    columns = ColumnTransformer(
        [
            ("hashed", HashingEncoder(**TO_CSR), ["site", "ad"]),
            ("scaled", StandardScaler(), ["price"]),
        ],
        remainder=remainder,
        sparse_threshold=threshold,
    )
    frame = X.assign(more=1.5)
    found = columns.fit_transform(frame)
    assert scipy.sparse.issparse(found) == (threshold > 0)
    hashed = HashingEncoder(**TO_CSR).fit_transform(X[["site", "ad"]])
    dense = found.toarray() if threshold else found
    np.testing.assert_array_equal(dense[:, :256], hashed.toarray())
    np.testing.assert_allclose(dense[:, 256:257], StandardScaler().fit_transform(X[["price"]]))
    names = columns.get_feature_names_out()
    assert len(names) == dense.shape[1]
    assert names[0].startswith("hashed__")
    shuffled = frame[["more", "price", "ad", "site"]]
    assert difference(columns.transform(shuffled), found) == 0


def test_column_transformer_of_an_array():
    columns = make_column_transformer((HashingEncoder(**TO_CSR), [2, 0]), remainder="drop")
    array = X.to_numpy()
    found = columns.fit_transform(array)
    numbered = {"x0": X["price"], "x1": X["site"]}
    assert difference(found, HashingEncoder(**TO_CSR).fit_transform(numbered)) == 0
    assert columns.get_feature_names_out()[5].startswith("hashingencoder__x")
    encoder = columns.named_transformers_["hashingencoder"]
    assert len(encoder.get_feature_names_out(["a", "b"])) == 256
    with pytest.raises(ValueError, match="input_features should have length equal"):
        encoder.get_feature_names_out(["a"])


def test_column_transformer_chooses_by_type():
    frame = X.astype({"site": "category"})
    by_type = make_column_selector(dtype_include="category"), make_column_selector("price")
    found = make_column_transformer(
        (HashingEncoder(**TO_CSR), by_type[0]), (StandardScaler(), by_type[1])
    ).fit_transform(frame)
    hashed = HashingEncoder(**TO_CSR).fit_transform(X[["site"]])
    assert difference(found[:, :256], hashed) == 0
    of_lists = make_column_transformer((HashingEncoder(**TO_CSR), [-1]), sparse_threshold=1)
    lists = frame[["price", "site"]].to_numpy().tolist()
    numbered = HashingEncoder(**TO_CSR).fit_transform({"x0": X["site"]})
    assert difference(of_lists.fit_transform(lists), numbered) == 0


def test_feature_union():
    union = FeatureUnion(
        [("one", HashingEncoder(**TO_CSR)), ("two", HashingEncoder(9, ["site"], output="csr"))]
    )
    found = union.fit_transform(X)
    parts = [HashingEncoder(**TO_CSR), HashingEncoder(9, ["site"], output="csr")]
    expected = scipy.sparse.hstack([part.fit_transform(X) for part in parts])
    assert difference(found, expected) == 0
    assert len(union.get_feature_names_out()) == 256 + 512


@pytest.mark.parametrize("before", [lambda frame: frame.assign(cheap=frame.price < 0), np.asarray])
def test_functions_before(before):
    pipeline = make_pipeline(FunctionTransformer(before), HashingEncoder(**TO_CSR))
    expected = HashingEncoder(**TO_CSR).fit_transform(before(X))
    assert difference(pipeline.fit_transform(X), expected) == 0


def test_search_and_cache(tmp_path):
    encoder = HashingEncoder(**TO_CSR)
    pipeline = make_pipeline(encoder, SGDClassifier(random_state=0), memory=str(tmp_path))
    search = GridSearchCV(pipeline, {"hashingencoder__bits": [8, 9]}, cv=2).fit(X, y)
    best = search.best_estimator_
    assert best[-1].coef_.shape == (1, 2 ** best[0].bits)
    assert list(tmp_path.rglob("output.pkl"))
    uncached = clone(best).set_params(memory=None).fit(X, y)
    np.testing.assert_array_equal(uncached[-1].coef_, best.fit(X, y)[-1].coef_)
    ours = make_pipeline(HashingEncoder(8), LogisticRegression(), memory=str(tmp_path))
    assert isinstance(ours.fit(X, y)[:-1].transform(X), Examples)
    assert ours.fit(X, y).score(X, y) > 0.5  # from the cache


@pytest.mark.parametrize("output", ["examples", "csr"])
@pytest.mark.parametrize("chosen", ["pandas", "polars"])
def test_data_frames_are_refused(output, chosen):
    encoder = HashingEncoder(8, output=output)
    assert clone(encoder.set_output(transform="default")).fit_transform(X).shape == (60, 256)
    asked = clone(encoder.set_output(transform=chosen)).set_output()
    message = rf"{chosen.capitalize()} output.*set_output\(transform='default'\)"
    for method in (asked.transform, asked.fit_transform):
        with pytest.raises(ValueError, match=message):
            method(X)
    assert not hasattr(asked, "fields_")
    assert asked.set_output(transform="default").fit_transform(X).shape == (60, 256)


def test_data_frames_from_all_transformers():
    with sklearn.config_context(transform_output="pandas"):
        with pytest.raises(ValueError, match="Pandas output does not support sparse data"):
            HashingEncoder(**TO_CSR).fit_transform(X)
        kept = HashingEncoder(**TO_CSR).set_output(transform="default")
        assert scipy.sparse.issparse(kept.fit_transform(X))
        # The learners take no arrays from encoders, so that this choice is not about them.
        assert isinstance(HashingEncoder(8).fit_transform(X), Examples)
        expected = make_pipeline(HashingEncoder(8), LogisticRegression()).fit(X, y)
    learner = LogisticRegression(encoder=HashingEncoder(8)).fit(X, y)
    np.testing.assert_array_equal(learner.coef_, expected[-1].coef_)


def test_output_in_files():
    encoder = HashingEncoder(8, ["site"])
    assert not {"output", "n_features_in_"} & {*encoder.to_dict(), *encoder.to_dict()["params"]}
    assert encoder.to_dict()["format"] == 2
    assert list(encoder.to_dict()["params"])[:3] == ["bits", "fields", "numeric"]  # as ever
    to_csr = HashingEncoder(**TO_CSR, kinds="types").fit(X)
    state = json.loads(json.dumps(to_csr.to_dict()))
    assert state["format"] == 3
    assert difference(HashingEncoder.from_dict(state).transform(X), to_csr.transform(X)) == 0
    with pytest.raises(ValueError, match="output must be in"):
        HashingEncoder.from_dict({**state, "params": {**state["params"], "output": "coo"}})
    with pytest.raises(TypeError, match="output of the encoder is 3, expected a word"):
        HashingEncoder.from_dict({**state, "params": {**state["params"], "output": 3}})
    for width in (0, True, "3"):
        with pytest.raises(TypeError, match="n_features_in_ of the encoder is"):
            HashingEncoder.from_dict({**state, "n_features_in_": width})


def test_encoders_that_were_pickled_without_an_output():
    encoder = HashingEncoder(8, ["site"]).fit(X)
    del encoder.output
    old = pickle.loads(pickle.dumps(encoder))
    assert isinstance(old.transform(X), Examples)
    assert clone(old).output == "examples"


def test_a_process_that_only_encodes(tmp_path):
    encoder = HashingEncoder(**TO_CSR).fit(X)
    plain = encoder.plain()
    assert entries_of(plain.transform(X)) == entries_of(
        encoder.set_params(output="examples").transform(X)
    )
    columns = {name: X[name].to_list() for name in X}
    (tmp_path / "pickle").write_bytes(pickle.dumps((plain, columns)))
    program = (
        "import pathlib, pickle, sys\n"
        "encoder, columns = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print(encoder.transform(columns), 'sklearn' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "pickle"], capture_output=True, text=True
    )
    assert done.stdout == f"{plain.transform(X)!r} False\n", done.stderr


def test_encoders_of_learners(tmp_path):
    with pytest.raises(ValueError, match="encoder of a learner must have output='examples'"):
        LogisticRegression(encoder=HashingEncoder(**TO_CSR)).fit(X, y)
    learner = LogisticRegression(encoder=HashingEncoder(8))
    learner.fit(X.to_numpy(), y)
    assert learner.n_features_in_ == 3
    assert not hasattr(learner, "feature_names_in_")
    learner.save(tmp_path / "m.safetensors")
    loaded = adagrad.ctr.load(tmp_path / "m.safetensors")
    assert loaded.encoder_.describe() == learner.encoder_.describe()
    for one in (loaded, copy.deepcopy(learner)):
        np.testing.assert_array_equal(
            one.predict_proba(X.to_numpy()), learner.predict_proba(X.to_numpy())
        )
    rows = X.to_dict("records")
    of_rows = LogisticRegression(encoder=HashingEncoder(8)).fit(rows, y)
    of_frame = LogisticRegression(encoder=HashingEncoder(8)).fit(X, y)
    assert entries_of(of_rows.encoder_.transform(X)) == entries_of(of_frame.encoder_.transform(X))
    np.testing.assert_array_equal(of_rows.predict_proba(rows[:5]), of_frame.predict_proba(X[:5]))
    learned = LogisticRegression(encoder=HashingEncoder(8)).fit(
        HashingEncoder(8).fit_transform(X), y
    )
    learned.save(tmp_path / "m.safetensors")  # of Examples: the encoder has seen no columns
    assert not hasattr(adagrad.ctr.load(tmp_path / "m.safetensors"), "encoder_")
