"""The files of click learners: tensors in the safetensors format, and metadata for the rest.

A file may be smaller than its model: see `model_tensors`. Its number of slots therefore stands
beside its settings as well, and both must agree before memory is allocated.

Reads and writes the plain state of a learner, `SavedLearner`; `files` turns that into an estimator.
Nothing here knows scikit-learn.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import re
import reprlib
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad._arguments import check_flag, check_integer, check_real
from adagrad._core import __version__
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.model_tensors import Places, Tables, fill, listed_slots, parts, places
from adagrad.ctr.learners.settings import Settings, check_negative_rate, check_penalties
from adagrad.ctr.learners.stored_rows import read_slots
from adagrad.tables import files as table_files
from adagrad.tables.metadata import rule_of
from adagrad.tables.tensors import (
    TableFileError,
    Tensor,
    data_bytes,
    read_tensors,
    strict_json,
)

__all__ = [
    "EXPORT",
    "FITTED",
    "INVALID",
    "PARAMS_OF_FORMAT_1",
    "SavedLearner",
    "Tables",
    "corrupted",
    "read",
    "write",
]

StrPath = str | os.PathLike[str]
Array = npt.NDArray[Any]

INVALID = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""The exceptions that interpreting metadata raises if they do not describe a learner."""

FITTED = ("n_features_in_", "n_passes_", "loss_curve_", "validation_logloss_")
"""Attributes of a fitted learner that a file holds, besides the names of its features."""

PARAMS_OF_FORMAT_1 = frozenset(
    {"lr", "rule", "l1", "l2", "fit_intercept", "passes", "shuffle", "seed", "encoder"}
    | {"warm_start", "n_jobs", "factors", "init_scale", "normalize"}
)
"""The params that every file has, if its class has them. A file that is older than a param lacks
it, and it then has its default; the same goes for settings."""

_SETTINGS_OF_FORMAT_1 = frozenset(
    {"kind", "n_slots", "rule", "l1", "intercept", "factors", "n_fields", "parts", "init_scale"}
    | {"normalize", "seed"}
)
EXPORT = "adagrad.score"
"""Format of the files of `adagrad.serving.write_export`, which hold no learner."""

_FORMAT = "adagrad.ctr"
_VERSION = "2"
_VERSIONS = ("1", "2", "3")  # that can be read; version 1 always has all rows
_WITH_RATE = "3"
"""The version of a file whose predictions add an offset, which programs that know 2 do not."""
_ENTRIES = ("class", "params", "settings", "classes", "n_examples", "lr", "fitted", "extra")
_CLASS_DTYPE = re.compile(r"[<>=|]?([biuf][1248]|O8?|[SU][0-9]{1,5})")  # that a file can hold
_ALIGNMENT = 8  # of the first tensor


@dataclasses.dataclass
class SavedLearner:
    """The state of a learner.

    Attributes
    ----------
    class_name : str
        Name of its class in `adagrad.ctr`.
    params : dict
        Arguments of its constructor, as JSON can hold them.
    classes : ndarray, shape [2]
        The negative and the positive class.
    fitted : dict
        Other fitted attributes by name, as JSON can hold them.
    model : Model
        What it has learned.
    extra : object
        Anything that JSON can hold, for the caller.
    """

    class_name: str
    params: dict[str, Any]
    classes: Array
    fitted: dict[str, Any]
    model: Model
    extra: Any = None


