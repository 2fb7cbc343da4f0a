"""`Adagrad`: the interface of `torch.optim.Adagrad` on this package's kernels, for CPU tensors.

Updates params and accumulators in torch's memory, through NumPy views. The calls of the core are in
`_calls`, checks of loaded states in `_optimizer_state`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import adagrad._core as _core
from adagrad.presets import preset as preset_rule
from adagrad.rule import Rule
from adagrad.torch._calls import (
    Dense,
    Sparse,
    check_copies_apart,
    plain_triples,
    rates_of,
    run_all,
    sparse_call,
)
from adagrad.torch._optimizer_state import (
    as_number,
    check_group,
    check_range,
    check_rule,
    check_same_rule,
    check_sum,
    defaults_of,
    mark_group,
    name_of,
    new_sum,
    read_entries,
)
from adagrad.torch._slots import Slot, plain
from adagrad.torch._table_weight import TableWeight

__all__ = ["Adagrad"]


class Adagrad(torch.optim.Adagrad):
    r"""`torch.optim.Adagrad` for CPU tensors, on this package's kernels.

    It has the same arguments, param groups and state, and takes the same steps up to the last bits:
    it rounds each operation, and torch fuses some. All dense params take one call of the core.
    Sparse gradients need not be coalesced. A step is, element by element,

    .. math::

        s &\leftarrow s + g^2 \\
        w &\leftarrow w - \frac{\eta}{\sqrt{s} + \epsilon}\, g

    Parameters
    ----------
    params : iterable of Tensor, of (str, Tensor) or of dict
        CPU tensors of float32, float64, bfloat16, float16, complex64 or complex128, or param
        groups. A DTensor is one too: each process updates its local shard. Strides are free; a
        param with gaps, such as columns of a tensor, is stepped in a copy. 16-bit params have
        float32 accumulators. Only float32 and float64 params may have sparse gradients.
    lr : float or Tensor, default 0.01
        Step size, kept in ``group["lr"]``, where schedulers change it. For params other than
        float64, a rate that rounds to 0 in float32 is 0, as at the end of a long schedule.
    lr_decay, weight_decay, initial_accumulator_value, eps : float, default 0, 0, 0, 1e-10
        As in torch; tensors of one element are accepted. They may differ between groups. With a
        sparse gradient, `weight_decay`, which torch refuses there, decays only the rows of the
        gradient.
    foreach, fused : bool, optional
        Accepted for compatibility, and ignored. As in torch, not both.
    maximize : bool, default False
        Ascend instead of descend.
    differentiable : bool, default False
        Must be False: gradients do not flow through a step.
    preset : str, optional
        Name of a rule in `adagrad.presets`, which sets the defaults of the arguments above.
    rule : Rule, optional
        Any rule, instead of the arguments above. The groups start with its `lr`, `lr_decay`,
        `weight_decay`, `eps`, `maximize` and `initial_accumulator`; from then on, their values
        count. With ``accumulator="row"``, params of two dimensions have one accumulator per row,
        and other params one per element; a DTensor must not be sharded over columns then.

    Attributes
    ----------
    rule : Rule
        The rule; where groups have an option, theirs counts.
    skipped : int
        With ``on_nonfinite="skip"``, the number of coordinates or rows that were left alone.

    Raises
    ------
    TypeError, ValueError
        If a param cannot be updated in place (on another device, of a class that hides its memory,
        with elements that share memory), or a hyperparameter is out of range. The error has the
        number of the param in `state_dict`.

    Notes
    -----
    The state of a param has ``"step"``, a float64 tensor, exact up to :math:`2^{53}` steps, and
    ``"sum"``, the accumulator: as in torch, complex if the param is, and a DTensor with the
    placements of the param. Checkpoints of `torch.optim.Adagrad` load here, and the reverse.

    A step is all or nothing: if a gradient is refused, no param of this process has changed.

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
            "maximize": maximize if maximize is None else bool(maximize),
        }
        given = {name: as_number(name, x) for name, x in given.items() if x is not None}
        check_range(given)
        if rule is None:
            rule = preset_rule("torch" if preset is None else preset, **given)
        elif not isinstance(rule, Rule):
            raise TypeError(f"rule must be an adagrad.Rule, got {rule!r}")
        elif preset is not None or given:
            names = ", ".join(["preset"] * (preset is not None) + list(given))
            raise TypeError(f"rule and {names} cannot both be given: set them by rule.replace(...)")
        self.rule = rule
        self.skipped = 0
        self._forget()
        if foreach and fused:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        defaults = defaults_of(rule)
        if isinstance(lr, torch.Tensor):
            defaults["lr"] = lr
        defaults |= {"foreach": foreach, "differentiable": differentiable, "fused": fused}
        # That of torch.optim.Adagrad would allocate accumulators.
        torch.optim.Optimizer.__init__(self, params, defaults)

    def _forget(self) -> None:
        """Drop what is cached between steps."""
        self._slots: list[list[Slot | None]] = []
        self._apart: list[Slot] = []  # last found to share no memory
        self._rules: dict[int, tuple[tuple[Any, ...], Rule, _core.Hyperparameters]] = {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a param group, as in torch. If one of its params is refused, no param is added."""
        super().add_param_group(param_group)
        number = len(self.param_groups) - 1
        group = self.param_groups[number]
        states = {}
        try:
            check_group(number, group)
            check_same_rule(group, self.rule)
            mark_group(group, self.rule)
            self._rule_of(number, group)
            name = "initial_accumulator_value"
            group[name] = as_number(name, group[name])
            self.rule.replace(initial_accumulator=group[name])
            first = sum(len(other["params"]) for other in self.param_groups[:number])
            for i, p in enumerate(group["params"]):
                if not isinstance(p, TableWeight):  # its table has accumulators
                    states[p] = self._new_state(group, p, name_of(group, i, first))
        except BaseException:
            del self.param_groups[number]
            self._rules.pop(number, None)
            raise
        self.state.update(states)

    def _new_state(self, group: dict[str, Any], p: torch.Tensor, name: str) -> dict[str, Any]:
        state = {"step": torch.zeros((), dtype=torch.float64, device="cpu")}
        state["sum"] = new_sum(p, name, self.rule)
        plain(state["sum"]).fill_(group["initial_accumulator_value"])
        return state

    def _rule_of(self, number: int, group: dict[str, Any]) -> tuple[Rule, _core.Hyperparameters]:
        names = ("lr", "lr_decay", "weight_decay", "eps", "maximize")
        key = tuple(as_number(name, group[name]) for name in names)
        known = self._rules.get(number)
        if known is not None and known[0] == key:
            return known[1:]
        rule = self.rule.replace(**dict(zip(names, (*key[:-1], bool(key[-1])), strict=True)))
        # The rate is an argument of each call, so a scheduler does not recompile the rule.
        is_same = known is not None and known[0][2:] == key[2:]
        compiled = known[2] if known is not None and is_same else rule._compiled
        self._rules[number] = (key, rule, compiled)
        return rule, compiled

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every param that has a gradient.

        Parameters
        ----------
        closure : callable, optional
            Reevaluates the model and returns the loss.

        Returns
        -------
        The loss that `closure` has returned, or None.

        Raises
        ------
        IndexError, TypeError, ValueError
            If a gradient does not fit its param, or would be rounded to its dtype, or params share
            memory. No param and no state of this process has changed then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        calls, updated, times, copies = self._collect()
        if copies and updated != self._apart:
            check_copies_apart(copies, calls)
            self._apart = updated
        self.skipped += run_all(calls)
        for slot in copies.values():
            slot.store()
        for slot, t in zip(updated, times, strict=True):
            slot.counter[0] = t
        # Autograd does not see writes through NumPy.
        torch.autograd.graph.increment_version([slot.param for slot in updated])
        return loss

    def _collect(self) -> tuple[list[Dense | Sparse], list[Slot], list[float], dict[int, Slot]]:
        """Return the calls of a step, and the slots it updates with their new step numbers.

        Last come, by the numbers of their params, the slots whose arrays are copies.
        """
        dense = Dense(self.rule)
        sparse: list[Dense | Sparse] = []
        updated: list[Slot] = []
        times: list[float] = []
        copies: dict[int, Slot] = {}
        first = 0
        for number, group in enumerate(self.param_groups):
            params, slots = group["params"], self._slots_of(number, group)
            rule, compiled = self._rule_of(number, group)
            grads = [p.grad for p in params]
            triples = plain_triples(params, self.state, slots, grads)
            for i, g in enumerate(grads) if None in triples else ():
                if g is None or triples[i] is not None:
                    continue
                slot, name = slots[i], name_of(group, i, first)
                if slot is None or not slot.is_current(params[i], self.state[params[i]]):
                    slot = slots[i] = self._new_slot(group, i, first)
                if slot.copy is not None:
                    slot.load()
                    copies[first + i] = slot
                if g.layout is torch.strided:
                    try:
                        triples[i] = (slot.w, slot.gradient(g), slot.s)
                    except TypeError as error:
                        raise TypeError(f"{name} {error}") from None
                else:
                    t = slot.counter[0] + 1.0
                    (rate,) = rates_of(rule, [slot], [t])
                    sparse.append(sparse_call(slot, g, rule, compiled, rate, first + i, name))
                    updated.append(slot)
                    times.append(t)
            used = [slot for slot, triple in zip(slots, triples, strict=True) if slot and triple]
            steps = [slot.counter[0] + 1.0 for slot in used]
            dense.triples += filter(None, triples)
            dense.rules += [compiled] * len(used)
            dense.rates += rates_of(rule, used, steps)
            dense.numbers += [first + i for i, triple in enumerate(triples) if triple]
            updated += used
            times += steps
            first += len(params)
        return [dense, *sparse] if dense.triples else sparse, updated, times, copies

    def _slots_of(self, number: int, group: dict[str, Any]) -> list[Slot | None]:
        while len(self._slots) <= number:
            self._slots.append([])
        slots = self._slots[number]
        if len(slots) != len(group["params"]):
            slots[:] = [None] * len(group["params"])
            self._apart = []
        return slots

    def _new_slot(self, group: dict[str, Any], i: int, first: int) -> Slot:
        p, name = group["params"][i], name_of(group, i, first)
        state = self.state.get(p)
        if not state:
            state = self.state[p] = self._new_state(group, p, name)
        else:  # p.data may not be the tensor that was checked
            dtype = new_sum(p, name, self.rule).dtype
            # For example after model.double(). Harmless if the step is refused later.
            if state["sum"].dtype is not dtype:
                new = state["sum"].to(dtype)
                check_sum(name, plain(new))
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
            ``state`` and ``param_groups``. If any field of the rule that groups do not have differs
            from torch's, also ``rule``, a dict of those fields, here and in each group.
        """
        state: dict[str, Any] = super().state_dict()
        for entries in (state, *state["param_groups"]):
            mark_group(entries, self.rule)  # a new mark, because dcp.load writes into it
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state that this class or `torch.optim.Adagrad` has returned.

        Parameters
        ----------
        state_dict : dict
            Its tensors are copied, and cast to the dtypes of new accumulators. The hyperparameters
            of its groups replace those of this optimizer. `scale`, `clip_value`, `duplicates` and
            `on_nonfinite` of the rule stay.

        Raises
        ------
        TypeError, ValueError
            If groups, shapes, step numbers or hyperparameters do not fit, an accumulator is not a
            real tensor, negative or not finite, or the state is of another optimizer or another
            rule; a state of torch's needs ``preset="torch"``. Nothing has changed then.
        """
        loaded: dict[torch.Tensor, dict[str, torch.Tensor]] = {}

        def read(_: Any, state: dict[str, Any]) -> None:
            loaded.update(self._read(state))

        # The last hook sees the state as the others have changed it.
        handle = self.register_load_state_dict_pre_hook(read)
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()
        # torch has cast accumulators to the dtypes of params, and shares those it has not cast.
        for p, entries in loaded.items():
            self.state[p].update(entries)

    def _read(self, state: dict[str, Any]) -> dict[torch.Tensor, dict[str, torch.Tensor]]:
        """Check a state, and return copies of its tensors by param."""
        check_rule(self.rule, state)
        loaded = {}
        first = 0
        for number, (group, saved) in enumerate(
            zip(self.param_groups, state["param_groups"], strict=False)
        ):
            check_group(number, saved)
            self._rule_of(-1 - number, {**group, **saved})  # raises if one is out of range
            for i, (p, key) in enumerate(zip(group["params"], saved["params"], strict=False)):
                entries = state["state"].get(key)
                if not entries:
                    continue
                name = name_of(group, i, first)
                loaded[p] = read_entries(name, entries, new_sum(p, name, self.rule))
            first += len(group["params"])
        return loaded

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "rule": self.rule, "skipped": self.skipped}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # That of torch.optim.Adagrad needs a state of every param.
        torch.optim.Optimizer.__setstate__(self, state)
        self._forget()
        for group in self.param_groups:  # the checkpoint of an older torch lacks some
            for name, value in self.defaults.items():
                group.setdefault(name, value)
            mark_group(group, self.rule)

    def share_memory(self) -> None:
        """Move the state to shared memory."""
        for state in self.state.values():
            state["sum"].share_memory_()
            state["step"].share_memory_()
