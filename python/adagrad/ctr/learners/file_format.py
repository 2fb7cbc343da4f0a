"""The files of click learners: tensors in the safetensors format, and metadata for the rest.

Reads and writes the plain state of a learner, `SavedLearner`; `files` turns that into an estimator.
Nothing here knows scikit-learn.
"""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import math
import os
import stat
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad._core import __version__
from adagrad.ctr.learners.model import Model, Settings, layouts
from adagrad.ctr.learners.progressive import Progressive
from adagrad.rule import Rule
from adagrad.tables import files as table_files
from adagrad.tables.header import TableFileError

__all__ = ["INVALID", "SavedLearner", "Tables", "corrupted", "read", "write"]

StrPath = str | os.PathLike[str]
Array = npt.NDArray[Any]
Tables = Mapping[str, Iterable[Array]]

INVALID = (KeyError, TypeError, ValueError, AttributeError, RecursionError)
"""The exceptions that interpreting metadata raises if they do not describe a learner."""

_FORMAT = "adagrad.ctr"
_VERSION = "1"
_DTYPES = {"float32": "F32", "float64": "F64"}
_ITEM_SIZES = {"F32": 4, "F64": 8}
_READ_BYTES = 64 << 20  # how much of a tensor is read at a time
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
    tables : dict of str to iterable of ndarray of float32, optional
        Rows of params and accumulators by the name of their table, in parts, for a model that does
        not hold its tables in this process.

    Raises
    ------
    TypeError
        If JSON cannot hold a parameter, a class or `extra`.
    OSError
        If the file cannot be written. The old file is untouched then.
    """
    header: dict[str, Any] = {"__metadata__": _metadata(saved)}
    arrays, settings, end = _arrays(saved.model), saved.model.settings, 0
    tensors: list[tuple[str, tuple[int, ...], str, Iterable[Array]]] = [
        (name, (settings.n_slots, 2 * layouts(settings)[name]["dim"]), "F32", parts)
        for name, parts in (tables or {}).items()
    ]
    tensors += [(name, a.shape, _DTYPES[a.dtype.name], [a]) for name, a in arrays.items()]
    for name, shape, dtype, _ in tensors:
        begin, end = end, end + math.prod(shape) * _ITEM_SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // _ALIGNMENT) * _ALIGNMENT)
    head = len(text).to_bytes(8, "little") + text
    data = (
        np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
        for *_, parts in tensors
        for part in parts
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
    from safetensors import SafetensorError, safe_open

    # safetensors names no file in its errors, and waits for the writer of a pipe.
    mode = os.stat(path).st_mode  # noqa: PTH116
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        raise TableFileError(f"{os.fspath(path)} is not a regular file")
    try:
        with safe_open(os.fspath(path), "np") as file:
            metadata = file.metadata() or {}
            _check_format(path, metadata)
            try:
                saved = _from_metadata(metadata)
            except INVALID as error:
                raise corrupted(path, error) from error
            _read_tensors(path, file, saved.model)
    except SafetensorError as error:
        raise TableFileError(
            f"{path} is truncated, corrupted or not a safetensors file: {error}"
        ) from error
    return saved


def corrupted(path: StrPath, error: BaseException) -> TableFileError:
    """Return the exception for metadata that raise one of `INVALID`."""
    return TableFileError(f"{path} is corrupted: its metadata: {error!r}")


def _metadata(saved: SavedLearner) -> dict[str, str]:
    model = saved.model
    entries = {
        "class": saved.class_name,
        "params": saved.params,
        "settings": dataclasses.asdict(model.settings),
        "classes": [saved.classes.tolist(), saved.classes.dtype.str],
        "n_examples": model.examples,
        "lr": model.settings.rule.lr,
        "fitted": saved.fitted,
        "extra": saved.extra,
    }
    metadata = {"format": _FORMAT, "format_version": _VERSION, "adagrad_version": __version__}
    for name, value in entries.items():
        try:
            metadata[name] = json.dumps(value, default=_numpy_scalar)
        except (TypeError, ValueError) as error:
            raise TypeError(f"a file cannot hold the {name} of this learner: {error}") from error
    return metadata


def _numpy_scalar(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is not JSON")


def _from_metadata(metadata: dict[str, str]) -> SavedLearner:
    """Return a learner whose tensors have still to be read."""
    entries = {
        name: json.loads(metadata[name])
        for name in ("class", "params", "settings", "classes", "fitted", "n_examples", "extra")
    }
    values, dtype = entries["classes"]
    classes = np.array(values, dtype)
    if classes.shape != (2,):
        raise ValueError(f"classes are {values!r}, expected two")
    settings = entries["settings"]
    model = Model(Settings(**{**settings, "rule": Rule(**settings["rule"])}))
    model.examples = int(entries["n_examples"])
    return SavedLearner(
        entries["class"], entries["params"], classes, entries["fitted"], model, entries["extra"]
    )


def _arrays(model: Model) -> dict[str, Array]:
    """Return the tensors of a file. A table's are its memory: rows of params and accumulators."""
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


def _read_tensors(path: StrPath, file: Any, model: Model) -> None:
    arrays = _arrays(model)
    if set(file.keys()) != set(arrays):
        raise TableFileError(
            f"{path} is corrupted: its tensors are {sorted(file.keys())}, expected {sorted(arrays)}"
        )
    for name, array in arrays.items():
        _fill(path, name, file.get_slice(name), array)
    model.progressive = Progressive.restore(arrays)


def _fill(path: StrPath, name: str, found: Any, array: Array) -> None:
    shape, dtype = tuple(found.get_shape()), found.get_dtype()
    if shape != array.shape or dtype != _DTYPES[array.dtype.name]:
        raise TableFileError(
            f"{path} is corrupted: tensor {name!r} is {dtype} of shape {shape}, expected"
            f" {_DTYPES[array.dtype.name]} of shape {array.shape}"
        )
    rows = max(1, _READ_BYTES * len(array) // array.nbytes)
    for start in range(0, len(array), rows):
        stop = min(start + rows, len(array))
        array[start:stop] = found[start:stop]
