"""An encoder in terms of what it computes, for readers that do not know `HashingEncoder`.

`described` writes it down: every field with its seed, its kind and its regions. `encoder_from`
makes an encoder of it again, without scikit-learn, and `row_reader` what reads single rows.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

import adagrad._core as _core
from adagrad.ctr.encoding.column_encoder import ColumnEncoder
from adagrad.ctr.encoding.examples import REGIONS
from adagrad.ctr.encoding.fields import CALENDAR, calendar_names, cross_name, derived
from adagrad.ctr.encoding.row_form import RowForm

__all__ = [
    "described",
    "encoder_from",
    "id_reader",
    "id_row",
    "refused_ids",
    "row_form",
    "row_reader",
]

_PARTS = ("hour", "weekday", "week_hour")


def described(encoder: ColumnEncoder) -> dict[str, Any]:
    """Return what a fitted encoder computes, as JSON can hold it.

    Seeds are decimal texts, because 64 bits are more than the numbers of most JSON readers hold.
    """
    kinds = encoder.fields_
    homes = encoder._make_hasher(kinds).homes()
    position = {name: j for j, name in enumerate(derived(kinds))}
    fields: list[dict[str, Any]] = []
    for column, (name, kind) in enumerate(kinds.items()):
        is_calendar = kind == CALENDAR
        for part, field in enumerate(calendar_names(name) if is_calendar else [name]):
            fields.append(
                {
                    "name": field,
                    "column": column,
                    "kind": kind,
                    "part": _PARTS[part] if is_calendar else None,
                }
            )
    for cross in encoder.crosses:
        parts = [position[name] for name in cross]
        fields.append({"name": cross_name(cross), "cross": parts, "kind": "categorical"})
    for field_, home in zip(fields, homes, strict=True):
        field_["seed"] = str(_core.xxh64(field_["name"].encode(), int(encoder.seed)))
        field_["regions"] = list(home)
    names = getattr(encoder, "feature_names_in_", None)
    return {
        "bits": int(encoder.bits),
        "seed": str(int(encoder.seed)),
        "numeric": encoder.numeric,
        "null": encoder.null,
        "multi": encoder.multi,
        "features": encoder.n_features_in_ if names is None else list(names),
        "columns": [
            {"name": name, "kind": kind}
            | ({"separator": encoder.separators_[name]} if name in encoder.separators_ else {})
            for name, kind in kinds.items()
        ],
        "fields": fields,
    }


def encoder_from(description: Mapping[str, Any]) -> ColumnEncoder:
    """Return the encoder that `described` wrote down."""
    fields = description["fields"]
    encoder = ColumnEncoder()
    encoder.bits, encoder.seed = description["bits"], int(description["seed"])
    encoder.numeric, encoder.null = description["numeric"], description["null"]
    encoder.multi, encoder.kinds, encoder.output = description["multi"], "types", "examples"
    encoder.fields_ = {column["name"]: column["kind"] for column in description["columns"]}
    encoder.fields, encoder.calendar = dict(encoder.fields_), ()
    columns = description["columns"]
    encoder.separators_ = {
        column["name"]: _separator(column["separator"])
        for column in columns
        if "separator" in column
    }
    names = [field["name"] for field in fields]
    encoder.crosses = [
        [names[part] for part in field["cross"]] for field in fields if "cross" in field
    ]
    is_wide = [field["name"] for field in fields if field["regions"] == [0, 1, REGIONS]]
    encoder.wide = is_wide
    features = description["features"]
    encoder.n_features_in_ = features if isinstance(features, int) else len(features)
    if not isinstance(features, int):
        encoder.feature_names_in_ = np.array(features, dtype=object)
    return encoder


def row_form(encoder: ColumnEncoder) -> RowForm | None:
    """Return what rows need before `row_reader` reads them; None if they need nothing."""
    return RowForm(encoder.fields_, encoder.separators_) or None


def row_reader(encoder: ColumnEncoder) -> tuple[_core.RowReader | None, RowForm | None]:
    """Return what reads single rows as an encoder does, and what they need before.

    The reader is None if `fit` named no columns.
    """
    kinds, last = vars(encoder).get("fields_"), vars(encoder).get("_rows")
    if last is not None and last[0] is kinds:
        found: tuple[_core.RowReader, RowForm | None] = last[1]
        return found
    if kinds is None or not hasattr(encoder, "feature_names_in_"):
        return None, None
    whole = {"n_slots": 2 ** int(encoder.bits), "encoder": described(encoder), "ids": None}
    found = _core.RowReader(json.dumps(whole)), row_form(encoder)
    encoder._rows = kinds, found  # type: ignore[attr-defined]
    return found


def _separator(text: Any) -> str:
    if not isinstance(text, str) or not text:
        raise ValueError(f"a separator is {text!r:.40}")
    return text


@functools.lru_cache(8)
def id_reader(n_slots: int) -> _core.RowReader:
    """Return what reads rows of ids, which are slots, and their values."""
    description = {"n_slots": n_slots, "encoder": None, "ids": {"hashes": False}}
    return _core.RowReader(json.dumps(description))


def id_row(row: Mapping[str, Any], n_slots: int) -> dict[str, Any]:
    """Return a row of ids and values, which may be arrays, as lists; or raise ValueError."""
    if "ids" not in row or not row.keys() <= {"ids", "values"}:
        raise refused_ids(row, n_slots)
    given = {name: row.get(name) for name in ("ids", "values")}
    return {name: None if x is None else np.asarray(x).tolist() for name, x in given.items()}


def refused_ids(row: Mapping[str, Any], n_slots: int) -> ValueError:
    """Return the error for a row that is no list of ids with values."""
    return ValueError(
        "the model learned from a matrix, without an encoder, so that a row must be {'ids': [...],"
        f" 'values': [...]}}: columns from 0 to {n_slots - 1}, and as many finite values of at most"
        f" 2**48 in magnitude, or no values; got {row!r:.80}"
    )
