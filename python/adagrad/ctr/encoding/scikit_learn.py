"""What scikit-learn asks of an encoder besides its work: its classes, names, output and tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

try:
    from sklearn import get_config
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.exceptions import NotFittedError
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "encoders and learners require scikit-learn: pip install 'adagrad[ctr]'"
    ) from error

from adagrad.ctr.encoding.examples import region_size

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from typing_extensions import Self

__all__ = ["Transformer"]

_NAMED_BITS = 24


class Transformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The part of `HashingEncoder` that pipelines, searches and notebooks call."""

    bits: int
    output: str
    fields_: dict[str, str | None]
    feature_names_in_: npt.NDArray[np.object_]
    n_features_in_: int

    _sklearn_output_config: Mapping[str, str] = {}

    def regions(self) -> dict[str, list[int]]:
        """Return the regions of each field."""
        raise NotImplementedError

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> npt.NDArray[np.object_]:
        """Return a name for each slot: the fields that have their values there, and its number.

        Such as ``"site|hour_17"``: slot 17 is in a region of ``site`` and ``hour``, and may hold
        any value of both. A model stores no values; `inverse` finds those of a sample by slot.

        Parameters
        ----------
        input_features : array-like of str, optional
            Must be equal to ``feature_names_in_``. If `fit` got an array, whose columns have no
            names, one text per column; it has no effect on the result.

        Returns
        -------
        ndarray of str objects, shape [2**bits]
            The names of the columns of ``transform(X)`` with ``output="csr"``, and of the params of
            a learner. They are no columns of a DataFrame: see `set_output`.

        Raises
        ------
        ValueError
            `fit` was not called, other features are given, or there are more than :math:`2^{24}`
            slots, whose names would take gigabytes.
        """
        regions = self.regions()
        self._check_input_features(input_features)
        if self.bits > _NAMED_BITS:
            raise ValueError(
                f"2**{self.bits} slots are too many to name: regions() has the fields of each of"
                " the eight regions, and inverse() the values in the slots of a sample"
            )
        n_slots = 2 ** int(self.bits)
        size = region_size(n_slots)
        shared = [
            "|".join(name for name, own in regions.items() if region in own)
            for region in range(n_slots // size)
        ]
        return np.array([f"{shared[slot // size]}_{slot}" for slot in range(n_slots)], object)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose what `transform` returns, as in all of scikit-learn's transformers.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, optional
            Only "default" is possible; what else is chosen, here or with ``output="csr"`` by
            `sklearn.set_config`, makes `transform` raise a ValueError. None changes nothing.
        """
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}  # which `clone` copies
        return self

    def _check_output(self) -> None:
        """Raise ValueError if the output shall be a DataFrame: it is sparse.

        A choice for all transformers does not concern Examples, which only learners take.
        """
        chosen = self._sklearn_output_config.get("transform")
        if chosen is None and self.output == "csr":
            chosen = get_config()["transform_output"]
        if chosen not in (None, "default"):
            raise ValueError(
                f"{chosen.capitalize()} output does not support sparse data. HashingEncoder has a"
                " column per slot: call its set_output(transform='default')"
            )

    def _check_input_features(self, given: ArrayLike | None) -> None:
        if given is None:
            return
        given = np.asarray(given)
        if hasattr(self, "feature_names_in_"):
            if not np.array_equal(given, self.feature_names_in_):
                raise ValueError("input_features is not equal to feature_names_in_")
        elif len(given) != self.n_features_in_:
            raise ValueError(
                "input_features should have length equal to number of features"
                f" ({self.n_features_in_}), got {len(given)}"
            )

    def _note_columns(self, columns: Sequence[Any], *, named: bool) -> None:
        """Note which columns `fit` got, in their order: those of an array have no names."""
        self.__dict__.pop("feature_names_in_", None)  # of an earlier fit
        if named:
            columns = [name for name in columns if name in self.fields_]
            self.feature_names_in_ = np.array(columns, dtype=object)
        self.n_features_in_ = len(columns)

    def _check_is_fitted(self) -> None:
        if not hasattr(self, "fields_"):
            raise NotFittedError(
                "the encoder does not know its columns yet: call fit first (the fitted encoder of a"
                " learner is its encoder_)"
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.categorical = tags.input_tags.dict = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        tags.requires_fit = False
        return tags
