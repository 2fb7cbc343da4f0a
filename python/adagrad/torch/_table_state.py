"""What a `state_dict` has of a table: params, accumulators and the header of its file, as tensors.

The first two share the memory of the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from adagrad.tables import header as file_header
from adagrad.tables.layout import BYTES
from adagrad.tables.table import Table
from adagrad.torch._table_weight import TableWeight, tensor_over, view_or_copy

__all__ = ["KINDS", "StateTensor", "check_state", "earlier_state", "restore_state", "state_of"]

KINDS = ("weight", "accumulator", "header")


class StateTensor(torch.Tensor):
    """A view with gaps that is saved and copied without them.

    Its pickles and deep copies are plain, contiguous tensors: torch.save would write all the memory
    that a view spans.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl

    def untyped_storage(self) -> torch.UntypedStorage:
        """Return a storage at the address of the first element, with the size of all elements.

        safetensors and accelerate look at addresses and sizes of storages for tensors that share
        memory, or are less than their memory, and drop or refuse these.
        """
        whole = self.as_subclass(torch.Tensor).untyped_storage()
        storage: torch.UntypedStorage = whole[: self.numel() * self.element_size()]
        return storage

    def view(self, *shape: Any) -> torch.Tensor:
        """Return the elements in another shape: a copy if a view is impossible."""
        other = view_or_copy(self, *shape)
        if shape != (-1,):
            return other
        flat = other.as_subclass(_Flat)
        flat.whole = self.as_subclass(torch.Tensor)
        return flat

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.as_subclass(torch.Tensor).contiguous().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        found = memo.get(id(self))
        if found is None:
            found = memo[id(self)] = self.as_subclass(torch.Tensor).clone()
        copied: torch.Tensor = found
        return copied


class _Flat(torch.Tensor):
    """A flat copy, whose elements by number are those of the whole.

    safetensors compares the addresses of last elements: a table of two modules is one then.
    """

    whole: torch.Tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __getitem__(self, index: Any) -> torch.Tensor:
        if not isinstance(index, int):
            return super().__getitem__(index)
        row, column = divmod(range(self.numel())[index], self.whole.shape[1])
        return self.whole[row, column]


def state_of(weight: TableWeight, kind: str) -> torch.Tensor:
    """Return what a state has of a table, by its name.

    "header" is the JSON in a file of the table, padded to one length: libraries copy a state onto
    an earlier one, in place. It is new at each call, and what is written to it has no effect.
    """
    table = weight.table
    table._alive()
    with torch.inference_mode(False):
        if kind == "header":
            text = file_header.encode(table._metadata(), *table._layout.tensor)[8:]
            return torch.frombuffer(bytearray(text), dtype=torch.uint8)
        if kind == "weight":
            found = tensor_over(weight.memory, table, 0, table.dim, table.dtype)
        elif _is_aligned(table):
            found = _accumulators(weight)
        else:
            return torch.from_numpy(_unaligned(weight).copy())
        return found.as_subclass(StateTensor)


def _is_aligned(table: Table) -> bool:
    """Return whether a tensor of the accumulators can share the memory of the table."""
    at = table._layout
    size = BYTES[at.state_dtype]
    return at.row_bytes % size == 0 and at.dim * BYTES[at.dtype] % size == 0


def _accumulators(weight: TableWeight) -> torch.Tensor:
    table = weight.table
    at = table._layout
    begin = at.dim * BYTES[at.dtype]
    return tensor_over(weight.memory, table, begin, at.state_length, at.state_dtype)


def _unaligned(weight: TableWeight) -> Any:
    """Return float32 accumulators behind an odd number of 16-bit params."""
    at = weight.table._layout
    shape, strides = (at.rows, at.state_length), (at.row_bytes, 4)
    begin = at.dim * BYTES[at.dtype]
    return np.ndarray(shape, np.float32, weight.memory.data, begin, strides)


