"""`TableModule`: what torch sees of the tables of a module: its parameters, and their state."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parallel import DistributedDataParallel

from adagrad.tables.table import Table
from adagrad.torch._table_state import (
    KINDS,
    check_state,
    earlier_state,
    restore_state,
    state_of,
)
from adagrad.torch._table_weight import TableWeight, weight_of

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TableModule", "real_dtype"]


class TableModule(torch.nn.Module):
    """A module whose parameters are the weights of tables.

    Parameters
    ----------
    tables : Table or sequence of Table
        As for `adagrad.torch.TableEmbeddingBag`.
    """

    _tables: tuple[Table, ...]
    _tied: dict[str, TableWeight]
    _only_read: list[TableWeight]

    def __init__(self, tables: Table | Sequence[Table]) -> None:
        super().__init__()
        self._tied = {}
        self.tables = tables

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables, which can be replaced by as many others."""
        return self._tables

    @tables.setter
    def tables(self, tables: Table | Sequence[Table]) -> None:
        given = _check_tables(tables)
        trains = [weight.requires_grad for weight in self._tied.values()]
        if trains and len(trains) != len(given):
            raise ValueError(f"tables must be {len(trains)} tables again, got {len(given)}")
        trains = trains or [True] * len(given)
        weights = list(map(weight_of, given, trains))  # raises before the first change
        self._tables = given
        self._tied = dict(zip(_weight_names(len(given)), weights, strict=True))
        self._only_read = [weight for weight in weights if weight.is_private]
        self._parameters.update(self._tied)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "tables":  # torch would register a parameter or module by the property's name
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def _stepped(self) -> list[TableWeight]:
        """Return the weights whose tables a backward pass steps; raise if any was replaced."""
        trains = self.training and torch.is_grad_enabled()
        parameters = self._parameters
        stepped = []
        for name, weight in self._tied.items():
            if parameters.get(name) is not weight:
                raise self._replaced(name)
            weight.check_tied()
            if trains and weight.requires_grad:
                stepped.append(weight)
        for weight in self._only_read:
            weight.check_unwritten()
        replica = getattr(DistributedDataParallel, "_active_ddp_module", None)
        if stepped and replica is not None:
            _check_replica(replica, stepped)
        return stepped

    def _replaced(self, name: str) -> RuntimeError:
        return RuntimeError(
            f"{name} of {type(self).__name__} is the memory of its table and cannot be replaced by"
            f" another tensor, as sharding and parametrization do: write into it, as in"
            f" {name}.data.copy_(...), or assign the attribute tables"
        )

    def register_parameter(self, name: str, param: torch.nn.Parameter | None) -> None:
        """Add a parameter, as in torch; RuntimeError if it would replace the weight of a table."""
        if name in self._tied:
            raise self._replaced(name)
        super().register_parameter(name, param)

    @property
    def requires_grad(self) -> bool:
        """Whether any table trains: whether its parameter requires a gradient."""
        return any(weight.requires_grad for weight in self._tied.values())

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        for weight in self._tied.values():
            weight.requires_grad_(requires_grad)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Convert all but the tables, for `to`, `half`, `share_memory` and the like."""
        for name, weight in self._tied.items():
            probe = fn(torch.empty(1, dtype=weight.dtype, device="cpu"))
            if probe.is_shared():
                weight.share_memory_()  # raises
            if probe.dtype is not weight.dtype or not probe.is_cpu:
                warnings.warn(
                    f"{name} of {type(self).__name__} stays {weight.table.dtype} on the CPU, where"
                    f" its table is, and results are {real_dtype(weight.table)}: convert these, or"
                    " use another table",
                    UserWarning,
                    stacklevel=4,
                )
        with self._without_weights():
            super()._apply(fn, recurse)
        return self

    @contextlib.contextmanager
    def _without_weights(self) -> Iterator[None]:
        """Let a method of torch.nn.Module see the parameters that are not those of tables."""
        whole = self._parameters
        others = {name: p for name, p in whole.items() if name not in self._tied}
        self.__dict__["_parameters"] = others
        try:
            yield
        finally:
            whole.update(others)
            self.__dict__["_parameters"] = whole

    def __getattr__(self, name: str) -> Any:
        # What torch.nn.EmbeddingBag has, and what state_dict has: tools look up its names.
        tied = self.__dict__.get("_tied", {})
        if name in ("num_embeddings", "embedding_dim") and len(tied) == 1:
            return self.tables[0].rows if name == "num_embeddings" else self.tables[0].dim
        for kind in KINDS[1:]:
            weight = tied.get(name.replace(kind, "weight", 1))
            if weight is not None and name.startswith(kind):
                return state_of(weight, kind)
        if name in ("num_embeddings", "embedding_dim", *KINDS) and len(tied) > 1:
            raise AttributeError(
                f"{type(self).__name__} has {len(tied)} tables, and {name} is that of one: look at"
                f" tables[0], weight_0 and so on"
            )
        return super().__getattr__(name)

    def _keys(self, prefix: str) -> dict[str, dict[str, str]]:
        """Return the keys of a state, by the name of the weight and by kind."""
        return {
            name: {kind: prefix + name.replace("weight", kind) for kind in KINDS}
            for name in self._tied
        }

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, keys in self._keys(prefix).items():
            weight = self._tied[name]
            for kind, key in keys.items():
                keeps = kind == "weight" and keep_vars
                destination[key] = weight if keeps else state_of(weight, kind)
        with self._without_weights():
            super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        unexpected: list[str] = []
        rest = (local_metadata, strict, missing_keys, unexpected, error_msgs)
        with self._without_weights():
            super()._load_from_state_dict(state_dict, prefix, *rest)  # calls hooks
        keys = self._keys(prefix)
        own = {key for of_one in keys.values() for key in of_one.values()}
        earlier = prefix + "_extra_state"
        is_earlier = isinstance(state_dict.get(earlier), dict) and own.isdisjoint(state_dict)
        unexpected_keys += [
            key for key in unexpected if key not in own and not (is_earlier and key == earlier)
        ]
        try:
            if is_earlier:
                state_dict = self._in_earlier(state_dict[earlier], earlier, keys)
            found = []
            for name, weight in self._tied.items():
                at = keys[name].items()
                state = {kind: state_dict[key] for kind, key in at if key in state_dict}
                if set(state) != {"weight"}:  # what a torch.nn.EmbeddingBag has
                    missing_keys += [key for kind, key in at if kind not in state]
                key = prefix + name.replace("weight", "{}")
                found.append((weight, state, check_state(weight, state, key)))
        except (TypeError, ValueError, OSError, RuntimeError) as error:
            error_msgs.append(str(error))
            return
        for weight, state, read in found:
            restore_state(weight, state, read)

    def _in_earlier(
        self, extra: dict[str, Any], key: str, keys: dict[str, dict[str, str]]
    ) -> dict[str, torch.Tensor]:
        """Return the tensors in the extra state that this module once had."""
        states = extra.get("tables")
        if not isinstance(states, list) or len(states) != len(self._tied):
            raise ValueError(f"{key} must be that of {len(self._tied)} tables")
        found = {}
        for t, (of_one, state) in enumerate(zip(keys.values(), states, strict=True)):
            for kind, value in earlier_state(f"{key} of tables[{t}]", state).items():
                found[of_one[kind]] = value
        return found

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Before its tables were parameters, a module had these two attributes.
        tables, trains = state.get("tables"), state.get("requires_grad", True)
        super().__setstate__({k: state[k] for k in state if k not in ("tables", "requires_grad")})
        if tables is not None:
            self._tied = {}
            self.tables = tables
            self.requires_grad = trains


def _check_replica(replica: DistributedDataParallel, stepped: list[TableWeight]) -> None:
    """Raise if the replicas of a model would train tables of their own by mistake."""
    ignored = replica.parameters_to_ignore
    for name, p in replica.module.named_parameters():
        if name not in ignored and any(p is weight for weight in stepped):
            raise RuntimeError(
                f"DistributedDataParallel does not synchronize {name}, a table that each process"
                " would train by itself: freeze it, or accept that by naming it to"
                " DistributedDataParallel._set_params_and_buffers_to_ignore_for_model"
            )


def _weight_names(tables: int) -> list[str]:
    return ["weight"] if tables == 1 else [f"weight_{t}" for t in range(tables)]


def _check_tables(tables: object) -> tuple[Table, ...]:
    given = (tables,) if isinstance(tables, Table) else tables
    if not isinstance(given, (list, tuple)) or not all(isinstance(t, Table) for t in given):
        remedy = ""
        if isinstance(tables, int):
            remedy = f": make one with adagrad.Table({tables}, dim)"
        elif isinstance(tables, torch.Tensor):
            remedy = ": use from_pretrained"
        raise TypeError(
            f"tables must be an adagrad.Table or a sequence of them, got {tables!r:.60}{remedy}"
        )
    if not given:
        raise ValueError("tables must not be empty")
    for t, table in enumerate(given):
        if any(table is other for other in given[:t]):
            raise ValueError(
                f"tables[{t}] is given twice: to share a table, give it the bags of all features"
            )
        if real_dtype(table) != real_dtype(given[0]):
            raise ValueError(
                f"tables[{t}] has dtype {table.dtype} and tables[0] {given[0].dtype}, which compute"
                " in different dtypes"
            )
    return tuple(given)


def real_dtype(table: Table) -> torch.dtype:
    """Return the dtype in which a table computes."""
    return torch.float64 if table.dtype == "float64" else torch.float32
