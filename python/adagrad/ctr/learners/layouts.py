"""The state of a model by name: tables and tensors, their shapes, and the rows of a new model."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad.ctr.encoding.examples import REGIONS
from adagrad.ctr.learners.mixture import ROW_COLUMNS, Mixture
from adagrad.ctr.learners.pairs import PairMixing
from adagrad.ctr.learners.progressive import Progressive
from adagrad.ctr.learners.settings import Settings

__all__ = [
    "layouts",
    "new_rows",
    "parts_of_fields",
    "row_columns",
    "table_of",
    "tensor_of",
    "tensor_shapes",
]

Floats = npt.NDArray[np.float32]

_FTRL = "ftrl"  # the tensor of the table "linear" of a model with penalties


def layouts(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the arguments of each table of a model, besides its rows and rule."""
    k, scale = settings.factors, settings.init_scale
    tables: dict[str, dict[str, Any]] = {} if settings.rule is None else {"linear": {"dim": 1}}
    drawn = {"init": "normal", "init_scale": scale}
    if settings.kind == "fm":
        tables["factors"] = {"dim": k, "seed": settings.seed, **drawn}
    elif settings.kind == "ffm":
        part_of_field, _ = parts_of_fields(settings)
        for part in range(settings.parts):
            dim = max(1, part_of_field.count(part)) * k
            tables[f"factors{part}"] = {"dim": dim, "seed": settings.seed + part, **drawn}
    return tables


def parts_of_fields(settings: Settings) -> tuple[list[int], list[int]]:
    """Return the part of each field, and its position among the fields of that part."""
    half = REGIONS // settings.parts
    part_of_field = [field % REGIONS // half for field in range(settings.n_fields)]
    places, taken = [], [0] * settings.parts
    for part in part_of_field:
        places.append(taken[part])
        taken[part] += 1
    return part_of_field, places


def table_of(tensor: str) -> str:
    """Return the table of one of a model's `Model.row_tensors`."""
    return "linear" if tensor == _FTRL else tensor


def tensor_of(table: str, settings: Settings) -> str:
    """Return the name in `Model.row_tensors` of one of a model's tables."""
    return _FTRL if table == "linear" and settings.is_penalized else table


def row_columns(settings: Settings) -> dict[str, int]:
    """Return the number of columns of each of a model's `Model.row_tensors`."""
    columns = {
        tensor_of(name, settings): 2 * layout["dim"] for name, layout in layouts(settings).items()
    }
    return {**ROW_COLUMNS, **columns} if settings.rule is None else columns


def tensor_shapes(settings: Settings) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the dtype and the shape of each of a model's `Model.tensors`."""
    scores = Progressive().state()
    shapes = {name: (array.dtype.name, array.shape) for name, array in scores.items()}
    if settings.rule is None:
        pairs = {} if settings.kind == "lr" else PairMixing.tensor_shapes()
        return Mixture.tensor_shapes(settings.intercept) | pairs | shapes
    return {"bias": ("float32", (2,)), **shapes} if settings.intercept else shapes


def new_rows(settings: Settings, name: str, first: int, last: int) -> Floats:
    """Return the rows [first, last) of a table of a new model, or one if they are all alike."""
    of_table = table_of(name)
    layout = layouts(settings)[of_table]
    start = settings.rule_of(of_table).initial_accumulator
    dim = layout["dim"]
    if "init" not in layout:
        return np.array([[0.0] * dim + [start] * dim], np.float32)
    rows = np.empty((last - first, 2 * dim), np.float32)
    memory = rows.reshape(-1).view(np.uint8)
    table = _core.Table(memory, last - first, dim, "float32", False, False, False, first)
    table.initialise(layout["init"], layout["init_scale"], layout["seed"], start, 0)
    return rows
