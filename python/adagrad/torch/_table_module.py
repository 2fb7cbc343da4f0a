"""`TableModule`: what torch sees of the tables of a module: its parameters, and their state."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from adagrad.tables.table import Table
from adagrad.torch._table_weight import TableWeight, weight_of

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TableModule", "names_of", "real_dtype"]


class TableModule(torch.nn.Module):
    """A module whose parameters are the weights of tables.

    Parameters
    ----------
    tables : Table or sequence of Table
        As for `adagrad.torch.TableEmbeddingBag`.
    """

    _tables: tuple[Table, ...]
    _weight_names: Sequence[str] = ()

    def __init__(self, tables: Table | Sequence[Table]) -> None:
        super().__init__()
        self.tables = tables

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables, which can be replaced by as many others."""
        return self._tables

    @tables.setter
    def tables(self, tables: Table | Sequence[Table]) -> None:
        given = _check_tables(tables)
        trains = [weight.requires_grad for weight in self._registered().values()]
        if trains and len(trains) != len(given):
            raise ValueError(f"tables must be {len(trains)} tables again, got {len(given)}")
        trains = trains or [True] * len(given)
        weights = list(map(weight_of, given, trains))  # raises before the first change
        self._weight_names = names_of("weight", len(given))
        self._parameters.update(zip(self._weight_names, weights, strict=True))
        self._tables = given

    def _registered(self) -> dict[str, TableWeight]:
        """Return the parameters of the tables that are in their places."""
        found = {name: self._parameters.get(name) for name in self._weight_names}
        return {name: p for name, p in found.items() if isinstance(p, TableWeight)}

    def _weights(self) -> list[TableWeight]:
        """Return the parameters of the tables, or raise if something took their places."""
        weights = []
        for name, table in zip(self._weight_names, self._tables, strict=True):
            weight = self._parameters.get(name)
            if type(weight) is not TableWeight or weight.table is not table:
                raise self._replaced(name)
            if weight.memory is not table._memory:
                weight.check_unwritten()
            weights.append(weight)
        return weights

    def _replaced(self, name: str) -> RuntimeError:
        return RuntimeError(
            f"{name} of {type(self).__name__} is the memory of its table and cannot be replaced by"
            f" another tensor, as sharding and parametrization do: write into it, as in"
            f" {name}.data.copy_(...), or assign the attribute tables"
        )

    def register_parameter(self, name: str, param: torch.nn.Parameter | None) -> None:
        """Add a parameter, as in torch; RuntimeError if it would replace the weight of a table."""
        if name in self._weight_names:
            raise self._replaced(name)
        super().register_parameter(name, param)

    @property
    def requires_grad(self) -> bool:
        """Whether any table trains: whether its parameter requires a gradient."""
        return any(weight.requires_grad for weight in self._registered().values())

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        for weight in self._registered().values():
            weight.requires_grad_(requires_grad)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Convert all but the tables, for `to`, `half`, `share_memory` and the like."""
        for name, weight in self._registered().items():
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
        weights = self._registered()
        others = {name: p for name, p in whole.items() if name not in weights}
        self.__dict__["_parameters"] = others
        try:
            yield
        finally:
            whole.update(others)
            self.__dict__["_parameters"] = whole

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        with self._without_weights():
            super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, *args: Any) -> None:
        with self._without_weights():
            super()._load_from_state_dict(*args)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Before its tables were parameters, a module had these two attributes.
        tables, trains = state.get("tables"), state.get("requires_grad", True)
        super().__setstate__({k: state[k] for k in state if k not in ("tables", "requires_grad")})
        if tables is not None:
            self.tables = tables
            self.requires_grad = trains


def names_of(name: str, tables: int) -> list[str]:
    """Return the names of what each of several tables has; the name itself for one table."""
    return [name] if tables == 1 else [f"{name}_{t}" for t in range(tables)]


def _check_tables(tables: object) -> tuple[Table, ...]:
    given = (tables,) if isinstance(tables, Table) else tables
    if not isinstance(given, (list, tuple)) or not all(isinstance(t, Table) for t in given):
        remedy = f": make one with adagrad.Table({tables}, dim)" if isinstance(tables, int) else ""
        raise TypeError(
            f"tables must be an adagrad.Table or a sequence of them, got {tables!r}{remedy}"
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
