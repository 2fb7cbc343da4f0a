"""Params of torch and their states as arrays: which memory a step reads and writes.

Used by `adagrad.torch.Adagrad`, and by `adagrad.keras.Adagrad` on torch.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

__all__ = [
    "BFLOAT16",
    "PLAIN",
    "Slot",
    "array_of",
    "dense_order",
    "has_gaps",
    "is_distributed",
    "is_opaque",
    "plain",
]

# NumPy has no bfloat16. The core recognizes it by its name, which NumPy composes of the name of the
# scalar type and the number of bits, so ml_dtypes is not needed.
BFLOAT16 = np.dtype((type("bfloat", (np.void,), {}), 2))

# Tensors of subclasses may consist of other memory.
PLAIN = (torch.nn.Parameter, torch.Tensor)
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def is_distributed(tensor: torch.Tensor) -> bool:
    """Return whether this is a DTensor, without importing what defines them."""
    if type(tensor) in PLAIN:
        return False
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """Return the numbers of a tensor that this process has, as a real tensor on the same memory.

    That is the local shard of a DTensor. Complex numbers are pairs, in a last dimension of 2.
    """
    if is_distributed(tensor):
        with torch.no_grad():
            tensor = tensor.to_local()
        if hasattr(tensor, "wait"):  # its memory is still being received
            tensor = tensor.wait()
    return torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor


def is_opaque(tensor: torch.Tensor) -> bool:
    """Return whether the class of a tensor decides what its operations do, other than DTensor."""
    own, usual = type(tensor).__torch_dispatch__, torch.Tensor.__torch_dispatch__
    return not is_distributed(tensor) and bool(own is not usual)


def array_of(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Return a view of a CPU tensor's memory."""
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.view(torch.int16)
        array: npt.NDArray[Any] = tensor.numpy().view(BFLOAT16)
    else:
        array = tensor.numpy()
    return array


def has_gaps(tensor: torch.Tensor) -> bool:
    """Return whether a tensor skips memory; raise if it may have some memory twice."""
    if tensor.is_contiguous():
        return False
    extent = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride < extent:
                raise ValueError(
                    f"has strides {tensor.stride()} for shape {tuple(tensor.shape)}: its elements"
                    " share memory, so it cannot be updated in place; train a clone of it"
                )
            extent += (size - 1) * stride
    return bool(extent != tensor.numel())


def dense_order(tensor: torch.Tensor) -> tuple[int, ...] | None:
    """Return the order of the dimensions in memory, None for C order; raise if there are gaps."""
    if tensor.is_contiguous():
        return None
    strides, shape = tensor.stride(), tensor.shape
    if has_gaps(tensor):
        raise ValueError(
            f"has strides {strides} for shape {tuple(shape)}: its memory has gaps, so it cannot be"
            " updated in place"
        )
    order = sorted(range(tensor.dim()), key=lambda d: (strides[d], shape[d]), reverse=True)
    return tuple(order)


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    strides = None if tensor.is_contiguous() else tensor.stride()  # in half the time
    return tensor.data_ptr(), tensor.dtype, tensor.shape, strides


def _counter(state: dict[str, Any]) -> torch.Tensor:
    """Return the step number of a state as a tensor, which the state then has."""
    step = state["step"]
    if not (isinstance(step, torch.Tensor) and step.dtype in (torch.float32, torch.float64)):
        step = state["step"] = torch.tensor(float(step), dtype=torch.float64, device="cpu")
    return step


