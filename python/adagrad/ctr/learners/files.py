"""Files of click learners: tensors in the safetensors format, with metadata that say the rest."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from adagrad._core import __version__
from adagrad.ctr.learners.model import Model, Settings, layouts
from adagrad.ctr.learners.progressive import Progressive
from adagrad.rule import Rule
from adagrad.tables import files as _files
from adagrad.tables.header import TableFileError

if TYPE_CHECKING:
    from adagrad.ctr.learners.estimator import ClickLearner

__all__ = ["read", "write"]

StrPath = str | os.PathLike[str]
Array = npt.NDArray[Any]
Tables = Mapping[str, Iterable[Array]]

_FORMAT = "adagrad.ctr"
_VERSION = "1"
_TYPES = {"float32": "F32", "float64": "F64"}
_SIZES = {"F32": 4, "F64": 8}
_PART = 64 << 20  # bytes of a tensor that are read at once
_FITTED = ("n_features_in_", "n_passes_", "validation_logloss_")


def write(
    path: StrPath, estimator: ClickLearner, extra: Any = None, tables: Tables | None = None
) -> None:
    """Write a learner to a file, or replace one: if this is killed, one of the two is there.

    Parameters
    ----------
    path : str or PathLike
    estimator : ClickLearner
        Fitted. While ``lr="auto"`` is undecided, the model is written as it would be if no more
        examples came, and the file goes on with its rate.
    extra : object, optional
        Anything that JSON can hold, which `read` returns.
    tables : dict of str to iterable of ndarray of float32, optional
        The rows of each table, params and accumulators, in parts, where the model has them not.

    Raises
    ------
    TypeError
        Where a parameter, a class or `extra` is nothing that JSON can hold.
    OSError
        Where it cannot be written; then the old file is untouched.
    """
    model = estimator._ready()
    classes = estimator.classes_
    params = estimator.get_params(deep=False)
    if isinstance(params["rule"], Rule):
        params["rule"] = dataclasses.asdict(params["rule"])
    if params["encoder"] is not None:
        # The fitted one, which knows its columns.
        params["encoder"] = getattr(estimator, "encoder_", params["encoder"]).to_dict()
    entries = {
        "class": type(estimator).__name__,
        "params": params,
        "settings": dataclasses.asdict(model.settings),
        "classes": [classes.tolist(), classes.dtype.str],
        "n_examples": model.examples,
        "lr": model.settings.rule.lr,
        "fitted": {name: value for name in _FITTED if (value := vars(estimator).get(name))},
        "extra": extra,
    }
    names = vars(estimator).get("feature_names_in_")
    if names is not None:
        entries["fitted"]["feature_names_in_"] = names.tolist()
    metadata = {"format": _FORMAT, "format_version": _VERSION, "adagrad_version": __version__}
    for name, value in entries.items():
        try:
            metadata[name] = json.dumps(value, default=_plain)
        except (TypeError, ValueError) as error:
            raise TypeError(f"a file cannot hold the {name} of this learner: {error}") from error
    header: dict[str, Any] = {"__metadata__": metadata}
    arrays, n_slots, end = _arrays(model), model.settings.n_slots, 0
    found: list[tuple[str, tuple[int, ...], str, Iterable[Array]]] = [
        (name, (n_slots, 2 * layouts(model.settings)[name]["dim"]), "F32", parts)
        for name, parts in (tables or {}).items()
    ]
    found += [(name, a.shape, _TYPES[a.dtype.name], [a]) for name, a in arrays.items()]
    for name, shape, dtype, _ in found:
        begin, end = end, end + math.prod(shape) * _SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    head = len(text).to_bytes(8, "little") + text
    parts = (
        np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
        for *_, of_tensor in found
        for part in of_tensor
    )
    _files.replace(path, itertools.chain([memoryview(head)], parts), len(head) + end)


def read(path: StrPath) -> tuple[ClickLearner, Any]:
    """Read what `write` wrote.

    Parameters
    ----------
    path : str or PathLike

    Returns
    -------
    estimator : ClickLearner
        Which goes on with the bits of the one that was written.
    extra : object
        As it was given.

    Raises
    ------
    adagrad.TableFileError
        Where the file is foreign, newer, truncated or corrupted.
    OSError
        Where it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    os.stat(path)  # noqa: PTH116  a missing file is an OSError with its name
    try:
        with safe_open(os.fspath(path), "np") as file:
            metadata = file.metadata() or {}
            _check_format(path, metadata)
            return _restore(path, file, metadata)
    except SafetensorError as error:
        raise TableFileError(
            f"{path} is truncated, corrupted or not a safetensors file: {error}"
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is not JSON")


def _arrays(model: Model) -> dict[str, Array]:
    """Return the tensors of a file: of each table its memory, rows of params and accumulators."""
    arrays = {}
    for name, table in model.tables.items():
        memory = table._memory
        assert memory is not None
        arrays[name] = memory.view(np.float32).reshape(table.rows, -1)
    if model.bias is not None:
        arrays["bias"] = model.bias
    return arrays | model.progressive.state()


def _check_format(path: StrPath, metadata: dict[str, str]) -> None:
    if metadata.get("format") != _FORMAT:
        raise TableFileError(
            f"{path} is a safetensors file, but not of a click learner: its format is"
            f" {metadata.get('format')!r}, expected {_FORMAT!r}"
        )
    version = metadata.get("format_version", "")
    if version != _VERSION:
        raise TableFileError(
            f"{path} was written by another adagrad (format {version[:20]!r}), this one reads"
            f" {_VERSION}: upgrade"
        )


def _restore(path: StrPath, file: Any, metadata: dict[str, str]) -> tuple[ClickLearner, Any]:
    import adagrad.ctr
    from adagrad.ctr.learners.estimator import ClickLearner

    def entry(name: str) -> Any:
        return json.loads(metadata[name])

    try:
        learner = getattr(adagrad.ctr, entry("class"))
        if not issubclass(learner, ClickLearner):
            raise TypeError(f"{learner} is not a learner")
        params = entry("params")
        if params["rule"] is not None:
            params["rule"] = Rule(**params["rule"])
        if params["encoder"] is not None:
            encoders: Any = adagrad.ctr
            params["encoder"] = encoders.HashingEncoder.from_dict(params["encoder"])
        estimator: ClickLearner = learner(**params)
        settings = entry("settings")
        settings = Settings(**{**settings, "rule": Rule(**settings["rule"])})
        values, dtype = entry("classes")
        estimator.classes_ = np.array(values, dtype)
        if estimator.classes_.shape != (2,):
            raise ValueError(f"classes are {values!r}, expected two")
        estimator.__dict__.update(entry("fitted"))
        if hasattr(estimator, "feature_names_in_"):
            estimator.feature_names_in_ = np.array(estimator.feature_names_in_, object)
        model = Model(settings)
        model.examples = int(entry("n_examples"))
        extra = entry("extra")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise TableFileError(f"{path} is corrupted: its metadata: {error!r}") from error
    arrays = _arrays(model)
    if set(file.keys()) != set(arrays):
        raise TableFileError(
            f"{path} is corrupted: its tensors are {sorted(file.keys())}, expected {sorted(arrays)}"
        )
    for name, array in arrays.items():
        _fill(path, name, file.get_slice(name), array)
    model.progressive = Progressive.restore(arrays)
    estimator._model, estimator._held, estimator._tried = model, None, None
    return estimator, extra


def _fill(path: StrPath, name: str, found: Any, array: Array) -> None:
    shape, dtype = tuple(found.get_shape()), found.get_dtype()
    if shape != array.shape or dtype != _TYPES[array.dtype.name]:
        raise TableFileError(
            f"{path} is corrupted: tensor {name!r} is {dtype} of shape {shape}, expected"
            f" {_TYPES[array.dtype.name]} of shape {array.shape}"
        )
    rows = max(1, _PART * len(array) // array.nbytes)
    for start in range(0, len(array), rows):
        stop = min(start + rows, len(array))
        array[start:stop] = found[start:stop]
