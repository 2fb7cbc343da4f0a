"""What scikit-learn checks of its own transformers, of `adagrad.ctr.HashingEncoder`.

The checks are those of the installed scikit-learn: the ones of `check_estimator`, which are for
estimators of anyone, and more, which its own tests run for the transformers in it.
"""

from __future__ import annotations

import pytest

from checks import need_packages

need_packages("pandas", "polars", "sklearn")

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