def write(path: StrPath, saved: SavedLearner, tables: Tables | None = None) -> None:
    """Write a file, or replace one as a whole: if this is killed, one of the two is there.

    Parameters
    ----------
    path : str or PathLike
    saved : SavedLearner
    tables : Tables, optional
        The tables of a model that does not hold them in this process.

    Raises
    ------
    TypeError
        If JSON cannot hold a parameter, a class or `extra`.
    OSError
        If the file cannot be written. The old file is untouched then.
    """
    model = saved.model
    touched = model.touched() if tables is None else tables.touched
    slots = listed_slots(model.settings, touched)
    header: dict[str, Any] = {"__metadata__": _metadata(saved)}
    tensors, end = places(model.settings, None if slots is None else len(slots)), 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + data_bytes(dtype, shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // _ALIGNMENT) * _ALIGNMENT)
    head = len(text).to_bytes(8, "little") + text
    held = parts(model, slots, tables)
    data = (
        np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
        for name in tensors
        for part in held[name]
    )
    table_files.replace(path, itertools.chain([memoryview(head)], data), len(head) + end)


def read(path: StrPath) -> SavedLearner:
    """Read what `write` wrote.

    Parameters
    ----------
    path : str or PathLike

    Raises
    ------
    adagrad.TableFileError
        If the file is foreign, newer, truncated or corrupted.
    OSError
        If it cannot be read.
    """
    with table_files.open_regular(path, "rb") as file:
        metadata, tensors, start = read_tensors(path, file)
        version = _check_format(path, metadata)
        listed = tensors.get("slots") if version != "1" else None
        count = None if listed is None else math.prod(listed.shape)
        try:
            entries = _penalties_of_format_1(path, _entries(metadata))
            settings = _settings(path, entries["settings"])
            if version != "1" and metadata.get("n_slots") != str(settings.n_slots):
                raise ValueError(
                    f"n_slots is {reprlib.repr(metadata.get('n_slots'))}, but the settings have"
                    f" {settings.n_slots}"
                )
            # Before the model, which allocates what its settings say.
            _check_tensors(path, tensors, places(settings, count))
            slots = None
            if listed is not None:
                file.seek(start + listed.begin)
                slots = read_slots(path, file, listed.shape[0], settings.n_slots)
            saved = _saved(entries, _new_model(path, settings, is_listed=listed is not None))
        except TableFileError:
            raise
        except INVALID as error:
            raise corrupted(path, error) from error
        fill(path, file, start, tensors, saved.model, slots)
    try:
        saved.model.check_tensors()
    except ValueError as error:
        raise TableFileError(f"{path} is corrupted: {error}") from error
    return saved


def _new_model(path: StrPath, settings: Settings, *, is_listed: bool) -> Model:
    """Return a new model, which may be larger than a file that lists its slots."""
    try:
        return Model(settings)
    except MemoryError as error:
        if not is_listed:
            raise
        raise TableFileError(f"{path}: its model has {settings.n_slots} slots: {error}") from error


def fitted_attributes(saved: SavedLearner) -> dict[str, Any]:
    """Return the fitted attributes of a learner, if they fit its model.

    Raises
    ------
    TypeError, ValueError
        They do not.
    """
    found, n_slots = saved.fitted, saved.model.settings.n_slots
    if unknown := sorted(found.keys() - {*FITTED, "feature_names_in_"}):
        raise ValueError(f"fitted has {reprlib.repr(unknown)}")
    check_integer("n_features_in_", found.get("n_features_in_"), n_slots, n_slots)
    check_integer("n_passes_", found.get("n_passes_", 0), 0, 2**31)
    curve, loss = found.get("loss_curve_", []), found.get("validation_logloss_", 0.0)
    if not isinstance(curve, list) or not all(isinstance(value, float) for value in curve):
        raise TypeError(f"loss_curve_ is {reprlib.repr(curve)}")
    if not isinstance(loss, float):
        raise TypeError(f"validation_logloss_ is {reprlib.repr(loss)}")
    names = found.get("feature_names_in_")
    if names is None:
        return found
    if not isinstance(names, list) or len(names) != n_slots or not _are_texts(names):
        raise ValueError(f"feature_names_in_ are {reprlib.repr(names)}, expected {n_slots} names")
    return found | {"feature_names_in_": np.array(names, object)}


def _are_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def corrupted(path: StrPath, error: BaseException) -> TableFileError:
    """Return the exception for metadata that raise one of `INVALID`."""
    return TableFileError(f"{path} is corrupted: its metadata: {error}")


def _metadata(saved: SavedLearner) -> dict[str, str]:
    model, version = saved.model, _WITH_RATE
    settings = dataclasses.asdict(model.settings)
    if model.settings.negative_rate == 1.0:
        version = _VERSION
        del settings["negative_rate"]
    entries = {
        "class": saved.class_name,
        "params": saved.params,
        "settings": settings,
        "classes": [saved.classes.tolist(), saved.classes.dtype.str],
        "n_examples": model.examples,
        "lr": None if model.settings.rule is None else model.settings.rule.lr,
        "fitted": saved.fitted,
        "extra": saved.extra,
        "n_slots": model.settings.n_slots,
    }
    metadata = {"format": _FORMAT, "format_version": version, "adagrad_version": __version__}
    for name, value in entries.items():
        try:
            finite = name not in ("fitted", "extra")
            metadata[name] = json.dumps(value, default=_numpy_scalar, allow_nan=not finite)
        except (TypeError, ValueError) as error:
            raise TypeError(f"a file cannot hold the {name} of this learner: {error}") from error
    return metadata


def _numpy_scalar(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is not JSON")


def _entries(metadata: dict[str, str]) -> dict[str, Any]:
    """Return the metadata, which are JSON each."""
    missing = [name for name in _ENTRIES if name not in metadata]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")
    entries = {}
    for name in _ENTRIES:
        try:
            # The metrics of a model that diverged, or has seen one class, are not finite.
            entries[name] = strict_json(metadata[name], finite=name not in ("fitted", "extra"))
        except ValueError as error:
            raise ValueError(f"{name} is not JSON: {error}") from error
    return entries


def _penalties_of_format_1(path: StrPath, entries: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata in terms of today's penalties, if the file is older than these.

    `l2` was the weight decay of the rule, and stays that. `l1` moved params towards 0 after each
    step; the params are the same kind of params without it.
    """
    settings, params = entries["settings"], entries["params"]
    if not isinstance(settings, dict) or not isinstance(params, dict):
        return entries
    if "l2" in settings or "l2" not in params or not settings.keys() >= _SETTINGS_OF_FORMAT_1:
        return entries  # new, or damaged
    check_real("l1", settings["l1"])
    if settings["l1"]:
        warnings.warn(
            f"{path} was written by an earlier version, whose l1 differs: the model goes on without"
            " l1; for a model with few weights, fit a new one",
            stacklevel=2,
        )
    rule = settings["rule"] if params["l2"] else params["rule"]
    return entries | {
        "settings": settings | {"l1": 0.0, "l2": 0.0},
        "params": params | {"l1": 0.0, "l2": 0.0, "rule": rule},
    }


def _settings(path: StrPath, found: Any) -> Settings:
    """Return the settings in a file, if they are those of a model."""
    names = {field.name for field in dataclasses.fields(Settings)}
    if not isinstance(found, dict) or not _SETTINGS_OF_FORMAT_1 <= found.keys() <= names:
        raise ValueError(f"settings are {reprlib.repr(found)}, expected {', '.join(sorted(names))}")
    rule = None if found["rule"] is None else rule_of(path, found["rule"])
    settings = Settings(**{**found, "rule": rule})
    kind = settings.kind
    if kind not in ("lr", "fm", "ffm"):
        raise ValueError(f"the kind is {reprlib.repr(kind)}, expected lr, fm or ffm")
    check_integer("n_slots", settings.n_slots, 1, 2**32)
    check_integer("factors", settings.factors, *((0, 0) if kind == "lr" else (1, 4096)))
    check_integer("n_fields", settings.n_fields, 0, 2**16 if kind == "ffm" else 0)
    check_integer("parts", settings.parts, 1, 8 if kind == "ffm" else 1)
    if settings.parts not in (1, 2, 4, 8):
        raise ValueError(f"parts must be 1, 2, 4 or 8, got {settings.parts}")
    check_integer("seed", settings.seed, 0, 2**64 - 2)
    check_real("l1", settings.l1)
    check_real("l2", settings.l2)
    check_penalties(settings.rule, settings.l1, settings.l2)
    check_real("init_scale", settings.init_scale)
    check_flag("intercept", settings.intercept)
    check_flag("normalize", settings.normalize)
    if settings.half_life is not None:
        check_real("half_life", settings.half_life)
    check_negative_rate(settings.negative_rate)
    return settings


def _saved(entries: dict[str, Any], model: Model) -> SavedLearner:
    """Return a learner whose tensors have still to be read."""
    for name, kind in (("class", str), ("params", dict), ("fitted", dict)):
        if not isinstance(entries[name], kind):
            raise TypeError(f"{name} is {reprlib.repr(entries[name])}")
    model.examples = check_integer("n_examples", entries["n_examples"], 0, 2**63 - 1)
    rate = None if model.settings.rule is None else model.settings.rule.lr
    if entries["lr"] != rate and (rate is None or check_real("lr", entries["lr"]) != rate):
        raise ValueError(f"lr is {reprlib.repr(entries['lr'])}, but that of the rule is {rate}")
    return SavedLearner(
        entries["class"],
        entries["params"],
        _classes(entries["classes"]),
        entries["fitted"],
        model,
        entries["extra"],
    )


def _classes(found: Any) -> Array:
    values, dtype = found
    if not isinstance(dtype, str) or not _CLASS_DTYPE.fullmatch(dtype):
        raise ValueError(f"the dtype of the classes is {reprlib.repr(dtype)}")
    if not isinstance(values, list) or len(values) != 2:
        raise ValueError(f"classes are {reprlib.repr(values)}, expected two")
    classes: Array = np.array(values, dtype)
    if classes.tolist() != values or not values[0] < values[1]:
        raise ValueError(f"classes are {reprlib.repr(values)}, expected two ascending {dtype}")
    return classes


def _check_format(path: StrPath, metadata: dict[str, str]) -> str:
    """Return the version of a format that can be read."""
    if metadata.get("format") == EXPORT:
        raise TableFileError(
            f"{path} is an export, which holds the weights of a model and nothing to learn with:"
            " take the model that it was made of, or adagrad.serving.Scorer to predict"
        )
    if metadata.get("format") != _FORMAT:
        raise TableFileError(
            f"{path} is a safetensors file, but not of a click learner: its format is"
            f" {reprlib.repr(metadata.get('format'))}, expected {_FORMAT!r}"
        )
    version = metadata.get("format_version", "")
    if version not in _VERSIONS:
        raise TableFileError(
            f"{path} was written by another adagrad (format {version[:20]!r}), this one reads"
            f" {', '.join(_VERSIONS)}: upgrade"
        )
    return version


def _check_tensors(path: StrPath, found: dict[str, Tensor], expected: Places) -> None:
    if set(found) != set(expected):
        raise TableFileError(
            f"{path} is corrupted: its tensors are {reprlib.repr(sorted(found))}, expected"
            f" {sorted(expected)}"
        )
    for name, (dtype, shape) in expected.items():
        tensor = found[name]
        if (tensor.dtype, tensor.shape) != (dtype, shape):
            raise TableFileError(
                f"{path} is corrupted: tensor {name!r} is {tensor.dtype} of shape {tensor.shape},"
                f" expected {dtype} of shape {shape}"
            )
