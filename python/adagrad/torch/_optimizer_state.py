"""Accumulators of `adagrad.torch.Adagrad`: new ones, and the checks of a state that it loads."""

from __future__ import annotations

import dataclasses
import numbers
from typing import Any

import torch

from adagrad.convert import TORCH as OF_TORCH
from adagrad.presets import preset
from adagrad.rule import Rule
from adagrad.torch._slots import has_gaps, is_distributed, is_opaque, plain

__all__ = [
    "as_number",
    "check_group",
    "check_range",
    "check_rule",
    "check_same_rule",
    "check_sum",
    "defaults_of",
    "mark_group",
    "name_of",
    "new_sum",
    "read_entries",
]

# Dtypes of params, and of their accumulators.
_SUM_DTYPES = {
    torch.float32: torch.float32,
    torch.float64: torch.float64,
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
    torch.complex64: torch.complex64,
    torch.complex128: torch.complex128,
}
# Fields that may differ between the optimizer that saved a state and the one that loads it, because
# accumulators do not depend on them.
_FREE = ("scale", "clip_value", "duplicates", "on_nonfinite")
# Options in the groups of every version of torch's Adagrad, and of no other optimizer of torch.
_REQUIRED = ("lr", "lr_decay", "weight_decay", "eps")


# How torch names hyperparameters that are out of range.
_SHOWN = {
    "lr": "learning rate",
    "lr_decay": "lr_decay value",
    "weight_decay": "weight_decay value",
    "initial_accumulator": "initial_accumulator_value value",
    "eps": "epsilon value",
}
_DEFAULTS = {
    "lr": 1e-2,
    "lr_decay": 0,
    "eps": 1e-10,
    "weight_decay": 0,
    "initial_accumulator_value": 0,
    "foreach": None,
    "maximize": False,
    "differentiable": False,
    "fused": None,
}


def name_of(group: dict[str, Any], i: int, first: int) -> str:
    """Return the name of param i of a group in error messages."""
    names = group.get("param_names")
    return f"params[{first + i}]" + (f" ({names[i]})" if names else "")


def as_number(name: str, value: float | torch.Tensor | None) -> Any:
    """Return the value of a tensor of one element; return anything else unchanged."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.numel() != 1:
        raise ValueError(f"Tensor {name} must be 1-element, got shape {tuple(value.shape)}")
    return value.item()


def check_range(given: dict[str, Any]) -> None:
    """Raise what torch raises for arguments that are negative or NaN; a Rule checks the others."""
    for name, shown in _SHOWN.items():
        if name in given and not given[name] >= 0.0:
            raise ValueError(f"Invalid {shown}: {given[name]}")


def defaults_of(rule: Rule) -> dict[str, Any]:
    """Return what a param group has, in the order of torch and with its 0 for 0.0."""
    values = {name: getattr(rule, field) for name, field in OF_TORCH.items()}
    return {
        name: default if values.get(name, default) == default else values[name]
        for name, default in _DEFAULTS.items()
    }


def new_sum(p: torch.Tensor, name: str, rule: Rule) -> torch.Tensor:
    """Return memory for the accumulators of a param, or raise if the param is not supported."""
    if p.device.type != "cpu":
        raise ValueError(
            f"{name} is on device {p.device}: adagrad.torch.Adagrad updates CPU tensors only,"
            " torch.optim.Adagrad others too"
        )
    if p.layout is not torch.strided or p.dtype not in _SUM_DTYPES:
        raise TypeError(
            f"{name} must be a strided tensor of float32, float64, bfloat16, float16, complex64 or"
            f" complex128, got dtype {p.dtype} and layout {p.layout}"
        )
    if is_opaque(p):
        raise TypeError(
            f"{name} is a {type(p).__name__}, whose memory cannot be updated from outside:"
            " torch.optim.Adagrad supports it"
        )
    if p.is_inference():
        raise ValueError(f"{name} was created in inference mode, so it cannot be trained")
    if p.is_neg() or p.is_conj():
        kind = "negative" if p.is_neg() else "conjugate"
        raise ValueError(f"{name} is a {kind} view, so it cannot be updated in place")
    if is_distributed(p) and any(placement.is_partial() for placement in p.placements):
        raise ValueError(
            f"{name} has placements {p.placements}: redistribute it, because a step of a sum is not"
            " the sum of the steps of its parts"
        )
    memory = plain(p)
    try:
        has_gaps(memory)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
    dtype = _SUM_DTYPES[p.dtype]
    if rule.accumulator == "row" and p.dim() == 2:
        return _row_sum(p, memory, name, dtype)
    return torch.empty_like(p, dtype=dtype, requires_grad=False)


def _row_sum(p: torch.Tensor, memory: torch.Tensor, name: str, dtype: torch.dtype) -> torch.Tensor:
    if p.is_complex():
        raise TypeError(f"{name} has dtype {p.dtype}; accumulators per row need a real one")
    if not memory.is_contiguous() and not has_gaps(memory):
        raise ValueError(
            f"{name} has strides {memory.stride()} for shape {tuple(memory.shape)}; a param with"
            " accumulators per row must be contiguous"
        )
    s = torch.empty(memory.shape[:1], dtype=dtype, device="cpu")
    if not is_distributed(p):
        return s
    if any(placement.is_shard(1) for placement in p.placements):
        raise ValueError(
            f"{name} has placements {p.placements}: a process that has parts of rows cannot have"
            " their accumulators; shard dimension 0, or choose a rule with one per element"
        )
    return type(p).from_local(
        s, p.device_mesh, p.placements, run_check=False, shape=p.shape[:1], stride=(1,)
    )


def check_sum(name: str, s: torch.Tensor) -> None:
    """Raise if an accumulator is negative, NaN, or too large for its dtype."""
    if s.numel() and not (s.min() >= 0.0 and s.max() < torch.inf):  # min is NaN if any element is
        at = (~((s >= 0.0) & (s < torch.inf))).nonzero()[0].tolist()
        raise ValueError(
            f"{name} has an accumulator that is {s[tuple(at)].item()} at {at} in {s.dtype};"
            " accumulators must be finite and not negative"
        )


def read_entries(name: str, entries: dict[str, Any], new: torch.Tensor) -> dict[str, torch.Tensor]:
    """Check a param's entries of a state; return them with the accumulator copied to `new`."""
    if not (isinstance(entries, dict) and {"step", "sum"} <= entries.keys()):
        raise ValueError(
            f"{name} has {', '.join(map(repr, entries))} in the state instead of 'step' and 'sum':"
            " it is the state of another optimizer"
        )
    s, step = entries["sum"], entries["step"]
    is_real = isinstance(s, torch.Tensor) and (s.is_floating_point(), s.is_complex())
    if is_real != (not new.is_complex(), new.is_complex()) or s.layout is not torch.strided:
        kind = f"{s.dtype}, {s.layout}" if isinstance(s, torch.Tensor) else type(s).__name__
        wanted = "complex" if new.is_complex() else "floating"
        raise TypeError(
            f"{name} needs an accumulator that is a strided tensor of a {wanted} dtype, but the"
            f" state has {kind}"
        )
    if s.shape != new.shape:
        raise ValueError(
            f"{name} needs an accumulator of shape {tuple(new.shape)}, but the state has one of"
            f" shape {tuple(s.shape)}"
        )
    if is_distributed(s) != is_distributed(new):
        kinds = ["a DTensor" if is_distributed(t) else "not one" for t in (new, s)]
        raise TypeError(
            f"{name} needs an accumulator that is {kinds[0]}, but that of the state is {kinds[1]}:"
            " torch.distributed.checkpoint.state_dict converts states"
        )
    number = as_number(f"step of {name}", step)
    is_number = isinstance(number, numbers.Real) and not isinstance(number, bool)
    if not (is_number and number >= 0 and float(number).is_integer()):
        raise ValueError(
            f"{name} has step number {number!r} in the state; it must be an integer of at least 0"
        )
    if is_distributed(s) and s.placements != new.placements:
        s = s.redistribute(placements=new.placements)
    check_sum(name, plain(new).copy_(plain(s.resolve_conj())))
    return {"step": torch.tensor(float(number), dtype=torch.float64, device="cpu"), "sum": new}


