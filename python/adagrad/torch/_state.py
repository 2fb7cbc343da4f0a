"""Checks of what an optimizer of PyTorch's is given: numbers, accumulators, entries of a state."""

from __future__ import annotations

import numbers
from typing import Any

import torch


def as_number(name: str, value: float | torch.Tensor | None) -> Any:
    """Return the value of a tensor of one element, and what is no tensor as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.numel() != 1:
        raise ValueError(f"{name} must have one element, got shape {tuple(value.shape)}")
    return value.item()


def check_sum(name: str, s: torch.Tensor) -> None:
    """Raise where an accumulator is negative, NaN, or too large for its dtype."""
    if s.numel() and not (s.min() >= 0.0 and s.max() < torch.inf):  # min is NaN where any is
        at = (~((s >= 0.0) & (s < torch.inf))).nonzero()[0].tolist()
        raise ValueError(
            f"{name} has an accumulator that is {s[tuple(at)].item()} at {at} in {s.dtype}; it must"
            " be finite and not negative"
        )


def read_entries(name: str, entries: dict[str, Any], new: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return a param's entries of a state, the accumulator in `new`, or raise."""
    if not (isinstance(entries, dict) and {"step", "sum"} <= entries.keys()):
        raise ValueError(
            f"{name} has {', '.join(map(repr, entries))} in the state, and 'step' and 'sum' are"
            " needed: it is of another optimizer"
        )
    s, step = entries["sum"], entries["step"]
    if not (isinstance(s, torch.Tensor) and s.layout is torch.strided and s.is_floating_point()):
        kind = f"{s.dtype}, {s.layout}" if isinstance(s, torch.Tensor) else type(s).__name__
        raise TypeError(
            f"{name} needs an accumulator that is a strided tensor of a floating dtype, but that of"
            f" the state is of {kind}"
        )
    if s.shape != new.shape:
        raise ValueError(
            f"{name} needs an accumulator of shape {tuple(new.shape)}, but that of the state has"
            f" {tuple(s.shape)}"
        )
    number = as_number(f"step of {name}", step)
    is_number = isinstance(number, numbers.Real) and not isinstance(number, bool)
    if not (is_number and number >= 0 and float(number).is_integer()):
        raise ValueError(
            f"{name} has step number {number!r} in the state; it must be an integer from 0"
        )
    check_sum(name, new.copy_(s))
    return {"step": torch.tensor(float(number), dtype=torch.float64, device="cpu"), "sum": new}
