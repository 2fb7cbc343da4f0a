"""Labels and weights of examples as a user gives them, checked and converted.

`validation` calls this module. Which examples they belong to is not known here.
"""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import column_or_1d

from adagrad._arguments import check_real, check_storable
from adagrad.ctr.encoding.examples import MAX_VALUE, Examples, check_unmasked
from adagrad.ctr.encoding.matrix_rows import MatrixRows

__all__ = [
    "check_class_weight",
    "check_products",
    "class_weighted",
    "labels_of",
    "warn_if_reversed",
    "weights_of",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

_POSITIVE = {"+", "+1", "click", "clicked", "on", "positive", "pos", "t", "true", "y", "yes"}
_NEGATIVE = {"-", "-1", "0", "f", "false", "n", "neg", "negative", "no", "none", "off"}
_NOT = {"no", "non", "not", "un", "without"}
_RARE = 0.25


def labels_of(name: str, given: Any) -> Array:
    """Return labels of one type as an array of one axis.

    Raises
    ------
    ValueError
        A label is missing, infinite or NaN, or labels differ in type.
    """
    check_unmasked(name, given)
    if getattr(getattr(given, "dtype", None), "kind", "") == "T":  # NumPy's StringDType
        given = given.astype(object)
    y: Array = column_or_1d(given, warn=True)
    listed = isinstance(given, (list, tuple))
    if y.dtype.kind == "U" and listed and {str} != set(map(type, given)):
        y = np.array(given, object).ravel()  # NumPy makes all of it text if some is
    if y.dtype.kind == "O":
        y = _of_one_type(name, y)
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        at = int(np.flatnonzero(~np.isfinite(y))[0])
        raise ValueError(f"{name}[{at}] = {y[at]} is not finite")
    return y


def _of_one_type(name: str, y: Array) -> Array:
    """Return objects that are all text, as they are, or all numbers, as an array of numbers."""
    kinds = {type(label) for label in y.tolist()}
    text = {kind for kind in kinds if issubclass(kind, str)}
    real = {kind for kind in kinds if issubclass(kind, (numbers.Real, np.bool_))}
    if kinds - text - real:
        at, label = next((i, v) for i, v in enumerate(y) if type(v) not in text | real)
        if issubclass(type(label), bytes):
            return y  # scikit-learn says what to do
        raise ValueError(f"{name}[{at}] = {label!r} is not a label: text or a number is needed")
    if not text:
        return np.array(y.tolist())
    if real:
        at, label = next((i, v) for i, v in enumerate(y) if type(v) in real)
        what = "missing" if label != label else "a number, but other labels are text"
        raise ValueError(f"{name}[{at}] = {label!r} is {what}")
    return y


def warn_if_reversed(classes: Array, share: float) -> None:
    """Warn if labels are text, and the class that counts as positive is probably the other one.

    Parameters
    ----------
    classes : ndarray, shape [2]
        The negative and the positive class.
    share : float
        Share of the positive class.
    """
    if not all(isinstance(name, str) for name in classes.tolist()):
        return
    negative, positive = (name.strip().casefold() for name in classes.tolist())
    said = positive in _POSITIVE or negative in _NEGATIVE or _negates(negative, positive)
    against = negative in _POSITIVE or positive in _NEGATIVE or _negates(positive, negative)
    if against or (not said and share > 1 - _RARE):
        less, more = classes.tolist()
        warnings.warn(
            f"y has text labels: {more!r} is the positive class, because it is the larger of"
            f" {less!r} and {more!r}. If {less!r} should be, pass y == {less!r} as y.",
            UserWarning,
            stacklevel=5,
        )


def _negates(one: str, other: str) -> bool:
    """Whether a word is another one with a negation before it, as in "noclick" or "not clicked"."""
    one, other = ("".join(filter(str.isalnum, word)) for word in (one, other))
    return bool(other) and one.endswith(other) and one[: -len(other)] in _NOT


def weights_of(given: Any, n: int) -> Floats | None:
    """Return the weights of n examples, or None if none are given.

    Raises
    ------
    TypeError, ValueError
        There are not n weights, or one is not a number from 0 to :math:`2^{48}`.
    """
    if given is None:
        return None
    check_unmasked("sample_weight", given)
    weights = np.asarray(given)
    if weights.ndim == 0:
        weights = np.full(n, weights)
    if weights.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got shape {weights.shape}")
    if len(weights) != n:
        raise ValueError(f"sample_weight.shape == ({len(weights)},), expected ({n},)!")
    wide = _as_floats(weights)
    wrong = ~((wide >= 0) & (wide <= MAX_VALUE))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        large = np.isfinite(wide[at]) and wide[at] > 0
        what = (
            "is more than 2**48: scale the weights" if large else "must be finite and not negative"
        )
        raise ValueError(f"sample_weight[{at}] = {weights[at]} {what}")
    return np.ascontiguousarray(wide, np.float32)


def _as_floats(weights: Array) -> Array:
    if weights.dtype.kind in "buif":
        return np.asarray(weights, np.float64)
    if weights.dtype.kind != "O":
        raise TypeError(f"sample_weight must be numbers, got dtype {weights.dtype}")
    wide = np.empty(len(weights))
    for at, weight in enumerate(weights.tolist()):
        try:
            if isinstance(weight, (str, bytes)):
                raise TypeError
            wide[at] = float(weight)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(
                f"sample_weight[{at}] = {weight!r} must be finite and not negative"
            ) from None
    return wide


def check_class_weight(given: Any) -> None:
    """Raise if this is no `class_weight`, whatever the classes are."""
    if given is None or (isinstance(given, str) and given == "balanced"):
        return
    if not isinstance(given, Mapping):
        raise TypeError(
            "class_weight must be None, 'balanced' or a dict from classes to weights,"
            f" got {given!r}"
        )
    for label, weight in given.items():
        name = f"class_weight[{label!r}]"
        if check_real(name, weight) > MAX_VALUE:
            raise ValueError(f"{name} = {weight} is more than 2**48: scale the weights")
        check_storable(name, float(weight), "float32")


def class_weighted(given: Any, classes: Array, y: Floats, weights: Floats | None) -> Floats | None:
    """Return weights multiplied by those of the classes.

    Parameters
    ----------
    given : dict, "balanced" or None
        As the `class_weight` of `LogisticRegression`.
    classes : ndarray, shape [2]
        The negative and the positive class.
    y : ndarray of float32, shape [n]
        Labels, 0 or 1.
    weights : ndarray of float32, shape [n], or None
        Weights of the examples; None if all are 1.

    Raises
    ------
    TypeError, ValueError
        A class is unknown, or a weight is not a number from 0 to :math:`2^{48}`.
    """
    check_class_weight(given)
    if given is None:
        return weights
    if isinstance(given, str):
        factors = _balanced(y, weights)
    else:
        known = classes.tolist()
        if unknown := [label for label in given if label not in known]:
            raise ValueError(
                f"class_weight has the class {unknown[0]!r}, but the classes are {known}"
            )
        factors = np.array([given.get(label, 1.0) for label in known], np.float32)
    of_labels = factors[y.astype(np.intp)]
    if weights is None:
        return of_labels
    with np.errstate(over="ignore"):
        product = of_labels * weights
    if not (product <= MAX_VALUE).all():
        at = int(np.flatnonzero(~(product <= MAX_VALUE))[0])
        raise ValueError(
            f"sample_weight[{at}] = {weights[at]:g} times the weight of its class is more than"
            " 2**48: scale the weights"
        )
    return product


def _balanced(y: Floats, weights: Floats | None) -> Floats:
    """Return the factors with which both classes weigh half of the examples."""
    # Weighted, so that an example of weight 0 changes nothing and one of weight 2 counts twice.
    amounts = np.bincount(y.astype(np.intp), weights, 2)
    with np.errstate(divide="ignore", over="ignore"):
        factors = np.where(amounts > 0, amounts.sum() / (2 * amounts), 1.0)
        return np.minimum(factors, MAX_VALUE).astype(np.float32)


def check_products(x: Examples | MatrixRows, weights: Floats | None) -> None:
    """Raise a ValueError if a weight times a value of its example is more than 2**48.

    The square of such a gradient could make an accumulator infinite: its param would silently stop
    changing.
    """
    if weights is None or x.values is None or not len(x.values):
        return
    if float(weights.max()) <= 1.0:  # values are checked
        return
    sizes = np.abs(x.values.astype(np.float32, copy=False))
    if float(weights.max()) * float(sizes.max()) <= MAX_VALUE:
        return
    starts = x.indptr
    products = np.repeat(weights.astype(np.float64), np.diff(starts)) * sizes
    if products.max() <= MAX_VALUE:
        return
    entry = int(products.argmax())
    row = int(np.searchsorted(starts, entry, side="right")) - 1
    raise ValueError(
        f"sample_weight[{row}] = {weights[row]:g} times a value of X[{row}], {x.values[entry]:g},"
        " is more than 2**48 in size: scale the weights or the values"
    )
