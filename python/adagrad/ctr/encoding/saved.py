"""The JSON of an encoder: made, and checked for its shape before an encoder is made from it."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adagrad.ctr.encoding.fields import CALENDAR, GIVEN_KINDS, KINDS

if TYPE_CHECKING:
    from adagrad.ctr.encoding.encoder import HashingEncoder

__all__ = ["check_saved", "saved_state"]

# Format 1 has no calendar, and its kinds are those of types. Format 3 has another output than
# examples. Each encoder is saved in the lowest format that can say it, for older readers.
_FORMAT = 3

# Of format 1; others have defaults.
_PARAMS = {"bits", "fields", "numeric", "multi", "crosses", "wide", "null", "seed"}


def saved_state(encoder: HashingEncoder) -> dict[str, Any]:
    """Return what `HashingEncoder.to_dict` returns: in format 1 where that says all."""
    params = {name: getattr(encoder, name) for name in inspect.signature(type(encoder)).parameters}
    params |= {"bits": int(encoder.bits), "seed": int(encoder.seed)}
    if encoder.fields is not None and not isinstance(encoder.fields, Mapping):
        params["fields"] = list(encoder.fields)
    params["crosses"] = [list(cross) for cross in encoder.crosses]
    params["wide"] = [name if isinstance(name, str) else list(name) for name in encoder.wide]
    params["calendar"] = list(encoder.calendar)
    state = {"format": _FORMAT, "params": params, "fields_": getattr(encoder, "fields_", None)}
    if state["fields_"] is not None:
        names = getattr(encoder, "feature_names_in_", None)
        if names is None:
            state["n_features_in_"] = encoder.n_features_in_
        elif list(names) != list(encoder.fields_):  # the order of the frame is not that of `fields`
            state["feature_names_in_"] = list(names)
    if encoder.separators_:
        state["separators"] = dict(encoder.separators_)
    if encoder.output == "examples":
        state["format"] = 2
        del params["output"]
    given = encoder.fields.values() if isinstance(encoder.fields, Mapping) else ()
    as_of_types = encoder.kinds == "types" and not encoder.calendar
    if state["format"] == 2 and as_of_types and {*given} <= {None, *KINDS}:
        del params["calendar"], params["kinds"]
        return {**state, "format": 1}
    return {**state, "reasons": encoder._reasons} if hasattr(encoder, "_reasons") else state


def check_saved(state: Mapping[str, Any]) -> None:
    """Raise if a state is not one of `HashingEncoder.to_dict`.

    Raises
    ------
    TypeError, ValueError
        A key is missing, or a value has another type. Whether parameters are in range and agree
        with each other is not checked.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"the encoder is {reprlib.repr(state)}, expected an object")
    if type(state.get("format")) is not int or not 1 <= state["format"] <= _FORMAT:
        raise ValueError(
            f"the encoder has format {reprlib.repr(state.get('format'))}, but this version reads"
            f" 1 to {_FORMAT}"
        )
    if not isinstance(state.get("params"), Mapping) or "fields_" not in state:
        raise TypeError("the encoder has no params or no fields_")
    params, fitted = state["params"], state["fields_"]
    if missing := sorted(_PARAMS - params.keys()):
        raise ValueError(f"the params of the encoder lack {', '.join(missing)}")
    fields = params["fields"]
    if isinstance(fields, Mapping):
        fits = _are_kinds(fields, {None, *GIVEN_KINDS})
    else:
        fits = fields is None or (_are_names(fields) and len(fields) > 0)
    if not fits:
        raise _wrong("fields", fields, "names, or names with their kinds")
    found = {None, CALENDAR, *KINDS}  # None: a column of nulls
    if fitted is not None and not (isinstance(fitted, Mapping) and _are_kinds(fitted, found)):
        raise _wrong("fields_", fitted, "names with their kinds")
    crosses, wide = params["crosses"], params["wide"]
    if not isinstance(crosses, list) or not all(map(_are_names, crosses)):
        raise _wrong("crosses", crosses, "lists of names")
    if not isinstance(wide, list) or not all(isinstance(x, str) or _are_names(x) for x in wide):
        raise _wrong("wide", wide, "names or lists of names")
    if not _are_names(params.get("calendar", [])):
        raise _wrong("calendar", params["calendar"], "names")
    reasons = state.get("reasons", {})
    if not isinstance(reasons, Mapping) or not _are_names([*reasons, *reasons.values()]):
        raise _wrong("reasons", reasons, "texts by name")
    separators = state.get("separators", {})
    if not isinstance(separators, Mapping) or not _are_names([*separators, *separators.values()]):
        raise _wrong("separators", separators, "texts by name")
    if "" in separators.values():
        raise _wrong("separators", separators, "texts that are not empty")
    width = state.get("n_features_in_", 1)
    if type(width) is not int or width < 1:
        raise _wrong("n_features_in_", width, "a number of columns")
    names = state.get("feature_names_in_")
    if names is not None and not (_are_names(names) and sorted(names) == sorted(fitted or ())):
        raise _wrong("feature_names_in_", names, "the names of fields_")
    for name in ("numeric", "multi", "null", "kinds", "output"):
        if not isinstance(params.get(name, ""), str):
            raise _wrong(name, params[name], "a word")


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _are_kinds(fields: Mapping[Any, Any], kinds: set[str | None]) -> bool:
    known = all(
        isinstance(name, str) and (kind is None or isinstance(kind, str)) and kind in kinds
        for name, kind in fields.items()
    )
    return known and len(fields) > 0


def _wrong(name: str, value: Any, expected: str) -> TypeError:
    return TypeError(f"{name} of the encoder is {reprlib.repr(value)}, expected {expected}")
