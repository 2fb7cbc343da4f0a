"""AdaGrad for PyTorch: torch.optim.Adagrad's interface on this package's kernels, for CPU tensors.

Params and accumulators are updated where torch keeps them, through NumPy views of their memory.
Importing this module imports torch; importing `adagrad` does not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from adagrad import _core
from adagrad.presets import preset as preset_rule
from adagrad.rule import Rule

# The dtypes of params, with those of new accumulators.
_SUM_DTYPES = {
    torch.float32: torch.float32,
    torch.float64: torch.float64,
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
}
# Fields of Rule that a param group holds, by torch's names.
_IN_GROUP = {
    "lr": "lr",
    "lr_decay": "lr_decay",
    "weight_decay": "weight_decay",
    "eps": "eps",
    "maximize": "maximize",
    "initial_accumulator_value": "initial_accumulator",
}
# Those that may differ between the optimizer that saved a state and the one that loads it: they say
# what happens to a gradient, not what an accumulator means.
_FREE = {*_IN_GROUP.values(), "scale", "clip_value", "duplicates", "on_nonfinite"}


# NumPy has no bfloat16. The core goes by the name, which NumPy makes of the scalar type's and the
# number of bits, so that ml_dtypes is not needed.
_BFLOAT16 = np.dtype((type("bfloat", (np.void,), {}), 2))


# Where memory begins, its bytes, whether it is written, and the number of the param it belongs to.
_Span = tuple[int, int, bool, int]


def _array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Return a view of a CPU tensor's memory."""
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.view(torch.int16)
        array: npt.NDArray[Any] = tensor.numpy().view(_BFLOAT16)
    else:
        array = tensor.numpy()
    return array


def _dense_order(param: torch.Tensor) -> tuple[int, ...] | None:
    """Return the order of dimensions in memory, None for C's; raise where there are gaps."""
    if param.is_contiguous():
        return None
    strides, shape = param.stride(), param.shape
    order = sorted(range(param.dim()), key=lambda d: (strides[d], shape[d]), reverse=True)
    if not param.permute(order).is_contiguous():
        raise ValueError(
            f"has strides {tuple(strides)} for shape {tuple(shape)}: its memory has gaps or is"
            " shared between elements, so it cannot be updated in place"
        )
    return tuple(order)


class _Slot:
    """A param with its state, checked, as arrays; as long as `is_current` says so."""

    __slots__ = (
        *("contiguous", "counter", "order", "param", "plain", "s", "step", "step_at", "strides"),
        *("sum", "sum_at", "w", "w_at"),
    )

    def __init__(self, param: torch.Tensor, state: dict[str, Any]) -> None:
        self.param = param
        self.order = _dense_order(param)
        self.contiguous = self.order is None
        self.strides = param.stride()
        # Of these dtypes gradients have the same, which NumPy knows; 16 bits have two.
        self.plain = self.contiguous and param.dtype in (torch.float32, torch.float64)
        self.w = _array(self.in_order(param.detach()))
        self.w_at = param.data_ptr()

        self.sum: torch.Tensor = state["sum"]
        if self.sum.shape == param.shape:
            self.s = _array(self.in_order(self.sum))
        elif self.contiguous:
            self.s = _array(self.sum)
        else:
            raise ValueError("has accumulators for rows, which need a contiguous param")
        self.sum_at = self.sum.data_ptr()

        step = state["step"]
        if not (isinstance(step, torch.Tensor) and step.dtype in (torch.float32, torch.float64)):
            step = state["step"] = torch.tensor(float(step), dtype=torch.float64, device="cpu")
        self.step: torch.Tensor = step
        self.step_at = step.data_ptr()
        counter: Any = step.numpy().reshape(1)
        self.counter: Any = memoryview(counter)  # read and written at a third of the price

    def in_order(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if self.order is None else tensor.permute(self.order)

    def is_current(self, param: torch.Tensor, state: dict[str, Any]) -> bool:
        # p.data may have been replaced, by other memory or by other strides on the same.
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
        """Return a dense gradient in the order of the param; copied where it has another."""
        if self.plain and g.is_contiguous() and not g.requires_grad:
            array: npt.NDArray[Any] = g.numpy()  # as _array does, without a call
            return array
        if g.requires_grad:
            g = g.detach()
        if self.order is not None:
            g = g.permute(self.order)
        return _array(g if g.is_contiguous() else g.contiguous())


@dataclasses.dataclass
class _Dense:
    """The arguments of one call of step_many."""

    rule: Rule
    compiled: _core.Hyperparameters
    triples: list[tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]]
    rates: list[float]
    numbers: list[int]
    slots: list[_Slot]
    grads: list[torch.Tensor]

    def run(self) -> int:
        return _core.step_many(self.triples, self.compiled, self.rates, self.numbers)

    def check(self) -> None:
        """Raise what the call would raise of its own arrays, overlaps apart."""
        kinds: dict[Any, Any] = {}
        for number, rate, (w, g, s) in zip(self.numbers, self.rates, self.triples, strict=True):
            if g.shape != w.shape:
                raise ValueError(
                    f"Adagrad.step: g of params[{number}] has shape {g.shape}, but w has {w.shape}"
                )
            kinds.setdefault((w.dtype.num, g.dtype.num, s.dtype.num, rate), (number, w, g, s))
        empty = [tuple(x.reshape(-1)[:0] for x in kind[1:]) for kind in kinds.values()]
        rates = [rate for *_, rate in kinds]
        _core.step_many(empty, self.compiled, rates, [kind[0] for kind in kinds.values()])
        if self.rule.on_nonfinite == "raise":
            for number, (_, g, _) in zip(self.numbers, self.triples, strict=True):
                if not np.isfinite(_as_numbers(g)).all():
                    raise ValueError(
                        f"Adagrad.step: g of params[{number}] is not finite, and on_nonfinite is"
                        " 'raise'"
                    )

    def spans(self) -> Iterable[_Span]:
        for number, slot, g in zip(self.numbers, self.slots, self.grads, strict=True):
            yield slot.w_at, slot.w.nbytes, True, number
            yield g.data_ptr(), g.nbytes, False, number
            yield slot.sum_at, slot.s.nbytes, True, number


