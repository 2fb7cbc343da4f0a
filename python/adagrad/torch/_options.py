"""The options that `TableEmbeddingBag` has from `torch.nn.EmbeddingBag`: checks, and their repr."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

from adagrad._arguments import check_flag, check_real

if TYPE_CHECKING:
    from adagrad.torch.embedding import TableEmbeddingBag

__all__ = ["BagMode", "Reduction", "check_norm", "check_reduction", "describe"]

BagMode = Literal["mean", "sum", "max"]


class Reduction(NamedTuple):
    """How a bag is reduced, and whether gradients are divided by how often their id occurs."""

    mode: BagMode
    scale_grad_by_freq: bool


def check_reduction(mode: BagMode, scale_grad_by_freq: bool) -> Reduction:
    """Return the checked arguments."""
    if mode not in ("mean", "sum", "max"):
        raise ValueError(f"mode must be 'mean', 'sum' or 'max', got {mode!r}")
    if check_flag("scale_grad_by_freq", scale_grad_by_freq) and mode == "max":
        raise ValueError("scale_grad_by_freq must be False with mode='max', as in torch")
    return Reduction(mode, bool(scale_grad_by_freq))


def check_norm(max_norm: float | None, norm_type: float) -> tuple[float | None, float]:
    """Return the checked arguments."""
    most = None if max_norm is None else _check_positive("max_norm", max_norm)
    return most, _check_positive("norm_type", norm_type)


def _check_positive(name: str, value: float) -> float:
    """Return a positive number, which may be infinite."""
    number = value if value == math.inf else check_real(name, value)
    if number == 0.0:
        raise ValueError(f"{name} must be positive, got {value!r}")
    return float(number)


def describe(bags: TableEmbeddingBag) -> str:
    """Return what torch's module shows of itself, and the tables."""
    options = [] if bags.max_norm is None else [f"max_norm={bags.max_norm!r}"]
    options += [] if bags.norm_type == 2.0 else [f"norm_type={bags.norm_type!r}"]
    options += ["scale_grad_by_freq=True"] if bags.scale_grad_by_freq else []
    options += [f"mode={bags.mode!r}"]
    options += ["include_last_offset=True"] if bags.include_last_offset else []
    options += [] if bags.padding_idx is None else [f"padding_idx={bags.padding_idx}"]
    options += [] if bags.requires_grad else ["requires_grad=False"]
    if len(bags.tables) > 1:
        return "\n".join([", ".join(options), *(f"({t}): {x}" for t, x in enumerate(bags.tables))])
    (table,) = bags.tables
    return ", ".join([str(table.rows), str(table.dim), *options, repr(table)])
