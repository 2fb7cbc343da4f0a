"""Export files: the weights of a model and how rows become entries, and nothing else.

The layout is documented in docs/export-format.md, for readers in any language.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from adagrad._core import __version__
from adagrad.ctr.encoding.described import described
from adagrad.ctr.learners.layouts import new_rows, parts_of_fields
from adagrad.ctr.learners.stored_rows import row_slices
from adagrad.serving._description import FORMAT, NO_CHECKSUM, VERSION, sealed
from adagrad.serving._proportions import Proportions
from adagrad.tables import files as table_files
from adagrad.tables.tensors import data_bytes

if TYPE_CHECKING:
    from adagrad.ctr.learners.estimator import ClickLearner
    from adagrad.ctr.learners.model import Model
    from adagrad.ctr.training.state import Trained

__all__ = ["DTYPES", "FORMAT", "VERSION", "Dtype", "export_parts", "write_export"]

StrPath = str | os.PathLike[str]
Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Slots = npt.NDArray[np.uint32]
Dtype = Literal["float32", "bfloat16", "float16"]

DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
"""The dtypes of weights, and their names in a file."""

_ALIGNMENT = 64  # of every tensor: a cache line
_MEAN = 16  # slots of a bucket that are in use, at most, on average
_LARGEST_FLOAT16 = 65504.0


def write_export(
    model: ClickLearner | StrPath,
    path: StrPath,
    dtype: Dtype = "float32",
    *,
    mix_like: StrPath | None = None,
) -> dict[str, Any]:
    """Write what a model predicts with to a file, or replace one as a whole.

    Parameters
    ----------
    model : ClickLearner or path
        A fitted learner, or the file of one.
    path : str or PathLike
        The file to write, such as ``click.score``.
    dtype : {"float32", "bfloat16", "float16"}, default "float32"
        How weights are stored. Weights of 16 bits are rounded to nearest, ties to even.
    mix_like : str or PathLike, optional
        An earlier export, whose proportions of the experts of ``lr="auto"`` this one keeps. Then
        the weights that learned nothing since keep their bits, which makes a `delta` small. The
        predictions are not quite those of the learner.

    Returns
    -------
    dict
        ``slots`` in use, ``bytes`` of the file, and the ``largest_change`` of a weight by rounding.

    Raises
    ------
    ValueError
        The dtype is unknown; a weight is not finite, or too large for float16; or the model cannot
        be described: its encoder has seen no columns.
    adagrad.TableFileError
        `model` is a file that does not hold a learner.
    OSError
        A file cannot be read or written. An old one is untouched then.
    """
    parts, size, summary = export_parts(model, dtype, mix_like=mix_like)
    table_files.replace(path, parts, size)
    return summary


def export_parts(
    model: ClickLearner | StrPath, dtype: Dtype = "float32", *, mix_like: StrPath | None = None
) -> tuple[Iterator[memoryview], int, dict[str, Any]]:
    """Return the bytes of an export file in parts, their number, and what `write_export` returns.

    Parameters
    ----------
    model, dtype, mix_like
        As for `write_export`.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be in {tuple(DTYPES)}, got {dtype!r}")
    learner, trained = _learner_and_columns(model)
    found = learner._model
    has_pairs = found.pair_mixing is None or bool(found._exported.scale)
    proportions = Proportions.of(found) if mix_like is None else Proportions.of_export(mix_like)
    weights, bias = proportions.linear(found)
    slots, rows = _rows(found, has_pairs, weights)
    _check_finite(rows)
    stored, largest = _rounded(rows, dtype)
    description = _description(learner, trained, has_pairs)
    description |= {"bias": bias, "proportions": proportions.as_json()}
    tensors: dict[str, tuple[str, Array]] = {}
    if slots is None:
        description["bucket"] = None
    else:
        shift = _bucket_bits(found.settings.n_slots, len(slots))
        description["bucket"] = 1 << shift
        starts = _starts(slots, shift, found.settings.n_slots)
        low = (slots & np.uint32((1 << shift) - 1)).astype(np.uint8 if shift <= 8 else np.uint16)
        tensors["starts"] = "U32", starts
        tensors["low"] = ("U8" if shift <= 8 else "U16"), low
    tensors["rows"] = DTYPES[dtype], stored
    head, places, size = _head(description, tensors)
    summary = {
        "slots": found.settings.n_slots if slots is None else len(slots),
        "bytes": size,
        "largest_change": largest,
    }
    head = sealed(head, _parts(places, tensors))
    return chain([memoryview(head)], _parts(places, tensors)), size, summary