@dataclasses.dataclass
class _Sparse:
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
        # Without duplicates all policies do the same, and this one does not look for them.
        duplicates = "unique" if self.distinct else None
        return _core.step_rows(
            self.w, self.g, self.s, self.rows, self.compiled, self.rate, duplicates
        )

    def check(self) -> None:
        """Raise what the call would raise of its own arrays, overlaps apart."""
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

    def spans(self) -> Iterable[_Span]:
        arrays = ((self.w, True), (self.s, True), (self.g, False), (self.rows, False))
        return [(a.ctypes.data, a.nbytes, written, self.number) for a, written in arrays]


def _as_numbers(g: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array that NumPy can tell infinities in."""
    if g.dtype != _BFLOAT16:
        return g
    return (g.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _check_apart(calls: Sequence[_Dense | _Sparse]) -> None:
    """Raise where memory that is written is shared with anything else in the step."""
    spans = [span for call in calls for span in call.spans() if span[1]]
    begins, sizes, written, numbers = np.array(spans, dtype=np.int64).reshape(-1, 4).T
    order = np.argsort(begins, kind="stable")
    begins, ends, written = begins[order], (begins + sizes)[order], written[order] != 0
    # Of all spans before one, and of the written ones, where the last ends.
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


class Adagrad(torch.optim.Optimizer):
    r"""`torch.optim.Adagrad` for CPU tensors, on this package's kernels.

    It takes the same arguments, has the same param groups and state, and takes the same steps up to
    the last bits: each operation is rounded once, where torch fuses some. All dense params take
    one call of the core, and a sparse gradient is taken as it is, without coalescing.

    Parameters
    ----------
    params : iterable of Tensor, of (str, Tensor) or of dict
        CPU tensors of float32, float64, bfloat16 or float16, or param groups. Any strides without
        gaps. Those of 16 bits have accumulators of float32, and no sparse gradients.
    lr : float or Tensor, default 0.01
        Step size. It stands in ``group["lr"]``, where schedulers change it.
    lr_decay, weight_decay, initial_accumulator_value, eps : float, default 0, 0, 0, 1e-10
        As in torch; in each group, by which `initial_accumulator_value` may differ too. With a
        sparse gradient, which torch refuses beside `weight_decay`, its rows alone decay.
    foreach, fused : bool, optional
        Accepted, and without effect.
    maximize : bool, default False
        Ascend.
    differentiable : bool, default False
        Only False: gradients do not flow through a step.
    preset : str, optional
        Another system's rule, by a name of `adagrad.presets`: the defaults of the arguments above
        are then the preset's.
    rule : Rule, optional
        Any rule, and none of the arguments above. Its `lr`, `lr_decay`, `weight_decay`, `eps`,
        `maximize` and `initial_accumulator` become those of the groups, which are what counts.

    Attributes
    ----------
    rule : Rule
        What the groups do not say.
    skipped : int
        How many coordinates or rows were left alone, where ``rule.on_nonfinite`` is "skip".

    Raises
    ------
    TypeError, ValueError
        Where a param cannot be updated in place (on another device, complex, with gaps), or a
        hyperparameter is out of range. They name the param by its number in `state_dict`.

    Notes
    -----
    State per param: ``"step"``, a float64 tensor, exact to 2**53 steps, and ``"sum"``, the
    accumulator. A checkpoint of `torch.optim.Adagrad` loads here, and the reverse.

    A step is all or nothing: where any gradient is refused, no param has changed.

    Examples
    --------
    >>> import torch, adagrad.torch
    >>> w = torch.nn.Parameter(torch.ones(3))
    >>> optimizer = adagrad.torch.Adagrad([w], lr=0.5)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.5000, 0.5000, 0.5000])
    """

    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor | None = None,
        lr_decay: float | None = None,
        weight_decay: float | None = None,
        initial_accumulator_value: float | None = None,
        eps: float | None = None,
        foreach: bool | None = None,
        *,
        maximize: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        preset: str | None = None,
        rule: Rule | None = None,
    ) -> None:
        given = {
            "lr": _number("lr", lr),
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator": initial_accumulator_value,
            "eps": eps,
            "maximize": maximize,
        }
        given = {name: value for name, value in given.items() if value is not None}
        if rule is None:
            rule = preset_rule("torch" if preset is None else preset, **given)
        elif not isinstance(rule, Rule):
            raise TypeError(f"rule must be an adagrad.Rule, got {rule!r}")
        elif preset is not None or given:
            names = ", ".join(["preset"] * (preset is not None) + list(given))
            raise TypeError(f"rule is given, so {names} cannot be: rule.replace(...)")
        self.rule = rule
        self.skipped = 0
        self._forget()
        defaults = {name: getattr(rule, field) for name, field in _IN_GROUP.items()}
        if isinstance(lr, torch.Tensor):
            defaults["lr"] = lr
        defaults |= {"foreach": foreach, "differentiable": differentiable, "fused": fused}
        super().__init__(params, defaults)

    def _forget(self) -> None:
        """Drop what is kept between steps, all of which can be made again."""
        self._slots: list[list[_Slot | None]] = []
        self._rules: dict[int, tuple[tuple[Any, ...], Rule, _core.Hyperparameters]] = {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as in torch; nothing is added where one of its params is refused."""
        super().add_param_group(param_group)
        number = len(self.param_groups) - 1
        group = self.param_groups[number]
        states = {}
        try:
            if group["differentiable"]:
                raise ValueError("differentiable must be False: a step is not recorded")
            self._rule_of(number, group)
            self.rule.replace(initial_accumulator=group["initial_accumulator_value"])
            first = sum(len(other["params"]) for other in self.param_groups[:number])
            for i, p in enumerate(group["params"]):
                states[p] = self._new_state(group, p, _name(group, i, first))
        except BaseException:
            del self.param_groups[number]
            self._rules.pop(number, None)
            raise
        self.state.update(states)

    def _new_state(self, group: dict[str, Any], p: torch.Tensor, name: str) -> dict[str, Any]:
        state = {"step": torch.zeros((), dtype=torch.float64, device="cpu")}
        state["sum"] = self._new_sum(p, name).fill_(group["initial_accumulator_value"])
        return state

    def _new_sum(self, p: torch.Tensor, name: str) -> torch.Tensor:
        """Return memory for accumulators of a param, or raise where it cannot have any."""
        if p.device.type != "cpu":
            raise ValueError(
                f"{name} is on device {p.device}: only CPU tensors are updated here;"
                " torch.optim.Adagrad takes others"
            )
        if p.layout is not torch.strided or p.dtype not in _SUM_DTYPES:
            raise TypeError(
                f"{name} has dtype {p.dtype} and layout {p.layout}; a strided tensor of float32,"
                " float64, bfloat16 or float16 is needed"
            )
        if p.is_inference():
            raise ValueError(f"{name} was made in inference mode, and cannot be trained")
        try:
            order = _dense_order(p)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
        dtype = _SUM_DTYPES[p.dtype]
        if self.rule.accumulator == "row" and p.dim() == 2:
            if order is not None:
                raise ValueError(
                    f"{name} has strides {p.stride()} for shape {tuple(p.shape)}; accumulators for"
                    " rows need a contiguous param"
                )
            return torch.empty(p.shape[:1], dtype=dtype, device="cpu")
        return torch.empty_like(p, dtype=dtype, requires_grad=False)

    def _rule_of(self, number: int, group: dict[str, Any]) -> tuple[Rule, _core.Hyperparameters]:
        lr = group["lr"]
        key = (
            _number("lr", lr) if isinstance(lr, torch.Tensor) else lr,
            *(group[name] for name in ("lr_decay", "weight_decay", "eps", "maximize")),
        )
        known = self._rules.get(number)
        if known is not None and known[0] == key:
            return known[1:]
        names = ("lr", "lr_decay", "weight_decay", "eps", "maximize")
        rule = self.rule.replace(**dict(zip(names, (*key[:-1], bool(key[-1])), strict=True)))
        # The core is given the rate at each call, so that a scheduler costs no new compiled half.
        is_same = known is not None and known[0][2:] == key[2:]
        compiled = known[2] if known is not None and is_same else rule._compiled
        self._rules[number] = (key, rule, compiled)
        return rule, compiled

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every param that has a gradient.

        Parameters
        ----------
        closure : callable, optional
            Evaluates the model again and returns the loss.

        Returns
        -------
        The loss that `closure` returned, or None.

        Raises
        ------
        IndexError, TypeError, ValueError
            Where a gradient does not fit its param. No param and no state has changed then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        calls, updated = self._collect()
        if len(calls) > 1:  # a single call checks everything itself
            for call in calls:
                call.check()
            _check_apart(calls)
        for call in calls:
            self.skipped += call.run()
        for slot, t in updated:
            slot.counter[0] = t
        # What was written through NumPy, autograd must know of.
        torch.autograd.graph.increment_version([slot.param for slot, _ in updated])
        return loss

    def _collect(self) -> tuple[list[_Dense | _Sparse], list[tuple[_Slot, float]]]:
        """Return what is to be called, and what is stepped, with its new step number."""
        dense: dict[tuple[Any, ...], _Dense] = {}
        sparse: list[_Dense | _Sparse] = []
        updated = []
        first = 0
        for number, group in enumerate(self.param_groups):
            params, slots = group["params"], self._slots_of(number, group)
            rule, compiled = self._rule_of(number, group)
            key = self._rules[number][0][2:]
            for i, p in enumerate(params):
                g = p.grad
                if g is None:
                    continue
                slot = slots[i]
                if slot is None or not slot.is_current(p, self.state[p]):
                    slot = slots[i] = self._new_slot(group, i, first)
                t = slot.counter[0] + 1.0
                rate = rule.lr_at(int(t)) if rule.lr_decay else rule.lr
                updated.append((slot, t))
                if g.layout is not torch.strided:
                    call = _sparse_call(slot, g, rule, compiled, rate, _name(group, i, first))
                    call.number = first + i
                    sparse.append(call)
                    continue
                bucket = dense.get(key)
                if bucket is None:
                    bucket = dense[key] = _Dense(rule, compiled, [], [], [], [], [])
                bucket.triples.append((slot.w, slot.gradient(g), slot.s))
                bucket.rates.append(rate)
                bucket.numbers.append(first + i)
                bucket.slots.append(slot)
                bucket.grads.append(g)
            first += len(params)
        return [*dense.values(), *sparse], updated

    def _slots_of(self, number: int, group: dict[str, Any]) -> list[_Slot | None]:
        while len(self._slots) <= number:
            self._slots.append([])
        slots = self._slots[number]
        if len(slots) != len(group["params"]):
            slots[:] = [None] * len(group["params"])
        return slots

    def _new_slot(self, group: dict[str, Any], i: int, first: int) -> _Slot:
        p, name = group["params"][i], _name(group, i, first)
        state = self.state[p]
        if not state:
            state.update(self._new_state(group, p, name))
        else:
            self._new_sum(p, name)  # p.data may be another tensor than the one that was checked
        try:
            return _Slot(p, state)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None

    def state_dict(self) -> dict[str, Any]:
        """Return the state, as in torch.

        Returns
        -------
        dict
            ``state`` and ``param_groups``; and ``rule``, a dict of `Rule` fields, where the rule
            differs from torch's in more than what the groups hold.
        """
        state: dict[str, Any] = super().state_dict()
        rule = _formula(self.rule)
        if rule != _TORCH:
            state["rule"] = rule
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state that this class or `torch.optim.Adagrad` returned.

        Parameters
        ----------
        state_dict : dict
            Its tensors are copied, and cast to the dtypes that new accumulators would have. The
            hyperparameters of its groups replace those of this optimizer.

        Raises
        ------
        ValueError
            Where groups, shapes, step numbers or hyperparameters do not fit, or it is the state of
            another rule: a state of torch's wants ``preset="torch"``. Nothing has changed then.
        """
        loaded: dict[torch.Tensor, dict[str, torch.Tensor]] = {}

        def read(_: Any, state: dict[str, Any]) -> None:
            loaded.update(self._read(state))

        # The last hook sees what the others made of the state.
        handle = self.register_load_state_dict_pre_hook(read)
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()
        # torch has cast accumulators to the dtypes of their params, and shares those it need not.
        for p, entries in loaded.items():
            self.state[p].update(entries)

    def _read(self, state: dict[str, Any]) -> dict[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the state's tensors in memory of their own, or raise."""
        theirs, ours = dict(state.get("rule", _TORCH)), _formula(self.rule)
        if theirs != ours:
            names = [name for name in ours if theirs.get(name) != ours[name]]
            shown = ", ".join(f"{name}={theirs.get(name)!r}" for name in names)
            raise ValueError(f"state is of another rule, with {shown}; this is {self.rule}")
        loaded = {}
        first = 0
        for number, (group, saved) in enumerate(
            zip(self.param_groups, state["param_groups"], strict=False)
        ):
            self._rule_of(-1 - number, {**group, **saved})  # raises where one is out of range
            for i, (p, key) in enumerate(zip(group["params"], saved["params"], strict=False)):
                entries = state["state"].get(key)
                if not entries:
                    continue
                name = _name(group, i, first)
                new = self._new_sum(p, name)
                if entries["sum"].shape != new.shape:
                    raise ValueError(
                        f"{name} needs an accumulator of shape {tuple(new.shape)}, but that of the"
                        f" state has {tuple(entries['sum'].shape)}"
                    )
                step = float(entries["step"])
                if not (step >= 0.0 and step.is_integer()):
                    raise ValueError(f"{name} has step number {step} in the state")
                loaded[p] = {
                    "step": torch.tensor(step, dtype=torch.float64, device="cpu"),
                    "sum": new.copy_(entries["sum"]),
                }
            first += len(group["params"])
        return loaded

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "rule": self.rule, "skipped": self.skipped}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._forget()
        for group in self.param_groups:  # a checkpoint of an older torch lacks some
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def share_memory(self) -> None:
        """Move the state to memory that other processes share."""
        for state in self.state.values():
            state["sum"].share_memory_()
            state["step"].share_memory_()


