"""The tensors of a model in its file: which there are, their data, and how they are read back.

Where that is smaller, a file has a tensor "slots", ascending, and the tensors with a row for each
slot have only the rows of these: all others are as in a new model. The linear model is in every
file, as the first column of "linear" and the first number of "bias", also where training needs
other state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from io import FileIO
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adagrad.ctr.learners.compiled import penalized_weights
from adagrad.ctr.learners.layouts import row_columns, table_of, tensor_shapes
from adagrad.ctr.learners.mixture import ROW_COLUMNS
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
from adagrad.ctr.learners.stored_rows import fill_rows, row_parts, row_slices
from adagrad.tables import files
from adagrad.tables.tensors import ITEM_BYTES, StrPath, Tensor

__all__ = ["Places", "Tables", "fill", "listed_slots", "parts", "places"]

Array = npt.NDArray[Any]
Slots = npt.NDArray[np.uint32]
Places = dict[str, tuple[str, tuple[int, ...]]]

_DTYPES = {"float32": "F32", "float64": "F64"}


class Tables(NamedTuple):
    """The tables of a model that are not in this process.

    Attributes
    ----------
    touched : ndarray of uint32
        As from `Model.touched`.
    rows : callable
        ``rows(name, slots)`` yields rows of params and accumulators of a table in parts. `slots`
        ascend; None means all.
    """

    touched: Slots
    rows: Callable[[str, Slots | None], Iterable[Array]]


def places(settings: Settings, listed: int | None) -> Places:
    """Return the dtype and shape of each tensor, in the order of the file.

    Parameters
    ----------
    settings : Settings
    listed : int or None
        The number of slots that have rows, if not all of them.
    """
    count = settings.n_slots if listed is None else listed
    found: Places = {} if listed is None else {"slots": ("U32", (count,))}
    found |= {name: ("F32", (count, columns)) for name, columns in _columns(settings).items()}
    if settings.intercept:
        found["bias"] = "F32", (1,)
    shapes = tensor_shapes(settings).items()
    found |= {name: (_DTYPES[dtype], shape) for name, (dtype, shape) in shapes}
    # The largest items first, so that all are aligned.
    return dict(sorted(found.items(), key=lambda place: -ITEM_BYTES[place[1][0]]))


def listed_slots(settings: Settings, touched: Slots) -> Slots | None:
    """Return the slots that a file lists; None if it holds all rows, because that is smaller."""
    row_bytes = 4 * sum(_columns(settings).values())
    return touched if len(touched) * (4 + row_bytes) < settings.n_slots * row_bytes else None


def parts(model: Model, slots: Slots | None, tables: Tables | None) -> dict[str, Iterable[Array]]:
    """Return the data of each tensor, in parts; the linear model is computed when it is asked for.

    Parameters
    ----------
    model : Model
    slots : ndarray of uint32, or None
        From `listed_slots`.
    tables : Tables, optional
        See `file_format.write`.
    """
    found: dict[str, Iterable[Array]] = {"linear": _weights(model, slots), "bias": _bias(model)}
    found |= {name: [array] for name, array in model.tensors().items()}
    if slots is not None:
        found["slots"] = [slots]
    if tables is None:
        rows = model.row_tensors().items()
        return found | {name: row_parts(array, slots) for name, array in rows}
    if model.settings.is_penalized:
        pairs = tables.rows("linear", slots)
        found["linear"] = (penalized_weights(model.settings, np.array(some)) for some in pairs)
    of_tables = {name: table_of(name) for name in row_columns(model.settings)}
    return found | {name: tables.rows(table, slots) for name, table in of_tables.items()}


def fill(
    path: StrPath,
    file: FileIO,
    start: int,
    tensors: Mapping[str, Tensor],
    model: Model,
    slots: Slots | None,
) -> None:
    """Read the state of a new model.

    Parameters
    ----------
    path : str or PathLike
    file : FileIO
    start : int
        The position of the data.
    tensors : dict of str to Tensor
        As `places` has them.
    model : Model
    slots : ndarray of uint32, or None
        The slots that have rows, if not all of them.

    Raises
    ------
    TableFileError
        The file ends before, or the state of a mixture is not finite.
    """
    for name, rows in model.row_tensors().items():
        file.seek(start + tensors[name].begin)
        fill_rows(path, file, rows, slots, finite=name in ROW_COLUMNS)
    for name, array in model.tensors().items():
        file.seek(start + tensors[name].begin)
        files.fill(path, file, array.reshape(-1).view(np.uint8).data)


def _columns(settings: Settings) -> dict[str, int]:
    """Return the number of columns of each tensor with a row for each slot."""
    return {"linear": 1} | row_columns(settings)


def _bias(model: Model) -> Iterator[Array]:
    yield np.array([model.linear(np.zeros(1, np.uint32))[1]], np.float32)


def _weights(model: Model, slots: Slots | None) -> Iterator[Array]:
    """Yield the weights of the linear model, of all or some slots, in parts."""
    count = model.settings.n_slots if slots is None else len(slots)
    for part in row_slices(count, 4):
        some = np.arange(part.start, part.stop, dtype=np.uint32) if slots is None else slots[part]
        yield model.linear(some)[0]
