"""The reverse of encoding: the values in each slot, and the slots that values share.

`HashingEncoder` calls these functions on a sample, because it does not remember values itself.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import adagrad._core as _core
from adagrad._arrow import as_list
from adagrad.ctr.encoding.examples import REGIONS

__all__ = ["collisions", "inverse"]


def collisions(
    hasher: _core.Hasher, table: pa.Table, names: Sequence[str], region_size: int
) -> dict[str, dict[str, float]]:
    """Implement `HashingEncoder.collisions`. Values are distinguished by their 64-bit hashes."""
    fields = []
    for hashes, slots, _ in hasher.hashes(table.to_batches()):
        _, first = np.unique(hashes, return_index=True)
        fields.append(slots[first])
    homes = [[first + step * k for k in range(count)] for first, step, count in hasher.homes()]
    # Log of the probability that a slot of each region stays free of all values hashed to it.
    free = np.zeros(REGIONS)
    for slots, home in zip(fields, homes, strict=True):
        free[home] += len(slots) * math.log1p(-1 / (len(home) * region_size))
    shared = np.split(_is_shared(np.concatenate(fields)), np.cumsum([len(f) for f in fields])[:-1])
    report = {}
    for name, slots, home, others in zip(names, fields, homes, shared, strict=True):
        n = len(slots)
        alone = math.log1p(-1 / (len(home) * region_size))
        report[name] = {
            "values": n,
            "slots": len(np.unique(slots)),
            "shared_within": float(_is_shared(slots).mean()) if n else 0.0,
            "shared": float(others.mean()) if n else 0.0,
            "expected_within": -math.expm1((n - 1) * alone) if n else 0.0,
            "expected": float(-np.expm1(free[home] - alone).mean()) if n else 0.0,
        }
    return report


def _is_shared(slots: np.typing.NDArray[np.uint32]) -> np.typing.NDArray[np.bool_]:
    _, place, counts = np.unique(slots, return_inverse=True, return_counts=True)
    return np.asarray(counts[place] > 1)


def inverse(
    hasher: _core.Hasher,
    table: pa.Table,
    kinds: Mapping[str, str | None],
    fields: Mapping[str, Sequence[str]],
    with_missing: bool,
) -> dict[int, list[tuple[str, Any]]]:
    """Implement `HashingEncoder.inverse` for `fields`: the columns of each field and cross."""
    found: dict[int, list[tuple[str, Any]]] = {}
    per_field = hasher.hashes(table.to_batches())
    for (name, parts), (hashes, slots, lengths) in zip(fields.items(), per_field, strict=True):
        _, first = np.unique(hashes, return_index=True)
        first.sort()
        ends = np.cumsum(lengths, dtype=np.int64)
        rows = np.searchsorted(ends, first, side="right")
        columns = [_as_lists(table.column(part)).take(rows).to_pylist() for part in parts]
        begins = ends[rows] - lengths[rows]
        for row, (entry, begin) in enumerate(zip(first, begins, strict=True)):
            values = itertools.product(
                *(
                    _entries(column[row], kinds[part], with_missing)
                    for part, column in zip(parts, columns, strict=True)
                )
            )
            value = next(itertools.islice(values, int(entry - begin), None))
            found.setdefault(int(slots[entry]), []).append(
                (name, value[0] if len(parts) == 1 else value)
            )
    return found


def _as_lists(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return maps as the lists of their keys with values, and other columns without views.

    pyarrow 26 takes no values from views.
    """
    if pa.types.is_map(column.type):
        lists = [as_list(chunk, _if_there(chunk.keys, chunk.items)) for chunk in column.chunks]
        return pa.chunked_array(lists, pa.list_(column.type.key_type))
    return _without_views(column)


def _if_there(keys: pa.Array, items: pa.Array) -> pa.Array:
    """Return the keys that have a value, and null for the others."""
    return pc.if_else(items.is_valid(), keys, None) if items.null_count else keys


def _without_views(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts that are views as large texts."""
    wide = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    kind = column.type
    if kind in wide:
        return column.cast(wide[kind])
    if getattr(kind, "value_type", None) in wide and not pa.types.is_dictionary(kind):
        return column.cast(pa.large_list(wide[kind.value_type]))
    return column


def _entries(value: Any, kind: str | None, with_missing: bool) -> list[Any]:
    """Return a readable value for each entry of a cell."""
    if isinstance(value, list):
        return [_text(item, kind) for item in value if not _is_missing(item)]
    if _is_missing(value):
        return [None] if with_missing else []
    return [_text(value, kind)]


def _is_missing(value: Any) -> bool:
    return value is None or value != value


def _text(value: Any, kind: str | None) -> Any:
    """Return the value, or the name of what its kind encodes instead."""
    if kind == "value":
        return "value"
    if kind != "log2-bins":
        return value
    # The upper 13 bits of a float64 are the number of its bin; see `HashingEncoder`.
    size = abs(float(value))
    word = struct.unpack("<Q", struct.pack("<d", size))[0] >> 51
    if word == 0 or math.isinf(size):
        return f"{value:g}" if word else "0"
    low, high = struct.unpack("<2d", struct.pack("<2Q", word << 51, (word + 1) << 51))
    return f"[{low:g}, {high:g})" if value > 0 else f"(-{high:g}, -{low:g}]"
