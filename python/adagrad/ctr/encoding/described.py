"""An encoder in terms of what it computes, for readers that do not know `HashingEncoder`.

`described` writes it down: every field with its seed, its kind and its regions. `encoder_from`
makes an encoder of it again, without scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import adagrad._core as _core
from adagrad.ctr.encoding.column_encoder import ColumnEncoder
from adagrad.ctr.encoding.examples import REGIONS
from adagrad.ctr.encoding.fields import CALENDAR, calendar_names, cross_name, derived

__all__ = ["described", "encoder_from"]

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
        "columns": [{"name": name, "kind": kind} for name, kind in kinds.items()],
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
    names = [field["name"] for field in fields]
    encoder.crosses = [
        [names[part] for part in field["cross"]] for field in fields if "cross" in field
    ]
    is_wide = [field["name"] for field in fields if field["regions"] == [0, 1, REGIONS]]
    encoder.wide = is_wide
    features = description["features"]
    encoder.n_features_in_ = features if isinstance(features, int) else len(features)
    if not isinstance(features, int):
        import numpy as np

        encoder.feature_names_in_ = np.array(features, dtype=object)
    return encoder
