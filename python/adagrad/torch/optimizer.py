"""`torch.optim.Adagrad`'s interface on this package's kernels, for CPU tensors.

Params and accumulators are updated where torch keeps them, through NumPy views of their memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from adagrad import _core
from adagrad.convert import TORCH as OF_TORCH
from adagrad.presets import preset as preset_rule
from adagrad.rule import Rule
from adagrad.torch._calls import Dense, Slot, Sparse, check_apart, dense_order, sparse_call
from adagrad.torch._state import as_number, check_sum, read_entries

__all__ = ["Adagrad"]

# The dtypes of params, with those of new accumulators.
_SUM_DTYPES = {
    torch.float32: torch.float32,
    torch.float64: torch.float64,
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
}
# The core refuses a rate that float32 loses; torch goes on with 0.
_ROUNDS_TO_0 = 2.0**-150
# Those that may differ between the optimizer that saved a state and the one that loads it: they say
# what happens to a gradient, not what an accumulator means.
_FREE = ("scale", "clip_value", "duplicates", "on_nonfinite")

# Options that the groups of every version of torch's Adagrad have, and no other optimizer's all.
_IN_EVERY_STATE = ("lr", "lr_decay", "weight_decay", "eps")
_DIFFERENTIABLE = "differentiable must be False: a step is not recorded"


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
        Step size. It stands in ``group["lr"]``, where schedulers change it. What float32 rounds to
        0 is 0 there, as at the end of a long schedule.
    lr_decay, weight_decay, initial_accumulator_value, eps : float, default 0, 0, 0, 1e-10
        As in torch, tensors of one element too; in each group, by which
        `initial_accumulator_value` may differ as well. With a sparse gradient, which torch refuses
        beside `weight_decay`, its rows alone decay.
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
        Where its `accumulator` is "row", params of two dimensions have accumulators for rows, and
        all others for elements.

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
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator": initial_accumulator_value,
            "eps": eps,
            "maximize": maximize,
        }
        given = {name: as_number(name, x) for name, x in given.items() if x is not None}
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
        defaults = {name: getattr(rule, field) for name, field in OF_TORCH.items()}
        if isinstance(lr, torch.Tensor):
            defaults["lr"] = lr
        defaults |= {"foreach": foreach, "differentiable": differentiable, "fused": fused}
        super().__init__(params, defaults)

    def _forget(self) -> None:
        """Drop what is kept between steps, all of which can be made again."""
        self._slots: list[list[Slot | None]] = []
        self._rules: dict[int, tuple[tuple[Any, ...], Rule, _core.Hyperparameters]] = {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as in torch; nothing is added where one of its params is refused."""
        super().add_param_group(param_group)
        number = len(self.param_groups) - 1
        group = self.param_groups[number]
        states = {}
        try:
            if group["differentiable"]:
                raise ValueError(_DIFFERENTIABLE)
            self._rule_of(number, group)
            name = "initial_accumulator_value"
            group[name] = as_number(name, group[name])
            self.rule.replace(initial_accumulator=group[name])
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
        if p.is_neg():
            raise ValueError(f"{name} is a negative view, and cannot be updated in place")
        try:
            order = dense_order(p)
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
        names = ("lr", "lr_decay", "weight_decay", "eps", "maximize")
        key = tuple(as_number(name, group[name]) for name in names)
        known = self._rules.get(number)
        if known is not None and known[0] == key:
            return known[1:]
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
            check_apart(calls)
        for call in calls:
            self.skipped += call.run()
        for slot, t in updated:
            slot.counter[0] = t
        # What was written through NumPy, autograd must know of.
        torch.autograd.graph.increment_version([slot.param for slot, _ in updated])
        return loss

    def _collect(self) -> tuple[list[Dense | Sparse], list[tuple[Slot, float]]]:
        """Return what is to be called, and what is stepped, with its new step number."""
        dense: dict[tuple[Any, ...], Dense] = {}
        sparse: list[Dense | Sparse] = []
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
                if rate <= _ROUNDS_TO_0 and p.dtype is not torch.float64:
                    rate = 0.0
                updated.append((slot, t))
                if g.layout is not torch.strided:
                    name = _name(group, i, first)
                    sparse.append(sparse_call(slot, g, rule, compiled, rate, first + i, name))
                    continue
                bucket = dense.get(key)
                if bucket is None:
                    bucket = dense[key] = Dense(rule, compiled, [], [], [], [], [])
                try:
                    g, array = slot.gradient(g)
                except TypeError as error:
                    raise TypeError(f"{_name(group, i, first)} {error}") from None
                bucket.triples.append((slot.w, array, slot.s))
                bucket.rates.append(rate)
                bucket.numbers.append(first + i)
                bucket.slots.append(slot)
                bucket.grads.append(g)
            first += len(params)
        return [*dense.values(), *sparse], updated

    def _slots_of(self, number: int, group: dict[str, Any]) -> list[Slot | None]:
        while len(self._slots) <= number:
            self._slots.append([])
        slots = self._slots[number]
        if len(slots) != len(group["params"]):
            slots[:] = [None] * len(group["params"])
        return slots

    def _new_slot(self, group: dict[str, Any], i: int, first: int) -> Slot:
        p, name = group["params"][i], _name(group, i, first)
        state = self.state[p]
        if not state:
            state.update(self._new_state(group, p, name))
        else:  # p.data may be another tensor than the one that was checked
            dtype = self._new_sum(p, name).dtype
            # As after model.double(). If the step is refused after all, this changes no later one.
            if state["sum"].dtype is not dtype:
                new = state["sum"].to(dtype)
                check_sum(name, new)
                state["sum"] = new
        try:
            return Slot(p, state)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None

    def state_dict(self) -> dict[str, Any]:
        """Return the state, as in torch.

        Returns
        -------
        dict
            ``state`` and ``param_groups``; and ``rule``, a dict of the `Rule` fields that groups do
            not hold, where any differs from torch's.
        """
        state: dict[str, Any] = super().state_dict()
        rule = _beside_groups(self.rule)
        if rule != _TORCH:
            state["rule"] = rule
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state that this class or `torch.optim.Adagrad` returned.

        Parameters
        ----------
        state_dict : dict
            Its tensors are copied, and cast to the dtypes that new accumulators would have. The
            hyperparameters of its groups replace those of this optimizer, whose `scale`,
            `clip_value`, `duplicates` and `on_nonfinite` stay.

        Raises
        ------
        TypeError, ValueError
            Where groups, shapes, step numbers or hyperparameters do not fit, an accumulator is no
            real tensor, negative or not finite, or it is the state of another optimizer or of
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
        theirs = state.get("rule", _TORCH)
        if not isinstance(theirs, dict):
            raise TypeError(f"rule of the state must be a dict, got {theirs!r}")
        theirs = {k: v for k, v in theirs.items() if k not in _FREE}
        ours = {k: v for k, v in _beside_groups(self.rule).items() if k not in _FREE}
        if theirs != ours:
            names = {**theirs, **ours}
            shown = ", ".join(
                f"{name}={theirs.get(name, 'missing')!r}"
                for name in names
                if name not in theirs or name not in ours or theirs[name] != ours[name]
            )
            raise ValueError(f"state is of another rule, with {shown}; this is {self.rule}")
        loaded = {}
        first = 0
        for number, (group, saved) in enumerate(
            zip(self.param_groups, state["param_groups"], strict=False)
        ):
            for option in _IN_EVERY_STATE:
                if option not in saved:
                    raise ValueError(
                        f"param_groups[{number}] of the state has no {option!r}: it is of another"
                        " optimizer"
                    )
            if saved.get("differentiable"):
                raise ValueError(_DIFFERENTIABLE)
            self._rule_of(-1 - number, {**group, **saved})  # raises where one is out of range
            for i, (p, key) in enumerate(zip(group["params"], saved["params"], strict=False)):
                entries = state["state"].get(key)
                if not entries:
                    continue
                name = _name(group, i, first)
                loaded[p] = read_entries(name, entries, self._new_sum(p, name))
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


def _beside_groups(rule: Rule) -> dict[str, Any]:
    return {k: v for k, v in dataclasses.asdict(rule).items() if k not in OF_TORCH.values()}


_TORCH = _beside_groups(preset_rule("torch"))
