"""`to_tables` and `from_tables`: a model whose embedding bags become tables, and back."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any, NamedTuple

import torch

from adagrad.rule import Rule
from adagrad.tables.table import Table
from adagrad.torch._groups import Groups
from adagrad.torch._table_state import restore_state
from adagrad.torch._table_weight import dtype_name
from adagrad.torch.embedding import TableEmbeddingBag
from adagrad.torch.optimizer import Adagrad

__all__ = ["from_tables", "to_tables"]

_OPTIONS = (
    "max_norm",
    "norm_type",
    "scale_grad_by_freq",
    "mode",
    "sparse",
    "include_last_offset",
    "padding_idx",
)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_WEIGHT_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


class _Found(NamedTuple):
    """A module that is to be replaced, and the modules that have it, each with its name there."""

    name: str
    module: Any
    holders: list[tuple[torch.nn.Module, str]]


def to_tables(
    model: torch.nn.Module,
    optimizer: Adagrad | torch.optim.Adagrad | None = None,
    *,
    rule: Rule | None = None,
) -> torch.nn.Module:
    """Replace every `torch.nn.EmbeddingBag` of a model by a `TableEmbeddingBag`.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place: each EmbeddingBag gets a table in memory with a copy of its params, and
        keeps its options. Subclasses of EmbeddingBag and all other modules stay.
    optimizer : torch.optim.Adagrad or adagrad.torch.Adagrad, optional
        The optimizer of these params. Changed in place: each table takes over the hyperparameters,
        accumulators and step number of its params.
    rule : Rule, optional
        The rule of the tables if there is no optimizer; by default ``Rule()``.

    Returns
    -------
    torch.nn.Module
        The model; its replacement if it is an EmbeddingBag itself.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, or one of the modules cannot be replaced: it has hooks, or its
        weight is shared, has a gradient, or is not a param of the optimizer. Nothing has changed
        then.

    Warns
    -----
    UserWarning
        If the model has no EmbeddingBag, or the optimizer has a scheduler.

    Notes
    -----
    Predictions stay the same, to the last bit with the modes "sum" and "max". Training continues
    as before up to the last bits, if a forward pass calls each module once: each call is then a
    step of the table. Schedulers do not reach tables; see `TableEmbeddingBag`.

    In the param groups, the weight of a table takes the place of the param that it replaces. The
    optimizer skips it, because its `grad` stays None.

    Examples
    --------
    >>> import torch
    >>> from adagrad.torch import from_tables, to_tables
    >>> bags = torch.nn.EmbeddingBag(1000, 8, mode="sum", sparse=True)
    >>> model = torch.nn.Sequential(bags, torch.nn.Linear(8, 1))
    >>> optimizer = torch.optim.Adagrad(model.parameters(), lr=0.05)
    >>> to_tables(model, optimizer)[0].tables[0].rule.lr
    0.05
    >>> from_tables(model, optimizer)[0]
    EmbeddingBag(1000, 8, mode='sum')
    """
    if optimizer is not None and rule is not None:
        raise TypeError("rule and optimizer cannot both be given: tables take that of their params")
    groups = Groups(optimizer)
    made = []
    for found in _find(model, torch.nn.EmbeddingBag):
        bag = found.module
        if not bag.weight.is_cpu:
            raise ValueError(
                f"the weight of {found.name} is on {bag.weight.device}, but tables are in the"
                " memory of the CPU: move the model there first"
            )
        if bag.weight.grad is not None:
            raise ValueError(
                f"the weight of {found.name} has a gradient, which would be lost: take a step with"
                " it if that is due, then call zero_grad()"
            )
        own, state = groups.rule_and_state(found.name, bag.weight, dense=not bag.sparse)
        made.append((found, _bags_like(bag, own or rule, state), state))
    if not made:
        warnings.warn(
            "the model has no torch.nn.EmbeddingBag, so nothing has changed: modules of other"
            " classes, such as torch.nn.Embedding, stay",
            UserWarning,
            stacklevel=2,
        )
    if made and groups.have_scheduler:
        warnings.warn(
            "a scheduler changes the rates of this optimizer, but not those of tables: after its"
            " steps, set table.rule = table.rule.replace(lr=...)",
            UserWarning,
            stacklevel=2,
        )
    while made:  # what is replaced can be freed before the next table is filled
        found, bags, state = made.pop()
        table, weight = bags.tables[0], found.module.weight
        tensors = {"weight": weight.detach()}
        if state:
            tensors["accumulator"] = state["sum"].reshape(table.rows, -1)
            table.steps = int(state["step"])
        restore_state(bags.weight, tensors, None)
        groups.replace(weight, bags.weight)
        model = _replace(model, found, bags)
    return model


def from_tables(
    model: torch.nn.Module, optimizer: Adagrad | torch.optim.Adagrad | None = None
) -> torch.nn.Module:
    """Replace every `TableEmbeddingBag` of a model by a `torch.nn.EmbeddingBag`.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place: each TableEmbeddingBag with one table becomes an EmbeddingBag with a copy
        of its params and with its options.
    optimizer : torch.optim.Adagrad or adagrad.torch.Adagrad, optional
        An optimizer that has the weights of the tables among its params, like that of `to_tables`.
        Changed in place: it takes over the accumulators and step numbers of the tables.

    Returns
    -------
    torch.nn.Module
        The model; its replacement if it is a TableEmbeddingBag itself.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, or one of the modules cannot be replaced: it has hooks or
        several tables, its table is shared, or its weight is not a param of the optimizer or has
        other hyperparameters there. Nothing has changed then.
    """
    groups = Groups(optimizer)
    found = _find(model, TableEmbeddingBag)
    for name, module, _ in found:
        if len(module.tables) != 1:
            raise ValueError(
                f"{name} has {len(module.tables)} tables, but torch.nn.EmbeddingBag has one: give"
                " each table a module of its own"
            )
        groups.check_rule(name, module.weight, module.tables[0])
    while found:
        last = found.pop()
        weight, table = last.module.weight, last.module.tables[0]
        bag = torch.nn.EmbeddingBag.from_pretrained(
            weight.detach().clone(memory_format=torch.contiguous_format),
            freeze=not weight.requires_grad,
            **{name: getattr(last.module, name) for name in _OPTIONS},
        )
        sums = last.module.accumulator
        groups.replace(weight, bag.weight, steps=table.steps, sums=sums)
        model = _replace(model, last, bag.train(last.module.training))
    return model


def _find(model: torch.nn.Module, kind: type[torch.nn.Module]) -> list[_Found]:
    """Return the modules of this class, not of its subclasses; raise if one cannot be replaced."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    found = {}
    if type(model) is kind:
        found[model] = _Found("the model", model, [])
    for prefix, parent in model.named_modules():
        for name, module in parent._modules.items():
            if type(module) is kind:
                path = f"{prefix}.{name}" if prefix else name
                found.setdefault(module, _Found(path, module, [])).holders.append((parent, name))
    uses = Counter(id(p) for m in model.modules() for p in m._parameters.values() if p is not None)
    for name, module, _ in found.values():
        weights = list(module._parameters.values())
        hooks = [getattr(module, hooks) for hooks in _HOOKS]
        hooks += [getattr(weight, hooks) for hooks in _WEIGHT_HOOKS for weight in weights]
        if any(hooks):
            raise ValueError(f"{name} or its weight has hooks, which would be lost: remove them")
        if any(uses[id(weight)] > 1 for weight in weights):
            raise ValueError(
                f"the weight of {name} is also that of another module, which would keep the old"
                " one: share the module instead"
            )
    return list(found.values())


def _bags_like(
    bag: torch.nn.EmbeddingBag, rule: Rule | None, state: dict[str, Any]
) -> TableEmbeddingBag:
    """Return a module like this one, whose params and accumulators are yet to be copied."""
    weight, half = bag.weight, None
    if weight.dtype.itemsize == 2 and state:
        half = dtype_name(state["sum"].dtype)
    dtype = dtype_name(weight.dtype)
    table = Table(bag.num_embeddings, bag.embedding_dim, rule, dtype, state_dtype=half)
    bags = TableEmbeddingBag(table, **{name: getattr(bag, name) for name in _OPTIONS})
    bags.requires_grad_(weight.requires_grad)
    bags.train(bag.training)
    return bags


def _replace(model: torch.nn.Module, found: _Found, new: torch.nn.Module) -> torch.nn.Module:
    """Put a module where the other was; return the model."""
    for holder, name in found.holders:
        holder._modules[name] = new
    return new if found.module is model else model