class Slot:
    """A checked param and its state as arrays, valid while `is_current` is True.

    The arrays of params are the memory of the param, unless that has gaps. Then `w` is a copy:
    `load` it before a step, and `store` it afterwards.
    """

    __slots__ = (
        *("arrays", "common_dtype", "contiguous", "copy", "counter", "dtype", "dtypes", "memory"),
        *("order", "param", "places", "s", "step", "sum", "w"),
    )

    def __init__(self, param: torch.Tensor, state: dict[str, Any]) -> None:
        self.param = param
        self.sum: torch.Tensor = state["sum"]
        self.memory, s = plain(param).detach(), plain(self.sum)
        self.copy: torch.Tensor | None = None
        target = self.memory
        if has_gaps(self.memory):
            like = s if s.shape == self.memory.shape else self.memory.contiguous()
            target = self.copy = torch.empty_like(like, dtype=self.memory.dtype)
        self.order = dense_order(target)
        self.contiguous = self.order is None
        if s.shape != target.shape and not self.contiguous:
            raise ValueError("has accumulators per row, so it must be contiguous")
        self.dtype = target.dtype
        # Nearly all gradients have this dtype, and need no conversion.
        is_common = type(param) in PLAIN and self.contiguous and self.dtype is param.dtype
        self.common_dtype = self.dtype if is_common else None
        # Gradients of 16-bit params may be float32, from a backward pass in float32.
        self.dtypes = dict.fromkeys((self.dtype, s.dtype))
        self.w = array_of(self.in_order(target))
        self.s = array_of(self.in_order(s) if s.shape == target.shape else s)

        self.step = _counter(state)
        self.places = (_place(self.memory), _place(s), self.step.data_ptr())
        self.arrays = (self.w, self.s, self.step.numpy())
        # Three times as fast as a tensor.
        self.counter: Any = memoryview(self.arrays[2].reshape(1))

    def in_order(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if self.order is None else tensor.permute(self.order)

    def is_current(self, param: torch.Tensor, state: dict[str, Any]) -> bool:
        # p.data may have been replaced: by other memory, or by other strides of the same memory.
        is_common = self.common_dtype is not None
        w, s = (param, self.sum) if is_common else (plain(param), plain(self.sum))
        places = _place(w), _place(s), self.step.data_ptr()
        return (
            param is self.param
            and state.get("sum") is self.sum
            and state.get("step") is self.step
            and places == self.places
        )

    def load(self) -> None:
        if self.copy is not None:
            self.copy.copy_(self.memory)

    def store(self) -> None:
        if self.copy is not None:
            self.memory.copy_(self.copy)

    def gradient(self, g: torch.Tensor) -> npt.NDArray[Any]:
        """Return a dense gradient in the memory order of the param, copied if it has another."""
        if (  # a shortcut: the rest would return the same in twice the time
            g.dtype is self.common_dtype
            and type(g) in PLAIN
            and g.is_contiguous()
            and not g.requires_grad
            and not g.is_neg()
        ):
            return array_of(g)
        g = self.in_order(self.converted(self._local(g.detach())))
        return array_of(g.resolve_neg().contiguous())

    def _local(self, g: torch.Tensor) -> torch.Tensor:
        """Return what `plain` returns for the param, of a gradient."""
        p = self.param
        if is_distributed(p) != is_distributed(g):
            kinds = [type(t).__name__ if is_distributed(t) else "Tensor" for t in (p, g)]
            raise TypeError("is a {}, but its gradient is a {}".format(*kinds))
        if p.is_complex() != g.is_complex():
            raise TypeError(f"has dtype {p.dtype}, but its gradient has {g.dtype}")
        if is_distributed(p) and (g.placements, g.device_mesh) != (p.placements, p.device_mesh):
            with torch.no_grad():
                g = g.redistribute(p.device_mesh, p.placements)
        return plain(g.resolve_conj())

    def converted(self, g: torch.Tensor) -> torch.Tensor:
        """Return a real gradient in a dtype that the core takes; raise if that would round it."""
        if g.dtype in self.dtypes:
            return g
        exact = [d for d in _FLOATS if torch.promote_types(d, self.dtype) is self.dtype]
        if g.dtype not in exact:
            dtypes, got = [*self.dtypes, *exact], g.dtype
            if self.param.is_complex():  # these are the dtypes of the parts
                dtypes, got = [d.to_complex() for d in dtypes], got.to_complex()
            wanted = " or ".join(map(str, dict.fromkeys(dtypes)))
            raise TypeError(
                f"has dtype {self.param.dtype}, so its gradient must have {wanted}, got {got}"
            )
        return g.to(self.dtype)
