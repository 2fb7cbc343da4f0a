"""Types of what the encoder and the learners take, for their signatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias, Union

import numpy.typing as npt

__all__ = ["ArrowArray", "ArrowStream", "Columns"]


class ArrowStream(Protocol):
    """Columns that Arrow's PyCapsule interface streams: tables of pyarrow, pandas, polars, ..."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


class ArrowArray(Protocol):
    """Columns of one batch, by Arrow's PyCapsule interface."""

    def __arrow_c_array__(
        self, requested_schema: object | None = None
    ) -> tuple[object, object]: ...


Columns: TypeAlias = Union[ArrowStream, ArrowArray, Mapping[str, npt.ArrayLike]]  # noqa: UP007
"""Named columns: an Arrow table, a DataFrame, or a dict of arrays."""
