"""The feature columns of a model: which they are, as text in a file, and opened in another log."""

from __future__ import annotations

import base64
import os
import reprlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from adagrad.ctr.logs.log import Log
from adagrad.ctr.logs.multi import separators_in, with_separators
from adagrad.ctr.logs.opening import open_log
from adagrad.ctr.logs.sources import find
from adagrad.ctr.training.encoders import is_libsvm

__all__ = ["feature_columns", "open_for_model", "schema_from_text", "schema_to_text"]


def feature_columns(schema: pa.Schema, others: Sequence[str]) -> pa.Schema:
    """Return all columns but `others`, with types that a log of any format can be read as.

    A dictionary column gets the type of its values: only Parquet and Arrow have dictionaries. A
    column that was split keeps its separator; see `adagrad.ctr.logs.multi`.
    """
    left_out = set(others)
    found = pa.schema(
        (field.name, field.type.value_type if pa.types.is_dictionary(field.type) else field.type)
        for field in schema
        if field.name not in left_out
    )
    return with_separators(found, separators_in(schema))


def schema_to_text(schema: pa.Schema) -> str:
    """Return a schema as ASCII text, for the JSON in a model file."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def schema_from_text(text: Any) -> pa.Schema:
    """Return the schema that `schema_to_text` encoded.

    Raises
    ------
    TypeError, ValueError
        The text does not hold a schema, or two columns have one name.
    """
    if not isinstance(text, str):
        raise TypeError(f"the schema is {reprlib.repr(text)}")
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text, validate=True)))
        names = schema.names  # which are decoded here
    except (ValueError, OSError, pa.ArrowException) as error:
        raise ValueError(f"the schema is not one: {error}") from error
    if len(set(names)) < len(names):
        raise ValueError("a name of the schema occurs twice")
    return schema


def open_for_model(
    paths: Sequence[str | os.PathLike[str]],
    features: pa.Schema,
    *,
    label: str | None,
    weight: str | None = None,
    negative_rate: str | None = None,
    keep: Sequence[str] = (),
    skip_bad: bool = False,
    **how: Any,
) -> Log:
    """Open a log, in any format, with the columns that a model was trained on.

    They have the types of the model. A file whose column means something else is refused, and so
    is a row with a number that is not whole in a column of integers.

    Parameters
    ----------
    paths : sequence of str or os.PathLike
        As for `open_log`.
    features : pyarrow.Schema
        From `feature_columns`.
    label : str or None
        Column of the label; None to read none.
    weight, negative_rate : str, optional
        Columns of weights and of rates of negatives, as for `open_log`.
    keep : sequence of str, default ()
        Further columns to read.
    skip_bad : bool, default False
        As for `open_log`.
    **how
        ``format``, ``delimiter``, ``header`` and ``live`` of `open_log`.
    """
    targets: dict[str, Any] = {"label": label, "weight": weight, "negative_rate": negative_rate}
    for role, name in targets.items():
        if name in features.names:
            what = role.replace("_", " ")
            raise ValueError(f"the {what} {name!r} is a feature of the model")
    if is_libsvm(features, None):
        _check_ids(paths, how.get("format"))
    schema = pa.schema(field.with_type(_wide(field.type)) for field in features)
    return open_log(paths, **targets, schema=schema, keep=keep, skip_bad=skip_bad, **how)


def _wide(kind: pa.DataType) -> pa.DataType:
    """Return a type with room for other numbers of the same meaning."""
    is_narrow = pa.types.is_integer(kind) and kind != pa.uint64()
    return pa.int64() if is_narrow else kind


def _check_ids(paths: Sequence[str | os.PathLike[str]], format: str | None) -> None:
    """Raise if a log has columns, but the model knows only ids."""
    for source in find(paths, format):
        if source.format in ("csv", "tsv"):
            raise ValueError(
                f"{source.path}: the model learned from ids instead of columns: it reads libsvm"
                " logs (--format libsvm)"
            )
