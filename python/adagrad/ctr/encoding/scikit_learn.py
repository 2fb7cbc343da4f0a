"""What scikit-learn asks of an encoder besides its work: parameters, names, output, pictures.

A base class, so that an encoder does not need scikit-learn, which takes a second to import.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from adagrad.ctr.encoding.examples import region_size

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from typing_extensions import Self

__all__ = ["ScikitLearnMethods"]

_NAMED_BITS = 24


class ScikitLearnMethods:
    """Methods of `HashingEncoder` that pipelines, searches and notebooks call."""

    bits: int
    feature_names_in_: npt.NDArray[np.object_]

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
            Must be equal to ``feature_names_in_``.

        Returns
        -------
        ndarray of str objects, shape [2**bits]
            The names of the columns of ``transform(X).to_csr()``, and of the params of a learner.
            They are no columns of a DataFrame: `set_output` refuses that.

        Raises
        ------
        ValueError
            `fit` was not called, other features are given, or there are more than :math:`2^{24}`
            slots, whose names would take gigabytes.
        """
        regions = self.regions()
        known = self.feature_names_in_
        if input_features is not None and not np.array_equal(np.asarray(input_features), known):
            raise ValueError("input_features is not equal to feature_names_in_")
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
        """Accept what scikit-learn may ask of the output: "default", or None for no change.

        Raises
        ------
        ValueError
            The output shall be a DataFrame: `Examples` are sparse, with a column per slot.
        """
        if transform not in (None, "default"):
            raise ValueError(
                f"HashingEncoder cannot give the output {transform!r}: its Examples are sparse and"
                " have a column per slot; call set_output on the other steps instead"
            )
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, unchanged; `deep` has no effect."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, and return the encoder; they are checked when it encodes."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(
                    f"HashingEncoder has no parameter {name!r}; its parameters are {list(known)}"
                )
            setattr(self, name, value)
        return self

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the page of scikit-learn for estimators."""
        from sklearn.utils import estimator_html_repr

        page: str = estimator_html_repr(self)
        return page

    def __repr__(self) -> str:
        params = inspect.signature(type(self)).parameters
        changed = (
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if value != params[name].default
        )
        return f"HashingEncoder({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(),
            input_tags=InputTags(two_d_array=False, string=True, categorical=True, allow_nan=True),
            requires_fit=False,
        )
