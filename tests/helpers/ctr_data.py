"""Random examples and labels for the tests of adagrad.ctr."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad.ctr import Examples
from adagrad.ctr.encoding.examples import REGIONS, region_size
from adagrad.ctr.learners.model import Model

Array = npt.NDArray[Any]


def batch(
    rng: np.random.Generator,
    n: int,
    n_slots: int,
    *,
    fixed: bool = False,
    values: bool = False,
    most: int = 3,
) -> Examples:
    """Return examples with up to `most` entries per region; unless `fixed`, some are empty."""
    size = region_size(n_slots)
    room = np.clip(n_slots - np.arange(REGIONS) * size, 0, size)
    if fixed:
        runs = rng.integers(0, most + 1, REGIONS) * (room > 0)
        bounds = np.concatenate([[0], np.cumsum(runs)])
        runs = np.tile(runs, n)
    else:
        runs = rng.integers(0, most + 1, (n, REGIONS)) * (room > 0)
        runs[rng.random(n) < 1 / 6] = 0
        runs = runs.reshape(-1)
        bounds = np.concatenate([[0], np.cumsum(runs)])
    region = np.repeat(np.tile(np.arange(REGIONS), n), runs)
    slots = region * size + rng.integers(0, np.maximum(room, 1)[region])
    return Examples(
        slots.astype(np.uint32),
        bounds.astype(np.uint32),
        n_slots,
        n,
        values=rng.standard_normal(len(slots)).astype(np.float32) if values else None,
    )


def columns_as_fields(x: Examples) -> Examples:
    """Return the same examples, in which the slot of an entry is also its field."""
    fields = x.slots.astype(np.uint16)
    how = {"values": x.values, "fields": fields, "n_fields": x.n_slots}
    return Examples(x.slots, x.bounds, x.n_slots, len(x), **how)


def labels(rng: np.random.Generator, x: Examples, rate: float = 0.3) -> Array:
    """Return labels that depend on the slots, with noise."""
    taste = np.random.default_rng(7).standard_normal(x.n_slots)
    indptr = x.indptr
    terms = np.concatenate([[0.0], np.cumsum(taste[x.slots])])
    score = terms[indptr[1:]] - terms[indptr[:-1]] + rng.standard_normal(len(x))
    return (score > np.quantile(score, 1 - rate)).astype(np.float32)


def learned(model: Model) -> dict[str, Array]:
    """Every array that a model learns in, by name."""
    arrays = {name: table._memory for name, table in model.tables.items()}
    if model.bias is not None:
        arrays["bias"] = model.bias
    if model.mixture is not None:
        arrays |= {"experts": model.mixture.rows, "mixing": model.mixture.state}
        if model.mixture.bias is not None:
            arrays["bias"] = model.mixture.bias
    if model.pair_mixing is not None:
        arrays["pairs"] = model.pair_mixing.state
    return arrays | model.progressive.state()


def bits(model: Model) -> dict[str, bytes]:
    """The same, as bytes."""
    return {name: array.tobytes() for name, array in learned(model).items()}
