"""Embedding bags for PyTorch whose backward pass trains their tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch

from adagrad import _core
from adagrad.tables import header as _header
from adagrad.tables.table import Array, Mode, Table

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TableEmbeddingBag"]

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "U8": torch.uint8,
}
_IDS = (torch.int64, torch.int32)
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _untraced(function: _Function) -> _Function:
    """Have torch.compile call a function as it is: it would not see what becomes of tables."""
    disable: Callable[[_Function], _Function] = torch.compiler.disable
    return disable(function)


class TableEmbeddingBag(torch.nn.Module):
    """Sums or means of bags of rows, as `torch.nn.EmbeddingBag`, that train in the backward pass.

    The forward pass is `Table.pool`, the backward pass `Table.step_pooled`: it takes one step of
    AdaGrad, by the rule of the table, of the rows that were used. There is no gradient of the size
    of the table, and no optimizer that goes over it: what recommendation systems call a fused
    optimizer. The module has no parameters.

    Parameters
    ----------
    tables : Table or sequence of Table
        Read, and updated in place. Of several tables each is given as many bags. They compute in
        one dtype, and none comes twice: features that share a table put their bags together.
    mode : {"mean", "sum"}, default "mean"
        How a bag is reduced.
    include_last_offset : bool, default False
        Whether `offsets` ends with the number of ids.
    padding_idx : int, optional
        An id that is left out of every bag, and of its size; below 0 it counts from the end of each
        table. Its row is never updated.

    Attributes
    ----------
    tables : tuple of Table
    mode, include_last_offset, padding_idx
        As given.
    requires_grad : bool
        What `requires_grad_` was last called with; at first True.

    Raises
    ------
    TypeError, ValueError, IndexError
        Where an argument is not valid.

    Notes
    -----
    Each backward pass through an output is one step:

    - Gradients are not accumulated from one backward pass to the next, nor from one call to another
      of the same forward pass: two calls take two steps. A second pass with ``retain_graph=True``
      takes a second step.
    - ``rule.scale`` undoes a scaled loss, ``rule.clip_value`` clips. A schedule of learning rates
      is ``rule.lr_decay``, or a new rule between steps:
      ``table.rule = table.rule.replace(lr=lr)``.
    - In eval mode, after ``requires_grad_(False)``, and where autograd is off, nothing is updated.
      ``requires_grad_`` of a module around this one knows parameters alone, which tables are not:
      call this one's.
    - Nothing can be differentiated twice.
    - It is all or nothing: where the rule or the gradients of one of several tables are refused,
      none of them has changed. ``on_nonfinite="raise"`` takes memory for ``n * dim`` elements then.

    Rows whose gradients are to be summed are summed exactly as `Table.step` does, in order of
    appearance. Threads are those of `adagrad.set_num_threads`, not torch's.

    ``state_dict`` has params, accumulators, step counts, rules and seeds, as tensors that share
    the tables' memory. Copies and pickles own their tables. Replicas in several processes
    (DistributedDataParallel) are not synchronized.

    References
    ----------
    Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation
    Systems", arXiv:1906.00091 (2019).

    Examples
    --------
    >>> import torch
    >>> table = adagrad.Table(1000, 2, rule=adagrad.Rule(lr=0.5, eps=0.0))
    >>> bags = adagrad.torch.TableEmbeddingBag(table, mode="sum")
    >>> out = bags(torch.tensor([7, 9, 7, 8]), torch.tensor([0, 3]))
    >>> out.sum().backward()
    >>> table.gather(np.array([7, 8, 9])).tolist()
    [[-0.5, -0.5], [-0.5, -0.5], [-0.5, -0.5]]
    """

    def __init__(
        self,
        tables: Table | Sequence[Table],
        mode: Mode = "mean",
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> None:
        super().__init__()
        self.tables = _check_tables(tables)
        if mode not in ("mean", "sum"):
            raise ValueError(f"mode must be 'mean' or 'sum', got {mode!r}")
        if not isinstance(include_last_offset, bool):
            raise TypeError(f"include_last_offset must be a bool, got {include_last_offset!r}")
        if padding_idx is not None:
            if isinstance(padding_idx, bool) or not isinstance(padding_idx, int):
                raise TypeError(f"padding_idx must be an integer or None, got {padding_idx!r}")
            rows = min(table.rows for table in self.tables)
            if not -rows <= padding_idx < rows:
                raise IndexError(f"padding_idx={padding_idx} is out of range for {rows} rows")
        self.mode = mode
        self.include_last_offset = include_last_offset
        self.padding_idx = padding_idx
        self.requires_grad = True

    @_untraced
    def forward(
        self,
        input: torch.Tensor,
        offsets: torch.Tensor | None = None,
        per_sample_weights: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Reduce bags of rows; of T tables, B bags each.

        Parameters
        ----------
        input : Tensor of int32 or int64, shape [n] or [T * B, L]
            Ids: first those of the first table. Bags of one length are the rows of a matrix.
        offsets : Tensor of int32 or int64, shape [T * B], or [T * B + 1] with include_last_offset
            Where each bag starts in an `input` of one dimension; only there. Bags may be empty.
        per_sample_weights : Tensor of float32, shape of `input`, optional
            Factors of the rows, where `mode` is "sum"; float64 for tables of float64. They may
            require a gradient, which takes memory for ``n * dim`` elements.

        Returns
        -------
        Tensor of float32, shape [B, sum of the tables' dims]
            The tables' results side by side; float64 for tables of float64. It requires a gradient
            in training mode, unless frozen.

        Raises
        ------
        TypeError, ValueError, IndexError
            Where an argument is not valid or an id is out of range, here and not in the backward
            pass.
        """
        _check_tensor("input", input, _IDS)
        if input.ndim == 2:
            if offsets is not None:
                raise ValueError("offsets must be None where input has two dimensions")
            offsets = torch.arange(len(input) + 1, device="cpu") * input.shape[1]
        elif input.ndim != 1:
            raise ValueError(f"input must have 1 or 2 dimensions, got shape {tuple(input.shape)}")
        elif offsets is None:
            raise ValueError("offsets must be given where input has one dimension")
        else:
            _check_tensor("offsets", offsets, _IDS)
            if offsets.ndim != 1:
                raise ValueError(f"offsets must have one dimension, got {tuple(offsets.shape)}")
            if not self.include_last_offset:
                if len(offsets) == 0 and len(input):
                    raise ValueError(f"offsets is empty, but input has {len(input)} ids in no bag")
                offsets = torch.cat((offsets, offsets.new_tensor([len(input)])))
        if per_sample_weights is not None:
            self._check_weights(per_sample_weights, input)
            per_sample_weights = per_sample_weights.reshape(-1)
            if not torch.is_grad_enabled():
                per_sample_weights = per_sample_weights.detach()  # no rows are kept for them
        self._check_offsets(offsets, input.numel())
        bags = input.reshape(-1), offsets, per_sample_weights
        if self.padding_idx is not None:
            bags = self._unpad(*bags)
        # What asks autograd for a backward pass, as the tables are no tensors that could.
        anchor = torch.empty(0, device="cpu", requires_grad=self.training and self.requires_grad)
        try:
            return _pool(anchor, *bags, self.tables, self.mode)
        except IndexError:
            raise self._out_of_range(input, offsets) from None

    def _check_weights(self, weights: torch.Tensor, input: torch.Tensor) -> None:
        if self.mode != "sum":
            raise ValueError(f"per_sample_weights needs mode='sum', got mode={self.mode!r}")
        _check_tensor("per_sample_weights", weights, [_real(self.tables[0])])
        if weights.shape != input.shape:
            raise ValueError(
                f"per_sample_weights has shape {tuple(weights.shape)}, but input has"
                f" {tuple(input.shape)}"
            )

    def _check_offsets(self, offsets: torch.Tensor, n: int) -> None:
        """Check what the tables would only see parts of."""
        if len(offsets) == 0:
            raise ValueError("offsets is empty, but include_last_offset needs the number of ids")
        bags = len(offsets) - 1
        if bags % len(self.tables):
            raise ValueError(f"{len(self.tables)} tables need as many bags each, got {bags} bags")
        # In NumPy, whose reductions have a tenth of torch's overhead.
        ends = offsets.numpy()
        if ends[0] != 0 or ends[-1] != n or not (ends[:-1] <= ends[1:]).all():
            wrong = np.r_[ends[0] != 0, ends[:-1] > ends[1:]] | (ends > n)
            wrong[-1] |= ends[-1] != n
            b = int(wrong.argmax())
            raise ValueError(
                f"offsets[{b}] = {ends[b]}, but offsets ascend from 0 to {n}, the number of ids"
            )

    def _unpad(
        self, rows: torch.Tensor, offsets: torch.Tensor, weights: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Leave out the ids that pad."""
        assert self.padding_idx is not None
        bags = (len(offsets) - 1) // len(self.tables)
        kept = torch.empty(len(rows), dtype=torch.bool, device="cpu")
        for t, table in enumerate(self.tables):
            part = slice(int(offsets[t * bags]), int(offsets[(t + 1) * bags]))
            torch.ne(rows[part], self.padding_idx % table.rows, out=kept[part])
        before = torch.zeros(len(rows) + 1, dtype=torch.int64, device="cpu")
        torch.cumsum(kept, 0, out=before[1:])
        weights = None if weights is None else weights[kept]
        return rows[kept], before[offsets.long()], weights

    def _out_of_range(self, input: torch.Tensor, offsets: torch.Tensor) -> IndexError:
        """Return the error that names the first id that no row has."""
        ids, bags = input.numpy().ravel(), (len(offsets) - 1) // len(self.tables)
        for t, table in enumerate(self.tables):
            first, last = int(offsets[t * bags]), int(offsets[(t + 1) * bags])
            part = ids[first:last]
            wrong = np.flatnonzero((part < 0) | (part >= table.rows))
            if len(wrong):
                i = first + int(wrong[0])
                at = ", ".join(str(k) for k in np.unravel_index(i, tuple(input.shape)))
                what = "the table" if len(self.tables) == 1 else f"tables[{t}]"
                return IndexError(
                    f"input[{at}] = {ids[i]} is out of range for the {table.rows} rows of {what}"
                )
        raise AssertionError("every id is in range")

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze the tables, or let them train again.

        Parameters
        ----------
        requires_grad : bool, default True
            Whether backward passes through later outputs update the tables.

        Returns
        -------
        TableEmbeddingBag
            This module.

        Notes
        -----
        Of a module that has this one among others, ``requires_grad_`` reaches parameters alone.
        """
        super().requires_grad_(requires_grad)
        self.requires_grad = requires_grad
        return self

    def get_extra_state(self) -> dict[str, Any]:
        """Return what `state_dict` has of the tables.

        Returns
        -------
        dict
            "tables" has, for each, its "table", a tensor [rows, dim + accumulators] on the memory
            of the table (of bytes where params and accumulators have different dtypes), and the
            "header" of its file, in JSON.
        """
        return {"tables": [_state_of(table) for table in self.tables]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over what `get_extra_state` returned, from tables of the same layout.

        Parameters
        ----------
        state : dict

        Raises
        ------
        TypeError, ValueError
            Where it is something else, or of another layout. No table has changed then.
        """
        states = state.get("tables") if isinstance(state, dict) else None
        if not isinstance(states, list) or len(states) != len(self.tables):
            raise ValueError(f"the state is not one of {len(self.tables)} tables")
        names = [f"the state of tables[{t}]" for t in range(len(states))]
        found = list(map(_read_state, names, self.tables, states))
        for table, (read, tensor) in zip(self.tables, found, strict=True):
            _memory_of(table).copy_(tensor)
            table.rule, table.seed = read.rule, read.seed
            for name in _header.COUNTERS:
                setattr(table, name, getattr(read, name))

    def extra_repr(self) -> str:
        """Return what the module was made of."""
        tables = ", ".join(map(repr, self.tables))
        options = [f"mode={self.mode!r}"]
        options += ["include_last_offset=True"] if self.include_last_offset else []
        options += [] if self.padding_idx is None else [f"padding_idx={self.padding_idx}"]
        options += [] if self.requires_grad else ["requires_grad=False"]
        return ", ".join([tables if len(self.tables) == 1 else f"[{tables}]", *options])


class _Pool(torch.autograd.Function):
    """`Table.pool`, differentiated by `Table.step_pooled`, of bags that are checked."""

    @staticmethod
    def forward(
        ctx: Any,
        anchor: torch.Tensor,
        rows: torch.Tensor,
        offsets: torch.Tensor,
        weights: torch.Tensor | None,
        tables: tuple[Table, ...],
        mode: Mode,
    ) -> torch.Tensor:
        ctx.tables, ctx.mode = tables, mode
        out, used = [], []
        for table, bags in zip(tables, _split(len(tables), rows, offsets, weights), strict=True):
            pooled = table.pool(bags.rows, bags.offsets, mode, bags.weights)
            out.append(torch.from_numpy(pooled.reshape(-1, table.dim)))
            if ctx.needs_input_grad[3]:
                # A copy: until this pass goes backward, another may have stepped the table.
                used.append(torch.from_numpy(table.gather(bags.rows).reshape(-1, table.dim)))
        ctx.save_for_backward(rows, offsets, weights, *used)
        return out[0] if len(out) == 1 else torch.cat(out, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, offsets, weights, *used = ctx.saved_tensors
        tables: tuple[Table, ...] = ctx.tables
        bags = _split(len(tables), rows, offsets, weights)
        parts = _columns(tables, g)
        if len(tables) > 1:
            _check_step(tables, bags, parts, ctx.mode)
        for_weights = None
        if ctx.needs_input_grad[3]:
            by_table = map(_differentiate_weights, used, bags, map(torch.from_numpy, parts))
            for_weights = torch.cat(list(by_table))
        if ctx.needs_input_grad[0]:
            for table, (ids, starts, factors), part in zip(tables, bags, parts, strict=True):
                of_bags = part.reshape(-1) if table.dim == 1 else part
                table.step_pooled(ids, starts, of_bags, ctx.mode, factors)
        return None, None, None, for_weights, None, None


_pool: Callable[..., torch.Tensor] = _Pool.apply


class _Bags(NamedTuple):
    """The bags of one table, as it takes them."""

    rows: Array
    offsets: Array
    weights: Array | None


def _split(
    tables: int, rows: torch.Tensor, offsets: torch.Tensor, weights: torch.Tensor | None
) -> list[_Bags]:
    """Divide bags among tables, as many for each."""
    ids, starts = rows.contiguous().numpy(), offsets.contiguous().numpy()
    factors = None if weights is None else weights.detach().contiguous().numpy(force=True)
    if tables == 1:
        return [_Bags(ids, starts, factors)]
    bags, parts = len(starts) // tables, []
    for t in range(tables):
        own = starts[t * bags : (t + 1) * bags + 1]
        part = slice(int(own[0]), int(own[-1]))
        parts.append(_Bags(ids[part], own - own[0], None if factors is None else factors[part]))
    return parts


def _columns(tables: Sequence[Table], g: torch.Tensor) -> list[Array]:
    """Return each table's part of a gradient; of several, copies, which share no table's memory."""
    if len(tables) == 1:
        return [g.contiguous().numpy(force=True)]
    parts = torch.split(g, [table.dim for table in tables], 1)
    return [part.clone(memory_format=torch.contiguous_format).numpy(force=True) for part in parts]


def _check_step(
    tables: Sequence[Table], bags: Sequence[_Bags], parts: Sequence[Array], mode: Mode
) -> None:
    """Raise what any table's step would raise, before the first one has changed."""
    column = 0
    for t, (table, own, g) in enumerate(zip(tables, bags, parts, strict=True)):
        table._alive()
        rule = table.rule
        w, s = np.empty(0, g.dtype), np.empty(0, g.dtype)
        rate = rule.lr_at(table.steps + 1)
        try:
            _core.step_rows(w, g.reshape(-1)[:0], s, own.rows[:0], rule._compiled, rate)
        except ValueError as error:
            raise ValueError(f"tables[{t}]: {error}") from None
        if rule.on_nonfinite == "raise":
            _check_finite(f"tables[{t}]", own, g, column, mode, rule.duplicates == "sum")
        column += table.dim


def _check_finite(name: str, bags: _Bags, g: Array, column: int, mode: Mode, sums: bool) -> None:
    """Raise where a gradient of one table, whose columns begin at one, is not finite."""
    why = "is not finite, and on_nonfinite is 'raise'"
    bad = ~np.isfinite(g)
    if bad.any():
        b, j = np.argwhere(bad)[0]
        raise ValueError(f"the gradient [{b}, {column + j}] = {g[b, j]}, of {name}, {why}")
    sizes = np.diff(bags.offsets)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        each = g / sizes[:, None].astype(g.dtype) if mode == "mean" else g
        each = each.repeat(sizes, 0)
        if bags.weights is not None:
            each *= bags.weights[:, None]
            bad = ~np.isfinite(each).all(1)
            if bad.any():
                i = bad.argmax()
                raise ValueError(
                    f"the gradient of row {bags.rows[i]} of {name}, times its weight"
                    f" {bags.weights[i]}, {why}"
                )
    if sums:
        rows, totals = _core.coalesce(bags.rows, each)
        bad = ~np.isfinite(totals).all(1)
        if bad.any():
            row = rows[bad.argmax()]
            raise ValueError(f"the sum of the gradients of row {row} of {name} {why}")


def _differentiate_weights(rows: torch.Tensor, bags: _Bags, g: torch.Tensor) -> torch.Tensor:
    """Return the gradient of each weight: its row times the gradient of its bag."""
    sizes = torch.from_numpy(np.diff(bags.offsets))
    products: torch.Tensor = torch.linalg.vecdot(rows, g.repeat_interleave(sizes, 0))
    return products


def _check_tables(tables: object) -> tuple[Table, ...]:
    given = (tables,) if isinstance(tables, Table) else tables
    if not isinstance(given, (list, tuple)) or not all(isinstance(t, Table) for t in given):
        raise TypeError(f"tables must be an adagrad.Table or several, got {tables!r}")
    if not given:
        raise ValueError("tables must have at least one")
    for t, table in enumerate(given):
        if any(table is other for other in given[:t]):
            raise ValueError(
                f"tables[{t}] comes twice: features that share it put their bags together"
            )
        if _real(table) != _real(given[0]):
            raise ValueError(
                f"tables[{t}] is of {table.dtype} and tables[0] of {given[0].dtype}: they compute"
                " in different dtypes"
            )
    return tuple(given)


def _real(table: Table) -> torch.dtype:
    """Return the dtype in which a table computes."""
    return torch.float64 if table.dtype == "float64" else torch.float32


def _check_tensor(name: str, tensor: object, dtypes: Sequence[torch.dtype]) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise ValueError(
            f"{name} must be a dense tensor on the CPU, where tables are, got one of layout"
            f" {tensor.layout} on {tensor.device}"
        )
    if tensor.dtype not in dtypes:
        wanted = " or ".join(str(dtype).partition(".")[2] for dtype in dtypes)
        raise TypeError(f"{name} must have dtype {wanted}, got {tensor.dtype}")


def _memory_of(table: Table) -> torch.Tensor:
    """Return the memory of a table as the tensor that its file has."""
    dtype, shape = table._layout.tensor
    return torch.from_numpy(table._alive()).view(_DTYPES[dtype]).view(shape)


def _state_of(table: Table) -> dict[str, Any]:
    header = _header.encode(table._metadata(), *table._layout.tensor)
    return {"header": header[8:].decode().rstrip(), "table": _memory_of(table)}


def _read_state(name: str, table: Table, state: object) -> tuple[Table, torch.Tensor]:
    """Return what a state says, checked: a table without memory, and the memory."""
    if not isinstance(state, dict) or set(state) != {"header", "table"}:
        raise TypeError(f"{name} is not the state of a table: {state!r:.60}")
    header, tensor = state["header"], state["table"]
    if not isinstance(header, str) or not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} is not the state of a table: it has no header, or no tensor")
    metadata, dtype, shape = _header.decode(name, header.encode())
    read = Table.__new__(Table)
    read._read(name, _header.Header(metadata, dtype, shape, 0, _header.data_bytes(dtype, shape)))
    if read._layout != table._layout:
        raise ValueError(f"{name} is of another layout: {read._layout}, not {table._layout}")
    if tensor.shape != shape or tensor.dtype != _DTYPES[dtype]:
        raise ValueError(
            f"{name} has a tensor of {tensor.dtype} and shape {tuple(tensor.shape)}, but its"
            f" header says {_DTYPES[dtype]} and {shape}"
        )
    table._alive()
    return read, tensor
