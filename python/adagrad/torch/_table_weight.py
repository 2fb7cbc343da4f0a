"""`TableWeight`: the params of a table as a parameter of torch, in the memory of the table."""

from __future__ import annotations

import copy
import weakref
from typing import Any

import numpy as np
import torch

from adagrad.tables.layout import BYTES
from adagrad.tables.table import Table

__all__ = ["TableWeight", "dtype_name", "tensor_over", "view_or_copy", "weight_of"]

# The dtypes of tables. NumPy has no bfloat16, so that torch looks at its bits as another.
_DTYPES = {
    "float64": (np.float64, torch.float64),
    "float32": (np.float32, torch.float32),
    "float16": (np.float16, torch.float16),
    "bfloat16": (np.int16, torch.bfloat16),
}
# One weight per table: averages, for example, must not visit the memory of a table twice.
_WEIGHTS: weakref.WeakValueDictionary[int, TableWeight] = weakref.WeakValueDictionary()


class TableWeight(torch.nn.Parameter):
    """The params of a table, where torch looks for the parameters of a module.

    It is a view: what is written to it is written to the table, and a step of the table shows in
    it. Steps leave `grad` None, so that optimizers leave it alone. A copy or pickle of it is the
    weight of a copy of the table. Make it by `weight_of`.

    Attributes
    ----------
    table : Table
    memory : ndarray of uint8
        What it is a view of. For a table of mode "r" that is a copy-on-write map of the file.
    """

    table: Table
    memory: Any
    _begin: int
    _seen: int
    _shown: weakref.WeakValueDictionary[int, torch.Tensor]

    __torch_function__ = torch._C._disabled_torch_function_impl

    # Not Parameter.data, by which torch replaces the memory of a parameter.
    @property
    def data(self) -> torch.Tensor:
        """The tensor without autograd. What is assigned is copied into the table."""
        # What detach() returns shares the version, which tells that a private weight was written.
        data: torch.Tensor = self.detach() if self.is_private else torch.Tensor.data.__get__(self)
        self._shown[id(data)] = data
        return data

    @data.setter
    def data(self, value: torch.Tensor) -> None:
        if value.shape != self.shape:
            raise ValueError(
                f"the weight of a table has shape {tuple(self.shape)} and cannot become one of"
                f" {tuple(value.shape)}: make another table"
            )
        self.table._writeable()
        if self._shown.get(id(value)) is value:
            return
        if self._shown:
            raise RuntimeError(
                "what is assigned to the data of a table's weight is copied, which would change an"
                " earlier weight.data that is still held: hold weight.data.clone() instead"
            )
        self.data.copy_(value)

    def view(self, *shape: Any) -> torch.Tensor:
        """Return the elements in another shape: a copy if a view is impossible."""
        return view_or_copy(self, *shape)

    def share_memory_(self) -> TableWeight:
        """Raise RuntimeError: the memory of a table does not move."""
        raise RuntimeError(
            "a table cannot be moved to shared memory: train it in one process, with"
            " adagrad.set_num_threads"
        )

    @property
    def is_tied(self) -> bool:
        """Whether it is still in the memory of its table."""
        return bool(self.data_ptr() == self._begin)

    def check_tied(self) -> None:
        """Raise RuntimeError if torch has moved it out of the memory of its table."""
        if not self.is_tied:
            raise RuntimeError(
                "the weight of a table has left its memory, because of set_(), share_memory_() or a"
                " queue of torch.multiprocessing: give them a clone(), and assign the attribute"
                " tables of the module again"
            )

    @property
    def is_private(self) -> bool:
        """Whether changes do not reach the table, which is only read."""
        return self.table._is_read_only

    def check_unwritten(self) -> None:
        """Raise if it was written although its table is only read."""
        if not self.is_private or self._version == self._seen:
            return
        if not np.array_equal(self.memory, self.table._alive()):
            raise ValueError(
                f"the weight of {self.table.path} was written, but the table was opened with"
                " mode='r', which only reads: open it with mode='r+' to change it"
            )
        self._seen = self._version

    def __deepcopy__(self, memo: dict[int, Any]) -> TableWeight:
        found = memo.get(id(self))
        if found is None:
            found = weight_of(copy.deepcopy(self.table, memo), self.requires_grad)
            memo[id(self)] = found
        copied: TableWeight = found
        return copied

    def __repr__(self) -> str:
        return f"TableWeight of {self.table!r}:\n{self.data!r}"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return weight_of, (self.table, self.requires_grad)


def weight_of(table: Table, requires_grad: bool = True) -> TableWeight:
    """Return the weight of a table, which is made at the first call.

    Parameters
    ----------
    table : Table
        A mapped table is reserved for writing, unless it was opened with mode "r".
    requires_grad : bool, default True
        Of a new weight.

    Returns
    -------
    TableWeight
        Of shape [rows, dim].

    Raises
    ------
    ValueError
        If the table is closed.
    BlockingIOError, OSError
        If its file cannot be reserved.
    """
    found = _WEIGHTS.get(id(table))
    is_open = table._memory is not None
    if found is not None and found.table is table and is_open and found.is_tied:
        return found
    mapping = table._mapping
    is_changed = mapping is None or mapping.mode == "r+"
    memory = table._writeable() if is_changed else mapping.private()  # type: ignore[union-attr]
    with torch.inference_mode(False):
        data = tensor_over(memory, table, 0, table.dim, table.dtype)
        weight: TableWeight = torch.Tensor._make_subclass(TableWeight, data, requires_grad)
    weight.table, weight.memory, weight._begin = table, memory, weight.data_ptr()
    weight._seen, weight._shown = weight._version, weakref.WeakValueDictionary()
    _WEIGHTS[id(table)] = weight
    return weight


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name that tables and NumPy give to a dtype of torch."""
    return str(dtype).removeprefix("torch.")


def view_or_copy(tensor: torch.Tensor, *shape: Any) -> torch.Tensor:
    """Return ``tensor.view(*shape)``, which tools call with -1 to flatten; there are gaps."""
    if len(shape) == 1 and isinstance(shape[0], torch.dtype):
        return torch.Tensor.view(tensor, *shape)
    return tensor.reshape(*shape)


def tensor_over(memory: Any, table: Table, begin: int, length: int, dtype: str) -> torch.Tensor:
    """Return `length` elements of each row of a table as a tensor that shares the memory."""
    numpy_dtype, torch_dtype = _DTYPES[dtype]
    strides = (table._layout.row_bytes, BYTES[dtype])
    array: Any = np.ndarray((table.rows, length), numpy_dtype, memory.data, begin, strides)
    tensor = torch.from_numpy(array)
    return tensor if tensor.dtype is torch_dtype else tensor.view(torch_dtype)
