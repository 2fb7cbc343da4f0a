"""The calls of the core that make up an optimizer step, on NumPy views of torch's memory.

A step checks all its calls before it runs the first. Used by `adagrad.torch.Adagrad`, and by
`adagrad.keras.Adagrad` on torch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import adagrad._core as _core
from adagrad.rule import Rule
from adagrad.torch._slots import BFLOAT16, PLAIN, Slot, array_of, is_distributed

# How other libraries read tensors, since torch 2.10.
_EXCHANGE = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)

# Rates up to this are 0 in float32. The core refuses them; torch steps by 0.
_ROUNDS_TO_0 = 2.0**-150

Triple = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]
# An array, whether it is written, and the number of its param.
Used = tuple[npt.NDArray[Any], bool, int]

_OVERLAP = (
    "Adagrad.step: memory of params[{}], its gradient or its accumulator overlaps memory that this"
    " step writes"
)


def plain_triples(
    params: list[torch.Tensor],
    state: dict[torch.Tensor, Any],
    slots: list[Slot | None],
    grads: list[torch.Tensor | None],
) -> list[Triple | None]:
    """Return the arrays of dense steps; None for a param that needs a look of its own.

    Nothing kept is trusted: one call of the core compares addresses, shapes, strides and dtypes of
    params and states with those of the slots.
    """
    if _EXCHANGE is None:
        return [None] * len(grads)
    arrays = [None if slot is None else slot.arrays for slot in slots]
    return _core.tensor_triples(_EXCHANGE, PLAIN, torch.strided, params, state, arrays, grads)


def rates_of(rule: Rule, slots: list[Slot], times: list[float]) -> list[float]:
    """Return the rates of some params at their steps."""
    rates = [rule.lr_at(int(t)) for t in times] if rule.lr_decay else [rule.lr] * len(times)
    if min(rates, default=1.0) > _ROUNDS_TO_0:
        return rates
    return [
        rate if rate > _ROUNDS_TO_0 or slot.dtype is torch.float64 else 0.0
        for rate, slot in zip(rates, slots, strict=True)
    ]


@dataclasses.dataclass
class Dense:
    """The arguments of one call of step_many, which checks all of them before it updates any."""

    rule: Rule
    rules: list[_core.Hyperparameters] = dataclasses.field(default_factory=list)
    triples: list[Triple] = dataclasses.field(default_factory=list)
    rates: list[float] = dataclasses.field(default_factory=list)
    numbers: list[int] = dataclasses.field(default_factory=list)

    def run(self) -> int:
        return _core.step_many(self.triples, self.rules, self.rates, self.numbers)

    def check(self) -> None:
        """Raise what the call would raise, except for overlaps."""
        kinds: dict[Any, Any] = {}
        for number, rule, rate, (w, g, s) in zip(
            self.numbers, self.rules, self.rates, self.triples, strict=True
        ):
            if g.shape != w.shape:
                raise ValueError(
                    f"Adagrad.step: g of params[{number}] has shape {g.shape}, but w has {w.shape}"
                )
            kind = (w.dtype.num, g.dtype.num, s.dtype.num, id(rule), rate)
            kinds.setdefault(kind, (rule, rate, number, w, g, s))
        rules, rates, numbers, *arrays = zip(*kinds.values(), strict=True) if kinds else [[]] * 6
        empty = [tuple(x.reshape(-1)[:0] for x in triple) for triple in zip(*arrays, strict=True)]
        _core.step_many(empty, list(rules), rates, numbers)
        if self.rule.on_nonfinite == "raise":
            for number, (_, g, _) in zip(self.numbers, self.triples, strict=True):
                if not np.isfinite(_as_numbers(g)).all():
                    raise ValueError(
                        f"Adagrad.step: g of params[{number}] is not finite, and on_nonfinite is"
                        " 'raise'"
                    )

    def arrays(self) -> Iterable[Used]:
        for number, triple in zip(self.numbers, self.triples, strict=True):
            for array, written in zip(triple, (True, False, True), strict=True):
                yield array, written, number


@dataclasses.dataclass
class Sparse:
    """The arguments of one call of step_rows."""

    rule: Rule
    compiled: _core.Hyperparameters
    w: npt.NDArray[Any]
    g: npt.NDArray[Any]
    s: npt.NDArray[Any]
    rows: npt.NDArray[Any]
    rate: float
    distinct: bool
    number: int

    def run(self) -> int:
        # Without duplicates, all policies agree, and "unique" does not look for them.
        duplicates = "unique" if self.distinct else None
        return _core.step_rows(
            self.w, self.g, self.s, self.rows, self.compiled, self.rate, duplicates
        )

    def check(self) -> None:
        """Raise what the call would raise, except for overlaps."""
        empty = (self.w[:0], self.g[:0], self.s[:0], self.rows[:0])
        _core.step_rows(*empty, self.compiled, self.rate)
        bad = np.flatnonzero((self.rows < 0) | (self.rows >= len(self.w)))
        if len(bad):
            raise IndexError(
                f"Adagrad.step: rows[{bad[0]}] = {self.rows[bad[0]]} of params[{self.number}] is"
                f" out of range for a table of {len(self.w)} rows"
            )
        if self.rule.on_nonfinite == "raise":
            g = self.g
            if self.rule.duplicates == "sum" and not self.distinct:
                g = _core.coalesce(self.rows, g)[1]
            if not np.isfinite(g).all():
                raise ValueError(
                    f"Adagrad.step: g of params[{self.number}] is not finite, and on_nonfinite is"
                    " 'raise'"
                )

    def arrays(self) -> Iterable[Used]:
        arrays = ((self.w, True), (self.s, True), (self.g, False), (self.rows, False))
        return [(array, written, self.number) for array, written in arrays]


def _as_numbers(g: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array that np.isfinite supports."""
    if g.dtype != BFLOAT16:
        return g
    return (g.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def check_apart(calls: Sequence[Dense | Sparse]) -> None:
    """Raise if memory that the step writes overlaps any other memory of the step."""
    used = [x for call in calls for x in call.arrays()]
    spans = [(a.ctypes.data, a.nbytes, *others) for a, *others in used if a.nbytes]
    begins, sizes, written, numbers = np.array(spans, dtype=np.int64).reshape(-1, 4).T
    order = np.argsort(begins, kind="stable")
    begins, ends, written = begins[order], (begins + sizes)[order], written[order] != 0
    # Before each span: the last end of all spans, and of the written ones.
    before = np.maximum.accumulate(ends)[:-1]
    before_written = np.maximum.accumulate(np.where(written, ends, 0))[:-1]
    later = begins[1:]
    hit = np.flatnonzero((before_written > later) | (written[1:] & (before > later)))
    if len(hit):
        number = numbers[order[hit[0] + 1]]
        raise ValueError(_OVERLAP.format(number))


def check_copies_apart(copies: Mapping[int, Slot], calls: Sequence[Dense | Sparse]) -> None:
    """Raise if a param that is written from a copy shares memory with another that is written."""
    written = [array for call in calls for array, is_written, _ in call.arrays() if is_written]
    for number, slot in copies.items():
        array = array_of(slot.memory)
        # Exact, because parts of a tensor lie in between each other.
        if any(np.shares_memory(array, other) for other in written):
            raise ValueError(_OVERLAP.format(number))
        written.append(array)


def run_all(calls: Sequence[Dense | Sparse]) -> int:
    """Run all calls, or none if one is refused; return how much they skipped."""
    if len(calls) > 1:  # a single call checks everything itself
        for call in calls:
            call.check()
        check_apart(calls)
    skipped = 0
    for call in calls:  # faster than sum
        skipped += call.run()
    return skipped


def sparse_call(
    slot: Slot,
    g: torch.Tensor,
    rule: Rule,
    compiled: _core.Hyperparameters,
    rate: float,
    number: int,
    name: str,
) -> Sparse:
    """Return the call for a sparse gradient, or raise if the gradient is not supported."""
    p = slot.param
    if is_distributed(p) or is_distributed(g):
        raise TypeError(f"{name} has a gradient that is sparse; a DTensor must have a dense one")
    # The layout is sparse_coo, the only sparse one that torch allows for a strided param.
    if g.sparse_dim() != 1:
        raise ValueError(
            f"{name} has a gradient with {g.sparse_dim()} sparse dimensions; it must have 1"
        )
    if p.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"{name} has dtype {p.dtype}; with a sparse gradient it must be float32 or float64"
        )
    if not slot.contiguous:
        raise ValueError(
            f"{name} has strides {p.stride()} for shape {tuple(p.shape)}; with a sparse gradient it"
            " must be contiguous"
        )
    if g.shape != p.shape:
        raise ValueError(
            f"{name} has shape {tuple(p.shape)}, but its gradient has {tuple(g.shape)}"
        )
    w, s = slot.w, slot.s
    try:
        values = array_of(slot.converted(g._values().detach()).resolve_neg().contiguous())
    except TypeError as error:
        raise TypeError(f"{name} {error}") from None
    rows = g._indices()[0].contiguous().numpy()
    if p.dim() > 2:
        columns = math.prod(p.shape[1:])  # not -1, which an empty array does not allow
        w, s, values = (x.reshape(len(x), columns) for x in (w, s, values))
    return Sparse(rule, compiled, w, values, s, rows, rate, g.is_coalesced(), number)