def _learner_and_columns(model: Any) -> tuple[ClickLearner, Trained | None]:
    """Return a learner, and what is known of its columns."""
    from adagrad.ctr.learners import files
    from adagrad.ctr.learners.estimator import ClickLearner
    from adagrad.ctr.training.state import trained_with

    path: StrPath = "the model"
    if isinstance(model, ClickLearner):
        learner, extra = model, model._extra
    else:
        path = model
        learner, extra = files.read(path)
    try:
        return learner, trained_with(path, learner, extra)
    except ValueError:
        if isinstance(extra, dict) and extra:
            raise
        return learner, None  # it knows no columns


def _description(learner: ClickLearner, trained: Trained | None, has_pairs: bool) -> dict[str, Any]:
    """Return the JSON of a file, but for the layout of its slots."""
    model = learner._model
    settings, exported = model.settings, model._exported
    classes = learner.classes_.tolist()
    found: dict[str, Any] = {
        "kind": settings.kind,
        "n_slots": settings.n_slots,
        "offset": settings.offset,
        "label": None if trained is None else trained.label,
        "classes": classes,
        "pairs": None,
        "encoder": None,
        "ids": None,
    }
    if settings.kind != "lr" and has_pairs:
        found["pairs"] = {
            "factors": settings.factors,
            "fields": settings.n_fields,
            "parts": settings.parts,
            "normalize": settings.normalize,
            "scale": 1.0 if model.pair_mixing is None else float(exported.scale),
            "init_scale": settings.init_scale,
            "seed": str(settings.seed),
        }
    encoder: Any = getattr(learner, "encoder_", learner.encoder)
    if encoder is not None and hasattr(encoder, "fields_"):
        found["encoder"] = described(encoder)
        types = (
            {} if trained is None else {field.name: str(field.type) for field in trained.features}
        )
        for column in found["encoder"]["columns"]:
            column["type"] = types.get(column["name"], "string")
    elif encoder is None:
        hashes = trained is not None and getattr(trained.encoder, "hashes", False)
        found["ids"] = {"hashes": bool(hashes)}
    return found


def _rows(model: Model, has_pairs: bool, weights: Floats) -> tuple[Slots | None, Floats]:
    """Return the slots in use and their rows, or None and all rows if that is hardly more.

    A row is the weight of a slot, then its vectors: one, or one for each field. A slot is in use
    unless its weight is 0 and its vectors are as drawn.
    """
    settings = model.settings
    k, n_fields = settings.factors, settings.n_fields
    width = 1
    if has_pairs and settings.kind != "lr":
        width += k * (n_fields if settings.kind == "ffm" else 1)
    in_use = weights != 0.0
    tables: dict[str, Floats] = {}
    if width > 1:
        for name, table in model.tables.items():
            if name == "linear":
                continue
            tables[name] = table.weights.reshape(settings.n_slots, -1)
            for part in row_slices(settings.n_slots, 4 * tables[name].shape[1]):
                drawn = new_rows(settings, name, part.start, part.stop)
                drawn = drawn[:, : tables[name].shape[1]].view(np.uint32)
                values = np.ascontiguousarray(tables[name][part]).view(np.uint32)
                in_use[part] |= (values != drawn).any(axis=1)
    slots: Slots | None = np.flatnonzero(in_use).astype(np.uint32)
    assert slots is not None
    if 2 * len(slots) * (width + 1) > settings.n_slots * width:
        slots = None
    chosen: Any = slice(None) if slots is None else slots
    count = settings.n_slots if slots is None else len(slots)
    rows = np.empty((count, width), np.float32)
    rows[:, 0] = weights[chosen]
    if settings.kind == "fm" and width > 1:
        rows[:, 1:] = tables["factors"][chosen]
    elif width > 1:
        for field, (part_of, place) in enumerate(zip(*parts_of_fields(settings), strict=True)):
            vectors = tables[f"factors{part_of}"]
            begin = 1 + field * k
            rows[:, begin : begin + k] = vectors[chosen, place * k : (place + 1) * k]
    return slots, rows


