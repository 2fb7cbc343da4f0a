"""What turns the rows of a log into examples: a hashing encoder, or the slots of a libsvm log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from adagrad._hashing import hash_ids
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.logs.libsvm import FEATURES, IDS, VALUES

if TYPE_CHECKING:
    from adagrad.ctr.learners.estimator import ClickLearner

__all__ = ["Encoder", "SlotEncoder", "encoder_of", "is_libsvm", "plain"]


class Encoder(Protocol):
    """Turns columns into examples: a `HashingEncoder` or a `SlotEncoder`."""

    def transform(self, X: Any) -> Examples:
        """Encode a table or a record batch."""
        ...


def plain(encoder: Encoder) -> Encoder:
    """Return the encoder that another process gets, which does not need scikit-learn."""
    return encoder.plain() if hasattr(encoder, "plain") else encoder


class SlotEncoder:
    """Encode libsvm logs, whose ids are slots already; an id beyond the table is hashed into it.

    Parameters
    ----------
    n_slots : int
        Size of the table. An id of `n_slots` or more goes to slot
        ``(id * 0x9E3779B97F4A7C15 mod 2**64) >> (64 - log2(n_slots))``.
    hashes : bool, default True
        Whether to do so, for which `n_slots` must be a power of two. If not, such an id raises
        ValueError: the slots are the columns of a matrix.
    """

    def __init__(self, n_slots: int, *, hashes: bool = True) -> None:
        self.n_slots, self.hashes = n_slots, hashes

    def transform(self, X: pa.RecordBatch | pa.Table) -> Examples:
        """Encode the columns ``ids`` and ``values``, lists of int64 and float32. O(entries).

        Raises
        ------
        ValueError
            A row has an id that is negative or missing, or another number of values than of ids.
        """
        import scipy.sparse

        ids, values = X.column(IDS), X.column(VALUES)
        if isinstance(X, pa.Table):
            ids, values = ids.combine_chunks(), values.combine_chunks()
        counts, others = (
            pc.list_value_length(lists).fill_null(0).to_numpy() for lists in (ids, values)
        )
        entries, numbers = ids.flatten(), values.flatten()
        if (counts != others).any() or entries.null_count or numbers.null_count:
            raise ValueError(f"each row needs as many numbers in {VALUES!r} as in {IDS!r}")
        known = entries.to_numpy()
        if known.min(initial=0) < 0:
            raise ValueError(f"column {IDS!r} has {known.min()}, but ids are not negative")
        ends = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        matrix = scipy.sparse.csr_matrix(
            (numbers.to_numpy(), self.slots(known), ends), shape=(len(X), self.n_slots)
        )
        return Examples.from_csr(matrix)

    def slots(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the slot of each id."""
        if not self.hashes and len(ids) and (most := int(ids.max())) >= self.n_slots:
            raise ValueError(
                f"the id {most} is beyond the model, which learned from a matrix of {self.n_slots}"
                " columns: its ids are the columns, counted from 0"
            )
        return np.where(ids < self.n_slots, ids, hash_ids(ids, self.n_slots.bit_length() - 1))


def encoder_of(estimator: ClickLearner) -> Encoder:
    """Return the encoder of an estimator, or for one without, that of libsvm logs."""
    if estimator.encoder is not None:
        encoder: Encoder = estimator.encoder
        return encoder
    return SlotEncoder(estimator._model.settings.n_slots)


def is_libsvm(schema: pa.Schema, label: str | None) -> bool:
    """Return whether a log has exactly the columns that `open_log` gives to libsvm files."""
    types = {field.name: field.type for field in schema if field.name != label}
    return types == {field.name: field.type for field in FEATURES}
