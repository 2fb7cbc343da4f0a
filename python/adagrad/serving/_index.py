"""Which slots the rows of a file are of, and the tensors in which they are stored.

The file of a model that can be trained lists them. An export has the lower bits of each slot, and
where each bucket of slots starts.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad.serving._description import FORMAT
from adagrad.tables.tensors import ITEM_BYTES, Tensor, strict_json

__all__ = ["Index", "index_of"]

Slots = npt.NDArray[np.uint32]
Arrays = dict[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class Index:
    """How the slots of a file are stored.

    Attributes
    ----------
    names : tuple of str
        The tensors that hold them.
    rows : int
        Number of slots.
    bucket : int
        Slots of a bucket; 0 in a file without buckets.
    buckets : int
    low : str
        Dtype of the lower bits.
    """

    names: tuple[str, ...]
    rows: int
    bucket: int = 0
    buckets: int = 0
    low: str = "u1"

    def slots(self, tensors: Arrays) -> Slots | None:
        """Return the slots in some tensors, ascending; None if they cannot be."""
        if not self.bucket:
            slots: npt.NDArray[Any] = tensors["slots"].astype(np.int64)
        else:
            starts = tensors["starts"].astype(np.int64)
            sizes = starts[1:] - starts[:-1]
            if (sizes < 0).any() or starts[0] != 0 or starts[-1] != self.rows:
                return None
            slots = np.repeat(np.arange(self.buckets) * self.bucket, sizes) + tensors["low"]
        if (slots[1:] <= slots[:-1]).any() or slots.max(initial=0) >= 1 << 32:
            return None
        return slots.astype(np.uint32)

    def tensors(self, slots: Slots) -> Arrays:
        """Return the tensors that hold some slots."""
        if not self.bucket:
            return {"slots": slots}
        if slots.max(initial=0) >= self.bucket * self.buckets:
            raise ValueError("a slot is beyond the last bucket")
        counts = np.bincount(slots // np.uint32(self.bucket), minlength=self.buckets)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32)
        return {"starts": starts, "low": (slots % np.uint32(self.bucket)).astype(self.low)}


def index_of(metadata: dict[str, str], tensors: dict[str, Tensor]) -> Index | None:
    """Return the index of a file, if it has one."""
    listed = tensors.get("slots")
    if listed is not None and listed.dtype == "U32" and len(listed.shape) == 1:
        return Index(("slots",), listed.shape[0])
    starts, low = tensors.get("starts"), tensors.get("low")
    if metadata.get("format") != FORMAT or starts is None or low is None:
        return None
    try:
        bucket = strict_json(metadata["model"])["bucket"]
    except (KeyError, TypeError, ValueError):
        return None
    vectors = len(starts.shape) == len(low.shape) == 1 and starts.shape[0] > 1
    if not vectors or starts.dtype != "U32" or low.dtype not in ("U8", "U16"):
        return None
    if type(bucket) is not int or not 1 <= bucket <= 1 << 16:
        return None
    return Index(
        ("starts", "low"),
        low.shape[0],
        bucket,
        starts.shape[0] - 1,
        f"<u{ITEM_BYTES[low.dtype]}",
    )