def _check_finite(rows: Floats) -> None:
    if not np.isfinite(rows).all():
        raise ValueError(
            "the model has a weight that is not finite: it diverged, so train it again"
        )


def _rounded(rows: Floats, dtype: Dtype) -> tuple[Array, float]:
    """Return rows as they are stored, and the largest change of a value."""
    if dtype == "float32":
        return rows, 0.0
    if dtype == "float16":
        largest = float(np.abs(rows).max(initial=0.0))
        with np.errstate(over="ignore"):
            stored = rows.astype(np.float16)
        if not np.isfinite(stored).all():
            raise ValueError(
                f"a weight of {largest:g} is too large for float16, which holds"
                f" {_LARGEST_FLOAT16:g} at most: use bfloat16"
            )
        back = stored.astype(np.float32)
        stored = stored.view(np.uint16)
    else:
        bits = rows.view(np.uint32)
        with np.errstate(over="ignore"):
            stored = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
        back = (stored.astype(np.uint32) << 16).view(np.float32)
        if not np.isfinite(back).all():
            raise ValueError("a weight is too large for bfloat16: use float32")
    return stored, float(np.abs(back - rows).max(initial=0.0))


def _bucket_bits(n_slots: int, used: int) -> int:
    """Return the binary logarithm of the slots of a bucket."""
    bits = 4
    while bits < 16 and used << (bits + 1) <= _MEAN * n_slots:
        bits += 1
    return bits


def _starts(slots: Slots, shift: int, n_slots: int) -> Slots:
    """Return the number of slots in use before each bucket, and all of them at the end."""
    n_buckets = (n_slots + (1 << shift) - 1) >> shift
    counts = np.bincount(slots >> np.uint32(shift), minlength=n_buckets)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32)


def _head(
    description: dict[str, Any], tensors: dict[str, tuple[str, Array]]
) -> tuple[bytes, dict[str, int], int]:
    """Return the header of a file, the position of each tensor after it, and the size of the file.

    A tensor of padding goes before each one that would not be aligned, because the tensors of a
    safetensors file fill it.
    """
    header: dict[str, Any] = {
        "__metadata__": {
            "format": FORMAT,
            "format_version": VERSION,
            "adagrad_version": __version__,
            "model": json.dumps(description, separators=(",", ":"), allow_nan=False),
            "checksum": NO_CHECKSUM,
        }
    }
    places, end = {}, 0
    for name, (dtype, array) in tensors.items():
        if gap := -end % _ALIGNMENT:
            header[f"padding.{name}"] = {
                "dtype": "U8",
                "shape": [gap],
                "data_offsets": [end, end + gap],
            }
            end += gap
        size = data_bytes(dtype, array.shape)
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [end, end + size],
        }
        places[name], end = end, end + size
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-(len(text) + 8) // _ALIGNMENT) * _ALIGNMENT - 8)
    head = len(text).to_bytes(8, "little") + text
    return head, places, len(head) + end


def _parts(places: dict[str, int], tensors: dict[str, tuple[str, Array]]) -> Iterator[memoryview]:
    """Yield the bytes of each tensor, that of padding before it."""
    end = 0
    for name, (_, array) in tensors.items():
        if gap := places[name] - end:
            yield memoryview(bytes(gap))
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        yield data.data
        end = places[name] + data.nbytes
