"""Types of what the encoder and the learners take, for their signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from scipy.sparse import sparray, spmatrix

    from adagrad.ctr.encoding.examples import Examples

__all__ = ["ArrowArray", "ArrowStream", "Columns", "Features", "Matrix", "Rows"]


class ArrowStream(Protocol):
    """Columns that Arrow's PyCapsule interface streams: tables of pyarrow, pandas, polars, ..."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


class ArrowArray(Protocol):
    """Columns of one batch, by Arrow's PyCapsule interface."""

    def __arrow_c_array__(
        self, requested_schema: object | None = None
    ) -> tuple[object, object]: ...


Rows: TypeAlias = "Iterable[Mapping[str, object]]"
"""Rows of Python: a dict for each, with the names of columns."""

Columns: TypeAlias = "ArrowStream | ArrowArray | Mapping[str, ArrayLike] | ArrayLike | Rows"
"""Columns with names or numbers: an Arrow table, a DataFrame, a dict of arrays, an array, rows."""

Matrix: TypeAlias = "spmatrix | sparray | ArrayLike"
"""Numbers, with a column for each slot."""

Features: TypeAlias = "Examples | Matrix | Columns"
"""What a learner takes as X: examples, a matrix, or columns for its encoder."""