def _name(group: dict[str, Any], i: int, first: int) -> str:
    names = group.get("param_names")
    return f"params[{first + i}]" + (f" ({names[i]})" if names else "")


def _number(name: str, value: float | torch.Tensor | None) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    if value.numel() != 1:
        raise ValueError(f"{name} must have one element, got shape {tuple(value.shape)}")
    return value.item()


def _formula(rule: Rule) -> dict[str, Any]:
    return {k: v for k, v in dataclasses.asdict(rule).items() if k not in _FREE}


_TORCH = _formula(preset_rule("torch"))


def _sparse_call(
    slot: _Slot,
    g: torch.Tensor,
    rule: Rule,
    compiled: _core.Hyperparameters,
    rate: float,
    name: str,
) -> _Sparse:
    """Return the call for a sparse gradient, or raise where it cannot be taken as it is."""
    p = slot.param
    if g.layout is not torch.sparse_coo:
        raise TypeError(f"{name} has a gradient of layout {g.layout}; only sparse_coo is taken")
    if g.sparse_dim() != 1:
        raise ValueError(
            f"{name} has a gradient with {g.sparse_dim()} sparse dimensions; 1 is needed"
        )
    if p.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"{name} has dtype {p.dtype}; with a sparse gradient float32 or float64 is needed"
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
    values = _array(g._values().detach().contiguous())
    rows = g._indices()[0].contiguous().numpy()
    if p.dim() > 2:
        w, s, values = (x.reshape(len(x), -1) for x in (w, s, values))
    return _Sparse(rule, compiled, w, values, s, rows, rate, g.is_coalesced(), 0)
