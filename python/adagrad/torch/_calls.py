"""The calls of the core that make up an optimizer step, on NumPy views of torch's memory.

A step checks all its calls before it runs the first. Used by `adagrad.torch.Adagrad`, and by
`adagrad.keras.Adagrad` on torch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import adagrad._core as _core
from adagrad.rule import Rule

# NumPy has no bfloat16. The core recognizes it by its name, which NumPy composes of the name of the
# scalar type and the number of bits, so ml_dtypes is not needed.
_BFLOAT16 = np.dtype((type("bfloat", (np.void,), {}), 2))

# How other libraries read tensors, since torch 2.10.
_EXCHANGE = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
# Tensors of subclasses may consist of other memory.
_TYPES = (torch.nn.Parameter, torch.Tensor)

Triple = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]
# Address of some memory, its bytes, whether it is written, and the number of its param.
Span = tuple[int, int, bool, int]


def array_of(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Return a view of a CPU tensor's memory."""
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.view(torch.int16)
        array: npt.NDArray[Any] = tensor.numpy().view(_BFLOAT16)
    else:
        array = tensor.numpy()
    return array


def dense_order(param: torch.Tensor) -> tuple[int, ...] | None:
    """Return the order of the dimensions in memory, None for C order; raise if there are gaps."""
    if param.is_contiguous():
        return None
    strides, shape = param.stride(), param.shape
    order = sorted(range(param.dim()), key=lambda d: (strides[d], shape[d]), reverse=True)
    if not param.permute(order).is_contiguous():
        raise ValueError(
            f"has strides {tuple(strides)} for shape {tuple(shape)}: its memory has gaps, or its"
            " elements share memory, so it cannot be updated in place"
        )
    return tuple(order)


class Slot:
    """A checked param and its state as arrays, valid while `is_current` is True."""

    __slots__ = (
        *(
            "arrays",
            "common_dtype",
            "contiguous",
            "counter",
            "dtypes",
            "order",
            "param",
            "s",
            "step",
        ),
        *("step_at", "strides", "sum", "sum_at", "w", "w_at"),
    )

    def __init__(self, param: torch.Tensor, state: dict[str, Any]) -> None:
        self.param = param
        self.sum: torch.Tensor = state["sum"]
        self.order = dense_order(param)
        self.contiguous = self.order is None
        self.strides = param.stride()
        # Nearly all gradients have this dtype, and need no conversion.
        is_common = self.contiguous and param.dtype in (torch.float32, torch.float64)
        self.common_dtype = param.dtype if is_common else None
        # Gradients of 16-bit params may be float32, from a backward pass in float32.
        self.dtypes = dict.fromkeys((param.dtype, self.sum.dtype))
        self.w = array_of(self.in_order(param.detach()))
        self.w_at = param.data_ptr()

        if self.sum.shape == param.shape:
            self.s = array_of(self.in_order(self.sum))
        elif self.contiguous:
            self.s = array_of(self.sum)
        else:
            raise ValueError("has accumulators per row, so it must be contiguous")
        self.sum_at = self.sum.data_ptr()

        step = state["step"]
        if not (isinstance(step, torch.Tensor) and step.dtype in (torch.float32, torch.float64)):
            step = state["step"] = torch.tensor(float(step), dtype=torch.float64, device="cpu")
        self.step: torch.Tensor = step
        self.step_at = step.data_ptr()
        self.arrays = (self.w, self.s, step.numpy())
        # Three times as fast as a tensor.
        self.counter: Any = memoryview(self.arrays[2].reshape(1))

    def in_order(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if self.order is None else tensor.permute(self.order)

    def is_current(self, param: torch.Tensor, state: dict[str, Any]) -> bool:
        # p.data may have been replaced: by other memory, or by other strides of the same memory.
        return (
            param is self.param
            and param.data_ptr() == self.w_at
            and param.is_contiguous() == self.contiguous
            and (self.contiguous or param.stride() == self.strides)
            and self.sum.data_ptr() == self.sum_at
            and self.step.data_ptr() == self.step_at
            and state.get("sum") is self.sum
            and state.get("step") is self.step
        )

    def gradient(self, g: torch.Tensor) -> npt.NDArray[Any]:
        """Return a dense gradient in the memory order of the param, copied if it has another."""
        if (  # a shortcut: the rest would return the same in twice the time
            g.dtype is self.common_dtype
            and g.is_contiguous()
            and not g.requires_grad
            and not g.is_neg()
        ):
            array: npt.NDArray[Any] = g.numpy()
            return array
        if g.dtype not in self.dtypes:
            wanted = " or ".join(map(str, self.dtypes))
            raise TypeError(
                f"has dtype {self.param.dtype}, so its gradient must have {wanted}, got {g.dtype}"
            )
        if g.requires_grad:
            g = g.detach()
        if self.order is not None:
            g = g.permute(self.order)
        if g.is_neg():
            g = g.resolve_neg()
        return array_of(g.contiguous())


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
    return _core.tensor_triples(_EXCHANGE, _TYPES, torch.strided, params, state, arrays, grads)


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

    def spans(self) -> Iterable[Span]:
        for number, triple in zip(self.numbers, self.triples, strict=True):
            for array, written in zip(triple, (True, False, True), strict=True):
                yield array.ctypes.data, array.nbytes, written, number


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

    def spans(self) -> Iterable[Span]:
        arrays = ((self.w, True), (self.s, True), (self.g, False), (self.rows, False))
        return [(a.ctypes.data, a.nbytes, written, self.number) for a, written in arrays]


def _as_numbers(g: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array that np.isfinite supports."""
    if g.dtype != _BFLOAT16:
        return g
    return (g.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def check_apart(calls: Sequence[Dense | Sparse]) -> None:
    """Raise if memory that the step writes overlaps any other memory of the step."""
    spans = [span for call in calls for span in call.spans() if span[1]]
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
        raise ValueError(
            f"Adagrad.step: memory of params[{number}], its gradient or its accumulator overlaps"
            " memory that this step writes"
        )


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
    if g.shape != p.shape or g.dtype is not p.dtype:
        raise ValueError(
            f"{name} has shape {tuple(p.shape)} and dtype {p.dtype}, but its gradient has"
            f" {tuple(g.shape)} and {g.dtype}"
        )
    w, s = slot.w, slot.s
    values = array_of(g._values().detach().resolve_neg().contiguous())
    rows = g._indices()[0].contiguous().numpy()
    if p.dim() > 2:
        columns = math.prod(p.shape[1:])  # not -1, which an empty array does not allow
        w, s, values = (x.reshape(len(x), columns) for x in (w, s, values))
    return Sparse(rule, compiled, w, values, s, rows, rate, g.is_coalesced(), number)