def check_group(number: int, group: dict[str, Any]) -> None:
    """Raise if a param group lacks an option that every AdaGrad has, or is differentiable."""
    if group.get("differentiable"):
        raise ValueError("differentiable must be False, because autograd does not record a step")
    for option in _REQUIRED:
        if option not in group:
            raise ValueError(
                f"param_groups[{number}] of the state has no {option!r}: it is the state of another"
                " optimizer"
            )


def rule_entry(rule: Rule) -> dict[str, Any] | None:
    """Return the fields of a rule that groups do not hold, or None if they are those of torch."""
    fields = _beside_groups(rule)
    return None if fields == _TORCH else fields


def check_same_rule(group: dict[str, Any], rule: Rule) -> None:
    """Raise if a group asks for another rule than its optimizer has."""
    # ZeroRedundancyOptimizer puts the arguments of the optimizer into each group.
    name = group.get("preset")
    own = group.get("rule") if name is None else preset(name, lr=0.0)
    if isinstance(own, Rule) and rule_entry(own) != rule_entry(rule):
        raise TypeError(
            "a param group cannot have another rule than its optimizer: make one optimizer for each"
            " rule"
        )


def mark_group(group: dict[str, Any], rule: Rule) -> None:
    """Keep the entry of a rule in a group: torch.distributed.checkpoint keeps what groups have."""
    entry = rule_entry(rule)
    group.pop("rule", None)
    if entry is not None:
        group["rule"] = entry


def check_rule(rule: Rule, state: dict[str, Any]) -> None:
    """Raise if a state is of another rule: if accumulators mean something else there."""
    places = (state, *state["param_groups"])
    theirs = next((place["rule"] for place in places if "rule" in place), _TORCH)
    if not isinstance(theirs, dict):
        raise TypeError(f"rule of the state must be a dict, got {theirs!r}")
    theirs = {k: v for k, v in theirs.items() if k not in _FREE}
    ours = {k: v for k, v in _beside_groups(rule).items() if k not in _FREE}
    if theirs == ours:
        return
    shown = ", ".join(
        f"{name}={theirs.get(name, 'missing')!r}"
        for name in {**theirs, **ours}
        if name not in theirs or name not in ours or theirs[name] != ours[name]
    )
    raise ValueError(f"the state is of another rule, with {shown}; this optimizer has {rule}")


def _beside_groups(rule: Rule) -> dict[str, Any]:
    return {k: v for k, v in dataclasses.asdict(rule).items() if k not in OF_TORCH.values()}


_TORCH = _beside_groups(preset("torch"))