def check_state(weight: TableWeight, found: dict[str, Any], key: str) -> Table | None:
    """Raise an error if a state does not fit a table, or cannot be written; return its header.

    Parameters
    ----------
    weight : TableWeight
    found : dict
        Some of `KINDS`.
    key : str
        How messages name the values, with {} for the kind.

    Returns
    -------
    Table or None
        A table without memory, with what the header says.
    """
    table = weight.table
    if found:
        table._writeable()
        weight.check_tied()
    length = {"weight": table.dim, "accumulator": table._layout.state_length}
    for kind, value in found.items():
        name = key.format(kind)
        dispatch = getattr(value, "__torch_dispatch__", None)  # a class such as DTensor has its own
        if dispatch is not torch.Tensor.__torch_dispatch__ or value.layout is not torch.strided:
            raise TypeError(f"{name} must be a dense tensor, got {value!r:.60}")
        if value.is_meta:
            raise ValueError(f"{name} is on device meta, so it has no values")
        if kind != "header":
            if value.shape != (table.rows, length[kind]):
                raise ValueError(
                    f"size mismatch for {name}: its shape is {tuple(value.shape)}, but the table"
                    f" has {(table.rows, length[kind])}"
                )
            if not value.is_floating_point():
                raise TypeError(f"{name} must have a floating dtype, got {value.dtype}")
    if "header" not in found:
        return None
    name, value = key.format("header"), found["header"]
    if value.dtype is not torch.uint8 or value.ndim != 1:
        raise TypeError(f"{name} must be bytes, got {value.dtype} of shape {tuple(value.shape)}")
    read = _read_header(name, value.numpy(force=True).tobytes())
    if read._layout != table._layout:
        raise ValueError(
            f"{name} has another layout: {read._layout}, but the table has {table._layout}; to load"
            " the params alone, remove accumulator and header"
        )
    return read


def _read_header(name: str, text: bytes) -> Table:
    metadata, dtype, shape = file_header.decode(name, text)
    read = Table.__new__(Table)
    read._read(
        name, file_header.Header(metadata, dtype, shape, 0, file_header.data_bytes(dtype, shape))
    )
    return read


def restore_state(weight: TableWeight, found: dict[str, Any], read: Table | None) -> None:
    """Give a table a state that `check_state` has checked."""
    table = weight.table
    with torch.no_grad():
        if "weight" in found:
            weight.copy_(found["weight"])
        if "accumulator" in found:
            values = found["accumulator"].detach()
            if _is_aligned(table):
                _accumulators(weight).copy_(values)
            else:
                _unaligned(weight)[...] = values.float().numpy(force=True)
    if read is not None:
        table.rule, table.seed = read.rule, read.seed
        for name in file_header.COUNTERS:
            setattr(table, name, getattr(read, name))


def earlier_state(key: str, state: object) -> dict[str, torch.Tensor]:
    """Return the state of a table that earlier versions put into an extra state.

    There, "table" has params and accumulators side by side, as bytes if their dtypes differ, and
    "header" is a string.
    """
    if not isinstance(state, dict) or set(state) != {"header", "table"}:
        raise TypeError(f"{key} must be a dict of header and table, got {state!r:.60}")
    header, tensor = state["header"], state["table"]
    if not isinstance(header, str) or not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{key} must have a string as header and a tensor as table")
    text = header.encode()
    at = _read_header(key, text)._layout
    if (
        tensor.ndim != 2
        or len(tensor) != at.rows
        or tensor.element_size() * tensor.shape[1] != at.row_bytes
    ):
        raise ValueError(
            f"{key} has a tensor of {tensor.dtype} and shape {tuple(tensor.shape)}, but its header"
            f" says {at.rows} rows of {at.row_bytes} bytes"
        )
    data = tensor.contiguous().view(torch.uint8)
    end = at.dim * BYTES[at.dtype]
    return {
        "weight": data[:, :end].contiguous().view(getattr(torch, at.dtype)),
        "accumulator": data[:, end:].contiguous().view(getattr(torch, at.state_dtype)),
        "header": torch.frombuffer(bytearray(text), dtype=torch.uint8),
    }
