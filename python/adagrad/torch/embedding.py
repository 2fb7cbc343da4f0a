"""`TableEmbeddingBag`: embedding bags for PyTorch whose backward pass trains their tables.

Checks arguments. The autograd function is in `_pooling`, the state in `_table_state`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

import adagrad._core as _core
from adagrad._arguments import check_flag, check_integer
from adagrad.rule import Rule
from adagrad.tables.table import Array, Table
from adagrad.torch._bags import Bags, unnest
from adagrad.torch._options import BagMode, Reduction, check_norm, check_reduction, describe
from adagrad.torch._params import renormalize, table_of
from adagrad.torch._pooling import Call, differentiable_pool, pool
from adagrad.torch._table_module import TableModule, real_dtype
from adagrad.torch._table_weight import dtype_name

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TableEmbeddingBag"]

_is_exporting = getattr(torch.compiler, "is_exporting", lambda: False)  # since torch 2.7
_IDS = (torch.int64, torch.int32)
# Autograd is asked for a backward pass by one of these, or not: with the weights of the tables in
# its graph, it would call for a gradient of each, and torch.autograd.grad would take steps.
with torch.inference_mode(False):
    _TRAINS = torch.empty(0, device="cpu", requires_grad=True)
    _FROZEN = torch.empty(0, device="cpu")
_REALS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _untraced(function: _Function) -> _Function:
    """Exclude a function from torch.compile, which cannot trace changes of tables."""
    disable: Callable[[_Function], _Function] = torch.compiler.disable
    return disable(function)


class TableEmbeddingBag(TableModule):
    """Sums, means or maxima of bags of rows, like `torch.nn.EmbeddingBag`, trained in place.

    The forward pass is `Table.pool`. The backward pass is `Table.step_pooled`: it takes one step of
    AdaGrad, by the rule of the table, on the rows that were used. There is no gradient of the size
    of the table, and no optimizer that visits it; recommendation systems call this a fused
    optimizer.

    Parameters
    ----------
    tables : Table or sequence of Table
        Read, and updated in place. With several tables, each gets the same number of bags. They
        must be distinct, and compute in one dtype. To share a table between features, give it the
        bags of all of them.
    mode : {"mean", "sum", "max"}, default "mean"
        How a bag is reduced.
    include_last_offset : bool, default False
        Whether `offsets` ends with the number of ids.
    padding_idx : int, optional
        An id that does not count: bags skip it, and its row is never updated. A negative value
        counts from the end of each table.
    max_norm : float, optional
        Each call first scales the rows that it uses to have at most this norm, in the table, in
        eval mode too.
    norm_type : float, default 2
        The p of the p-norm of `max_norm`. Positive, and may be infinite.
    scale_grad_by_freq : bool, default False
        Divide the gradients of a row by the number of times that its id occurs in the call. Not
        with mode "max".
    sparse : bool, default False
        Without effect, because no gradient of the table is made. Accepted because
        `torch.nn.EmbeddingBag` has it.

    Attributes
    ----------
    tables : tuple of Table
    mode, include_last_offset, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse
        As given.
    weight : Parameter of shape [rows, dim]
        The params of the table, in its memory: what is written to it is written to the table. With
        several tables, ``weight_0``, ``weight_1`` and so on. Its `grad` stays None, so that
        optimizers leave it alone.
    accumulator, header : Tensor
        What ``state_dict`` has besides, under the same names.
    num_embeddings, embedding_dim : int
        Rows and dim of the table, if there is one.
    requires_grad : bool
        Whether any table trains: whether its weight requires a gradient.

    Raises
    ------
    TypeError, ValueError, IndexError
        If an argument is not valid.

    Notes
    -----
    Each backward pass through an output is one step:

    - Gradients are not accumulated, neither between backward passes nor between calls in one
      forward pass: two calls take two steps. A second pass with ``retain_graph=True`` takes a
      second step.
    - ``rule.scale`` undoes a scaled loss, and ``rule.clip_value`` clips gradients. For a schedule
      of learning rates use ``rule.lr_decay``, or set a new rule between steps:
      ``table.rule = table.rule.replace(lr=lr)``.
    - Nothing is updated in eval mode, after ``requires_grad_(False)``, or when autograd is off.
      Modules that share a table are frozen together.
    - The result cannot be differentiated twice.
    - A step is all or nothing: if the rule or the gradients of one table are refused, no table
      changes. With several tables, ``on_nonfinite="raise"`` takes memory for ``n * dim`` elements
      to check this.

    Gradients that are summed are summed as by `Table.step`, in order of appearance. The number of
    threads is that of `adagrad.set_num_threads`, not torch's.

    ``state_dict`` has ``weight``, ``accumulator`` and ``header`` (rule, seed and counters) of each
    table, as tensors; the first two share its memory. It loads what `torch.nn.EmbeddingBag` has,
    ``weight`` alone. Copies and pickles have tables of their own.

    Conversions such as ``half()`` and ``to(device)`` warn and leave the tables as they are. Tables
    are not synchronized between processes: a forward pass that trains raises RuntimeError in
    DistributedDataParallel, unless that ignores the weights.

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

    # Of modules that were pickled before they had these.
    max_norm: float | None = None
    norm_type: float = 2.0
    scale_grad_by_freq: bool = False
    sparse: bool = False

    def __init__(
        self,
        tables: Table | Sequence[Table],
        mode: BagMode = "mean",
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        *,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> None:
        super().__init__(tables)
        if padding_idx is not None:
            padding_idx = check_integer("padding_idx", padding_idx, -(2**63))
            rows = min(table.rows for table in self.tables)
            if not -rows <= padding_idx < rows:
                raise IndexError(f"padding_idx={padding_idx} is out of range for {rows} rows")
        self.mode, self.scale_grad_by_freq = check_reduction(mode, scale_grad_by_freq)
        self.max_norm, self.norm_type = check_norm(max_norm, norm_type)
        self.sparse = check_flag("sparse", sparse)
        self.include_last_offset = check_flag("include_last_offset", include_last_offset)
        self.padding_idx = padding_idx

    @classmethod
    def from_pretrained(
        cls,
        embeddings: torch.Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: BagMode = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        *,
        rule: Rule | None = None,
    ) -> Self:
        """Make a table in memory with given params, and a module for it.

        Parameters
        ----------
        embeddings : Tensor of float32, float64, bfloat16 or float16, shape [rows, dim]
            Copied; torch's module shares its memory.
        freeze : bool, default True
            Whether the module starts as after ``requires_grad_(False)``.
        max_norm, norm_type, scale_grad_by_freq, mode, sparse, include_last_offset, padding_idx
            As for the constructor.
        rule : Rule, optional
            That of the table; by default ``Rule()``.

        Returns
        -------
        TableEmbeddingBag

        Raises
        ------
        TypeError, ValueError, IndexError
            If an argument is not valid.
        """
        _check_tensor("embeddings", embeddings, _REALS)
        bags = cls(
            table_of(embeddings.detach(), rule),
            mode,
            include_last_offset,
            padding_idx,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            sparse=sparse,
        )
        bags.requires_grad_(not check_flag("freeze", freeze))
        return bags

    @_untraced
    def forward(
        self,
        input: torch.Tensor,
        offsets: torch.Tensor | None = None,
        per_sample_weights: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Reduce bags of rows: B bags from each of T tables.

        Parameters
        ----------
        input : Tensor of int32 or int64, shape [n] or [T * B, L]
            Ids, those of the first table first. A matrix has a bag of L ids in each row; a nested
            tensor with ``layout=torch.jagged`` has bags of any length.
        offsets : Tensor of int32 or int64, shape [T * B], or [T * B + 1] with include_last_offset
            Position of the first id of each bag; required if, and only if, `input` has one
            dimension. Bags may be empty.
        per_sample_weights : Tensor of float32, shape of `input`, optional
            Factors of the rows, with mode "sum" only; float64 for tables of float64. If they
            require a gradient, the call takes memory for ``n * dim`` elements.

        Returns
        -------
        Tensor of float32, shape [B, sum of the tables' dims]
            The results of the tables side by side; float64 for tables of float64. It requires a
            gradient in training mode, unless the module is frozen.

        Raises
        ------
        TypeError, ValueError, IndexError
            If an argument is not valid or an id is out of range. The backward pass finds no such
            error.
        """
        if _is_exporting() or torch.jit.is_tracing():
            raise NotImplementedError(
                f"{type(self).__name__} cannot be exported or traced, because a graph of tensors"
                " has no tables: use a copy of the model that adagrad.torch.from_tables has"
                " converted"
            )
        if getattr(input, "is_nested", False):
            input, ends, per_sample_weights = unnest(input, offsets, per_sample_weights)
            offsets = ends if self.include_last_offset else ends[:-1]
        _check_tensor("input", input, _IDS)
        rows, ends = input, None
        if input.ndim == 2:
            if offsets is not None:
                raise ValueError("offsets must be None if input has two dimensions")
            rows, length = input.reshape(-1), input.shape[1]
            ends = np.arange(0, len(rows) + 1, length) if length else np.zeros(len(input) + 1, int)
        elif input.ndim != 1:
            raise ValueError(f"input must have 1 or 2 dimensions, got shape {tuple(input.shape)}")
        elif offsets is None:
            raise ValueError("offsets is required if input has one dimension")
        else:
            _check_tensor("offsets", offsets, _IDS)
            ends = self._ends(offsets, len(input))
            if not self.include_last_offset:
                offsets = None  # the ends are a copy
        weights = per_sample_weights
        if weights is not None:
            self._check_weights(weights, input)
            weights = weights.reshape(-1)
        given = ends
        stepped = self._stepped()
        learns = weights is not None and weights.requires_grad and torch.is_grad_enabled()
        try:
            if self.max_norm is not None:
                bags = Bags(rows.contiguous().numpy(), ends, None)
                renormalize(bags, list(self._tied.values()), self.max_norm, self.norm_type)
            if self.padding_idx is not None:
                rows, ends, weights = self._unpad(rows, ends, weights)
            factors = None if weights is None else weights.detach().contiguous().numpy(force=True)
            bags = Bags(rows.contiguous().numpy(), ends, factors)
            how = Reduction(self.mode, self.scale_grad_by_freq)
            if not (stepped or learns):
                return pool(bags, self._tables, how)[0]
            call = Call(bags, self._tables, how, stepped)
            anchor = _TRAINS if stepped else _FROZEN
            return differentiable_pool(anchor, rows, offsets, weights, call)
        except IndexError:
            raise self._out_of_range(input, given) from None

    def _check_weights(self, weights: torch.Tensor, input: torch.Tensor) -> None:
        if self.mode != "sum":
            raise ValueError(f"per_sample_weights needs mode='sum', got mode={self.mode!r}")
        _check_tensor("per_sample_weights", weights, [real_dtype(self.tables[0])])
        if weights.shape != input.shape:
            raise ValueError(
                f"per_sample_weights has shape {tuple(weights.shape)}, but input has"
                f" {tuple(input.shape)}"
            )

    def _ends(self, offsets: torch.Tensor, n: int) -> Array:
        """Return where each bag begins, and the end of the last; their values are not checked."""
        if offsets.ndim != 1:
            raise ValueError(f"offsets must have one dimension, got shape {tuple(offsets.shape)}")
        ends: Array = offsets.contiguous().numpy()
        if not self.include_last_offset:
            if len(ends) == 0 and n:
                raise ValueError(f"offsets is empty, but input has {n} ids")
            ends, given = np.empty(len(ends) + 1, ends.dtype), ends
            ends[:-1], ends[-1] = given, n
        elif len(ends) == 0:
            raise ValueError(
                "offsets is empty, but with include_last_offset it must end with the number of ids"
            )
        return ends

    def _unpad(
        self, rows: torch.Tensor, ends: Array, weights: torch.Tensor | None
    ) -> tuple[torch.Tensor, Array, torch.Tensor | None]:
        """Remove the padding ids."""
        assert self.padding_idx is not None
        for table in self.tables:
            table._alive()
        _core.check_bags([table._core for table in self.tables], rows.contiguous().numpy(), ends)
        bags = (len(ends) - 1) // len(self.tables)
        kept = torch.empty(len(rows), dtype=torch.bool, device="cpu")
        for t, table in enumerate(self.tables):
            part = slice(int(ends[t * bags]), int(ends[(t + 1) * bags]))
            torch.ne(rows[part], self.padding_idx % table.rows, out=kept[part])
        before = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(kept.numpy(), out=before[1:])
        return rows[kept], before[ends], None if weights is None else weights[kept]

    def _out_of_range(self, input: torch.Tensor, ends: Array) -> IndexError:
        """Return the error that names the first id out of range."""
        ids, bags = input.numpy().ravel(), (len(ends) - 1) // len(self.tables)
        for t, table in enumerate(self.tables):
            first, last = int(ends[t * bags]), int(ends[(t + 1) * bags])
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

    def extra_repr(self) -> str:
        """Return what torch's module shows, and the tables."""
        return describe(self)


def _check_tensor(name: str, tensor: object, dtypes: Sequence[torch.dtype]) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor.layout is not torch.strided or not tensor.is_cpu:
        raise ValueError(
            f"{name} must be a dense tensor on the CPU, got layout {tensor.layout} on"
            f" {tensor.device}"
        )
    if tensor.dtype not in dtypes:
        wanted = " or ".join(map(dtype_name, dtypes))
        raise TypeError(f"{name} must have dtype {wanted}, got {tensor.dtype}")
