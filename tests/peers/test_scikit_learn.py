"""What scikit-learn checks of its own transformers, of `adagrad.ctr.HashingEncoder`.

The checks are those of the installed scikit-learn: the ones of `check_estimator`, which are for
estimators of anyone, and more, which its own tests run for the transformers in it. Its encoders say
what the rows must be, but for the order of the columns.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import need_packages

need_packages("pandas", "polars", "sklearn")

from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from adagrad.ctr import HashingEncoder

pytestmark = pytest.mark.unsanitized

OF_ITS_OWN = [
    "check_dataframe_column_names_consistency",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_inplace_ensure_writeable",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]


@parametrize_with_checks(
    [
        HashingEncoder(8),
        HashingEncoder(8, output="csr"),
        HashingEncoder(8, numeric="value", null="skip", multi="mean", output="csr"),
        HashingEncoder(8, numeric="categorical", kinds="types", output="csr"),
    ]
)
def test_any_estimator(estimator, check):
    check(estimator)


# Some fit an array and transform a frame, which warns here as in scikit-learn.
@pytest.mark.filterwarnings("ignore:X .* feature names, but HashingEncoder was fitted")
@pytest.mark.parametrize("check", OF_ITS_OWN)
def test_its_own_transformers(check):
    getattr(estimator_checks, check)("HashingEncoder", HashingEncoder(8, output="csr"))


def gram(matrix):
    """Return the products of all rows, which are the same for any order of the columns."""
    return np.asarray((matrix @ matrix.T).todense(), np.float64)


ROWS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "site": st.sampled_from(["a.com", "b.org", "", "ü"]),
            "price": st.integers(-8, 8).map(lambda x: x / 4),
            "count": st.integers(-5, 5),
            "tags": st.lists(st.sampled_from("xyz"), max_size=4),
        },
    ),
    min_size=1,
    max_size=8,
).filter(any)


@given(ROWS)
def test_dicts_are_encoded_as_by_dict_vectorizer(rows):
    encoder = HashingEncoder(16, numeric="value", null="skip", kinds="types", output="csr")
    expected = DictVectorizer(sparse=True).fit_transform(rows)
    np.testing.assert_array_equal(gram(encoder.fit_transform(rows)), gram(expected))


@given(ROWS)
def test_dicts_are_encoded_as_by_feature_hasher(rows):
    rows = [{k: v for k, v in row.items() if k != "tags"} for row in rows]
    if not any(rows):
        return
    encoder = HashingEncoder(16, numeric="value", null="skip", kinds="types", output="csr")
    expected = FeatureHasher(2**16, alternate_sign=False).transform(rows)
    np.testing.assert_array_equal(gram(encoder.fit_transform(iter(rows))), gram(expected))


@pytest.mark.parametrize("dtype", [object, np.int64, np.float64, str])
def test_arrays_are_encoded_as_by_one_hot_encoder(dtype):
    array = np.random.default_rng(0).integers(0, 6, (40, 3)).astype(dtype)
    if dtype is object:
        array[:, 1] = [f"id {value}" for value in array[:, 1]]
        array[::7, 0] = None
    encoder = HashingEncoder(16, numeric="categorical", output="csr")
    expected = OneHotEncoder().fit_transform(array)
    np.testing.assert_array_equal(gram(encoder.fit_transform(array)), gram(expected))
