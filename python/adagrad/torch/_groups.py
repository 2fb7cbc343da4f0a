"""The param groups of an optimizer in which a weight takes the place of another."""

from __future__ import annotations

from typing import Any

import torch

from adagrad.convert import TORCH as OF_TORCH
from adagrad.presets import preset
from adagrad.rule import Rule
from adagrad.tables.table import Table
from adagrad.torch._optimizer_state import as_number
from adagrad.torch.optimizer import Adagrad

__all__ = ["Groups"]


class Groups:
    """The param groups of an optimizer, or none.

    Parameters
    ----------
    optimizer : adagrad.torch.Adagrad or torch.optim.Adagrad, optional
    """

    def __init__(self, optimizer: Adagrad | torch.optim.Adagrad | None) -> None:
        if not (optimizer is None or isinstance(optimizer, (Adagrad, torch.optim.Adagrad))):
            raise TypeError(
                "optimizer must be a torch.optim.Adagrad or an adagrad.torch.Adagrad, got"
                f" {type(optimizer).__name__}; without it, params alone are copied"
            )
        self._optimizer: Any = optimizer
        groups = [] if optimizer is None else optimizer.param_groups
        self._places = {
            id(p): (number, i)
            for number, group in enumerate(groups)
            for i, p in enumerate(group["params"])
        }

    @property
    def have_scheduler(self) -> bool:
        """Whether a scheduler of torch was made for the optimizer."""
        groups = [] if self._optimizer is None else self._optimizer.param_groups
        return any("initial_lr" in group for group in groups)

    def _place(self, name: str, weight: torch.Tensor) -> tuple[int, int] | None:
        """Return the number of the group, and the position there; None if it does not train."""
        place = self._places.get(id(weight))
        if place is None and self._optimizer is not None and weight.requires_grad:
            raise ValueError(
                f"the weight of {name} trains, but is not a param of the optimizer: add it with"
                " add_param_group, or freeze it"
            )
        return place

    def _rule(self, number: int) -> Rule:
        """Return the rule of a group."""
        group = self._optimizer.param_groups[number]
        if isinstance(self._optimizer, Adagrad):
            rule, _ = self._optimizer._rule_of(number, group)
            return rule.replace(initial_accumulator=group["initial_accumulator_value"])
        fields = {field: as_number(name, group[name]) for name, field in OF_TORCH.items()}
        return preset("torch", **fields)

    def rule_and_state(
        self, name: str, weight: torch.Tensor, *, dense: bool
    ) -> tuple[Rule | None, dict[str, Any]]:
        """Return the rule and the state of a param, which has a dense gradient or a sparse one."""
        place = self._place(name, weight)
        if place is None:
            return None, {}
        rule = self._rule(place[0])
        decays = rule.weight_decay != 0.0 and rule.weight_decay_rows == "touched"
        if dense and (decays or rule.accumulator_decay != 1.0):
            what = "weight_decay" if decays else "accumulator_decay"
            raise ValueError(
                f"{name} has dense gradients, with which {what}={getattr(rule, what)} reaches every"
                " row, but a table changes only the rows of a step: train without it"
            )
        return rule, self._optimizer.state.get(weight, {})

    def check_rule(self, name: str, weight: torch.Tensor, table: Table) -> None:
        """Raise unless the group of a weight has the rule of its table."""
        place = self._place(name, weight)
        if place is None:
            return
        rule = self._rule(place[0])
        if (rule, rule.accumulator) != (table.rule, table.accumulator):
            raise ValueError(
                f"the table of {name} has {table.rule} and state={table.accumulator!r}, but the"
                f" param group of its weight has {rule}: make them equal, or convert without"
                " optimizer"
            )

    def replace(
        self,
        old: torch.Tensor,
        new: torch.nn.Parameter,
        *,
        steps: int = 0,
        sums: torch.Tensor | None = None,
    ) -> None:
        """Put a weight where another was, with these accumulators."""
        place = self._places.pop(id(old), None)
        if place is None:
            return
        optimizer, (number, i) = self._optimizer, place
        group = optimizer.param_groups[number]
        optimizer.state.pop(old, None)
        group["params"][i] = new
        if sums is not None:
            if isinstance(optimizer, Adagrad):
                state = optimizer._new_state(group, new, f"params[{i}]")
            else:
                step = torch.zeros((), dtype=torch.float32, device="cpu")
                state = {"step": step, "sum": torch.empty_like(new)}
            state["sum"].copy_(sums.reshape(state["sum"].shape))
            state["step"].fill_(steps)
            optimizer.state[new] = state
        if isinstance(optimizer, Adagrad):
            optimizer._forget()
