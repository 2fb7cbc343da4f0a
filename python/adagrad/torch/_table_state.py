"""The state of a `Table` in a `state_dict`: its memory as a tensor, and the header of its file."""

from __future__ import annotations

from typing import Any

import torch

from adagrad.tables import header as file_header
from adagrad.tables.table import Table

__all__ = ["read_state", "restore_state", "state_of"]

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "U8": torch.uint8,
}


def _memory_of(table: Table) -> torch.Tensor:
    """Return the memory of a table, or a copy that cannot be written, as in its file."""
    dtype, shape = table._layout.tensor
    memory = table._alive()
    if not memory.flags.writeable:  # of a mapped table that is only read, so far
        memory = memory.copy()
    return torch.from_numpy(memory).view(_DTYPES[dtype]).view(shape)


def state_of(table: Table) -> dict[str, Any]:
    """Return the header and the memory, as a tensor that shares it."""
    header = file_header.encode(table._metadata(), *table._layout.tensor)
    return {"header": header[8:].decode().rstrip(), "table": _memory_of(table)}


def read_state(name: str, table: Table, state: object) -> tuple[Table, torch.Tensor]:
    """Check a state for a table; return a table without memory, and the tensor of the memory."""
    if not isinstance(state, dict) or set(state) != {"header", "table"}:
        raise TypeError(f"{name} must be a dict of header and table, got {state!r:.60}")
    header, tensor = state["header"], state["table"]
    if not isinstance(header, str) or not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must have a string as header and a tensor as table")
    metadata, dtype, shape = file_header.decode(name, header.encode())
    read = Table.__new__(Table)
    read._read(
        name, file_header.Header(metadata, dtype, shape, 0, file_header.data_bytes(dtype, shape))
    )
    if read._layout != table._layout:
        raise ValueError(
            f"{name} has another layout: {read._layout}, but the table has {table._layout}"
        )
    if tensor.shape != shape or tensor.dtype != _DTYPES[dtype]:
        raise ValueError(
            f"{name} has a tensor of {tensor.dtype} and shape {tuple(tensor.shape)}, but its"
            f" header says {_DTYPES[dtype]} and {shape}"
        )
    table._writeable()
    return read, tensor


def restore_state(table: Table, read: Table, memory: torch.Tensor) -> None:
    """Give a table what `read_state` has returned."""
    _memory_of(table).copy_(memory)
    table.rule, table.seed = read.rule, read.seed
    for name in file_header.COUNTERS:
        setattr(table, name, getattr(read, name))
