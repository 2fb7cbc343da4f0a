"""The memory layout of a table, and the checks of the arguments that shape it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from adagrad._arguments import check_integer
from adagrad.rule import AccumulatorShape, check_choice

BYTES = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}
_TENSOR = {"float32": "F32", "float64": "F64", "bfloat16": "BF16", "float16": "F16"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layout of a row: its params, then its accumulators, without padding."""

    rows: int
    dim: int
    dtype: str
    state: AccumulatorShape
    state_dtype: str

    @property
    def state_length(self) -> int:
        """Accumulators per row."""
        return self.dim if self.state == "element" else 1

    @property
    def row_bytes(self) -> int:
        """Bytes per row, params and accumulators."""
        return self.dim * BYTES[self.dtype] + self.state_length * BYTES[self.state_dtype]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole table."""
        return self.rows * self.row_bytes

    @property
    def tensor(self) -> tuple[str, tuple[int, int]]:
        """The dtype and shape of the tensor in a file: bytes if the two dtypes differ."""
        if self.dtype == self.state_dtype:
            return _TENSOR[self.dtype], (self.rows, self.dim + self.state_length)
        return "U8", (self.rows, self.row_bytes)


def check_layout(
    rows: object, dim: object, dtype: object, state: object, state_dtype: object
) -> Layout:
    """Check the arguments that shape a table."""
    check_choice("accumulator", state, "state")
    known = ", ".join(repr(name) for name in BYTES)
    dtype = "float32" if dtype is None else name_of(dtype)
    if dtype not in BYTES:
        raise ValueError(f"dtype must be one of {known}, got {dtype!r}")
    is_half = BYTES[dtype] == 2
    if state_dtype is None:
        state_dtype = "float32" if is_half else dtype
    state_dtype = name_of(state_dtype)
    allowed = ("float32", dtype) if is_half else (dtype,)
    if state_dtype not in allowed:
        choices = " or ".join(repr(name) for name in allowed)
        raise ValueError(f"state_dtype must be {choices} for dtype {dtype!r}, got {state_dtype!r}")
    layout = Layout(
        check_integer("rows", rows, 1, 2**63 - 1),
        check_integer("dim", 1 if dim is None else dim, 1, 2**63 - 1),
        dtype,
        state,  # type: ignore[arg-type]
        state_dtype,
    )
    if layout.nbytes > 2**63 - 1:
        raise ValueError(
            f"a table of {layout.rows} rows of {layout.row_bytes} bytes exceeds 2**63 - 1 bytes"
        )
    return layout


def name_of(dtype: Any) -> str:
    """Return the name of a dtype, bfloat16 included."""
    if isinstance(dtype, str):
        return dtype
    try:
        return str(np.dtype(dtype).name)
    except TypeError as error:
        raise TypeError(f"dtype must be a dtype or the name of one, got {dtype!r}") from error


def dtype_of(name: str) -> np.dtype[Any]:
    """Return the NumPy dtype of a name; bfloat16 needs ml_dtypes."""
    if name != "bfloat16":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError as error:
        raise ImportError(
            "a view of bfloat16 needs the package ml_dtypes; gather() returns float32 without it"
        ) from error
    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bfloat16
