"""Tables: the params and accumulators of a sparse model, side by side in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy.typing as npt

import adagrad._core as _core
from adagrad._arguments import check_integer, check_real, check_storable, check_threads
from adagrad.rule import AccumulatorShape, Duplicates, Rule, check_choice
from adagrad.tables import files, memory, merging
from adagrad.tables.layout import check_layout
from adagrad.tables.mapping import Mapping
from adagrad.tables.stored import Bytes, StoredTable, StrPath

Array = npt.NDArray[Any]
Init = Literal["zeros", "normal", "uniform"]
Mode = Literal["sum", "mean"]


class Table(StoredTable):
    r"""The params of a sparse model and their accumulators, trained in place.

    Each param lies beside its accumulator, so that an update of a row touches one place in memory
    instead of two. Large tables use huge pages if the system has them. The result does not depend
    on the number of threads. By default a step updates every element of a row that has a gradient:

    .. math::

        s &\leftarrow s + g^2 \\
        w &\leftarrow w - \frac{\eta}{\sqrt{s + \epsilon}}\, g

    Parameters
    ----------
    rows : int, optional
        Number of rows, at least 1. Optional if `path` names an existing file.
    dim : int, default 1
        Number of elements per row, at least 1.
    rule : Rule, optional
        By default ``Rule()``, the textbook rule, or the rule in the file.
    dtype : {"float32", "float64", "bfloat16", "float16"}, default "float32"
        Dtype of the params. A 16-bit table is updated in float32 and rounded stochastically when it
        is stored. The random numbers depend on `seed`, step, row and element only.
    state : {"element", "row"}, optional
        One accumulator per element or one per row; by default ``rule.accumulator``.
    init : {"zeros", "normal", "uniform"}, default "zeros"
        Initial params of a new table: 0, normal with mean 0 and standard deviation `init_scale`,
        or uniform in ``[-init_scale, init_scale)``. Accumulators start at
        ``rule.initial_accumulator``. If both are 0, no memory is touched.
    seed : int, default 0
        From 0 to :math:`2^{64} - 1`. Seeds the initial params and stochastic rounding.
    path : str or PathLike, optional
        Map this file instead of allocating memory, so that the table may be larger than memory. A
        new file is sparse: pages that are never touched take no disk space. An existing file is
        opened as by `open`, and the other arguments must agree with it; `init` is for a new file
        only. Any number of tables can map a file to read it, but only one to change it. See `open`
        and `flush`.
    init_scale : float, default 0.01
        Finite and not negative.
    state_dtype : str, optional
        Dtype of the accumulators: that of the params, or "float32" for 16-bit params, which is then
        the default. Note that float16 overflows above 65504.

    Attributes
    ----------
    rows, dim, dtype, state_dtype, seed, rule
        The arguments. ``dtype`` and ``state_dtype`` are names.
    accumulator : {"element", "row"}
        The argument `state`.
    steps : int
        Number of steps taken.
    skipped : int
        Number of row updates that ``on_nonfinite="skip"`` has skipped.
    decays : int
        Number of calls of `decay`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, or does not agree with the file.
    MemoryError
        If the memory cannot be allocated.
    adagrad.TableFileError
        If `path` is not a complete file of a table.
    BlockingIOError
        If another table maps the file and has changed it.

    Notes
    -----
    A feature (``dim=1``) takes 8 bytes as float32, 16 as float64, 6 as 16-bit params with float32
    accumulators, and 4 if both have 16 bits. A row takes ``dim`` params and ``dim`` accumulators,
    or one accumulator, without padding.

    Examples
    --------
    >>> table = adagrad.Table(1_000_000, rule=adagrad.Rule(lr=0.5, eps=0.0))
    >>> rows = np.array([7, 999_999, 7])
    >>> table.step(rows, np.ones(3, np.float32))
    >>> table.gather(rows)
    array([-0.5, -0.5, -0.5], dtype=float32)
    """

    def __init__(
        self,
        rows: int | None = None,
        dim: int | None = None,
        rule: Rule | None = None,
        dtype: str | None = None,
        state: AccumulatorShape | None = None,
        init: Init = "zeros",
        seed: int | None = None,
        path: StrPath | None = None,
        *,
        init_scale: float = 0.01,
        state_dtype: str | None = None,
    ) -> None:
        if rule is not None and not isinstance(rule, Rule):
            raise TypeError(f"rule must be an adagrad.Rule, got {rule!r}")
        if init not in ("zeros", "normal", "uniform"):
            raise ValueError(f"init must be one of 'zeros', 'normal', 'uniform', got {init!r}")
        scale = check_real("init_scale", init_scale)
        if path is not None and os.path.lexists(path):
            given = {"rows": rows, "dim": dim, "dtype": dtype, "state": state}
            self._open(path, given | {"state_dtype": state_dtype, "rule": rule, "seed": seed})
            return
        if rows is None:
            missing = "" if path is None else f": there is no file {path}"
            raise TypeError(f"a new table needs rows{missing}")
        self.rule = Rule() if rule is None else rule
        self.seed = check_integer("seed", 0 if seed is None else seed, 0, 2**64 - 1)
        self._layout = check_layout(rows, dim, dtype, state or self.rule.accumulator, state_dtype)
        start = self.rule.initial_accumulator
        check_storable("initial_accumulator", start, self._layout.state_dtype)
        check_storable("init_scale", scale, self._layout.dtype)
        self.steps = self.skipped = self.decays = 0
        self._mapping: Mapping | None = None
        self.path = None if path is None else os.fspath(path)

        def fill(data: Bytes) -> None:
            if init != "zeros" or start != 0.0:
                self._over(data).initialise(init, scale, self.seed, start, 0)

        if path is None:
            data = memory.allocate(self._layout.nbytes)
            fill(data)
            self._take(data)
        else:
            files.create(path, self._metadata(), *self._layout.tensor, fill)
            self._mapping = Mapping(path, reserved=True)
            self._take(self._mapping.data)

    def step(
        self,
        rows: Array,
        g: Array,
        duplicates: Duplicates | None = None,
        *,
        lr: float | None = None,
        check_unique: bool = False,
        threads: int | None = None,
    ) -> int | None:
        """Take one step of some rows.

        Parameters
        ----------
        rows : ndarray of int32, int64, uint32 or uint64, shape [n]
            Row numbers in [0, `self.rows`), in any order.
        g : ndarray, shape [n], or [n, dim] where `dim` is not 1
            ``g[i]`` is a gradient of row ``rows[i]``. float64 for a float64 table, else float32.
        duplicates : {"sum", "sequential", "each", "unique"}, optional
            How repeated ids are handled; by default as the rule says. See `Rule`. Under "unique" an
            id that repeats may lose updates, depending on the instruction set.
        lr : float, optional
            Step size of this step, for your own schedule; by default ``rule.lr_at(steps + 1)``.
        check_unique : bool, default False
            Check that no id repeats before anything is written. :math:`O(n)` time and memory.
        threads : int, optional
            The most threads that the call may use; by default `adagrad.get_num_threads()`. Each
            thread owns some rows, so the result does not depend on the number. Small calls use
            fewer.

        Returns
        -------
        None or int
            None. If ``rule.on_nonfinite`` is "skip", the number of skipped row updates.

        Raises
        ------
        IndexError
            If an id is out of range. The message gives its position and value.
        TypeError, ValueError
            As for `adagrad.step_rows`. After an error, nothing has changed.

        Notes
        -----
        Takes :math:`O(n D)` time for rows of D elements. "sum" needs 16 bytes of memory per id, and
        28 more with several threads.
        """
        if self._memory is None or self._mapping is not None:
            self._writeable()
        rule = self.rule
        skipped = _core.step_table(
            self._core,
            rows,
            g,
            rule._compiled,
            rule.lr if lr is None and rule.lr_decay == 0.0 else self._rate(lr),
            duplicates,
            check_unique,
            self.seed,
            self.steps + 1,
            0 if threads is None else check_threads(threads),
        )
        return self._count(skipped)

    def step_pooled(
        self,
        rows: Array,
        offsets: Array,
        g: Array,
        mode: Mode = "sum",
        weights: Array | None = None,
        duplicates: Duplicates | None = None,
        *,
        lr: float | None = None,
        threads: int | None = None,
    ) -> int | None:
        """Take the backward pass of `pool` and one step, in a single call.

        Parameters
        ----------
        rows, offsets, mode, weights
            The arguments of the call of `pool`.
        g : ndarray, shape [B], or [B, dim] where `dim` is not 1
            Gradient of the result of each bag. An occurrence in bag ``b`` receives ``g[b]``,
            divided by the size of the bag if `mode` is "mean", then multiplied by its weight.
        duplicates, lr, threads
            As for `step`.

        Returns
        -------
        None or int
            As for `step`.

        Raises
        ------
        IndexError, TypeError, ValueError
            As for `step` and `pool`. After an error, nothing has changed.

        Notes
        -----
        Needs 8 bytes of memory per id more than `step`, and with `weights` ``n * dim`` elements.
        """
        self._writeable()
        if duplicates is not None:
            check_choice("duplicates", duplicates)
        skipped = self._core.step_pooled(
            rows,
            offsets,
            g,
            _is_mean(mode),
            weights,
            self.rule._compiled,
            self._rate(lr),
            duplicates,
            self.seed,
            self.steps + 1,
            check_threads(threads),
        )
        return self._count(skipped)

    def _rate(self, lr: float | None) -> float:
        return self.rule.lr_at(self.steps + 1) if lr is None else check_real("lr", lr)

    def _count(self, skipped: int) -> int | None:
        self.steps += 1
        self.skipped += skipped
        return skipped if self.rule.on_nonfinite == "skip" else None

    def gather(self, rows: Array, out: Array | None = None, *, threads: int | None = None) -> Array:
        """Return the params of some rows.

        Parameters
        ----------
        rows : ndarray of int32, int64, uint32 or uint64, shape [n]
            Row numbers.
        out : ndarray, shape [n] or [n, dim], optional
            Array that receives the params.
        threads : int, optional
            As for `step`.

        Returns
        -------
        ndarray of float32 or float64
            `out`, or a new array. 16-bit params are returned as float32.

        Raises
        ------
        IndexError, TypeError, ValueError
            As for `step`.
        """
        self._alive()
        return self._core.gather(rows, out, check_threads(threads))

    def pool(
        self,
        rows: Array,
        offsets: Array,
        mode: Mode = "sum",
        weights: Array | None = None,
        *,
        threads: int | None = None,
    ) -> Array:
        """Sum or average rows by bag, without copying each row.

        Parameters
        ----------
        rows : ndarray of int32, int64, uint32 or uint64, shape [n]
            Row numbers.
        offsets : ndarray of int32, int64, uint32 or uint64, shape [B + 1]
            Bag ``b`` is ``rows[offsets[b]:offsets[b + 1]]``, like ``indptr`` of a SciPy CSR matrix
            and ``torch.nn.EmbeddingBag`` with ``include_last_offset=True``.
        mode : {"sum", "mean"}, default "sum"
            "mean" divides each sum by the size of its bag.
        weights : ndarray, shape [n], optional
            Factor of each row before it is added. float64 for a float64 table, else float32.
        threads : int, optional
            As for `step`.

        Returns
        -------
        ndarray of float32 or float64, shape [B], or [B, dim] where `dim` is not 1
            One result per bag, 0 for an empty one. Rows are added in order of appearance.

        Raises
        ------
        IndexError, TypeError, ValueError
            As for `step`, or if the offsets do not ascend from 0 to n.
        """
        self._alive()
        return self._core.pool(rows, offsets, _is_mean(mode), weights, check_threads(threads))

    def decay(self, gamma: float, floor: float = 0.0, *, threads: int | None = None) -> None:
        """Forget: ``s = max(gamma * s, floor)`` for every accumulator.

        Parameters
        ----------
        gamma : float
            In [0, 1].
        floor : float, default 0.0
            Finite and not negative.
        threads : int, optional
            As for `step`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not valid.

        Notes
        -----
        Takes time proportional to the number of rows. 16-bit accumulators are rounded
        stochastically.
        """
        self._writeable()
        if not 0.0 <= check_real("gamma", gamma) <= 1.0:
            raise ValueError(f"gamma must be in [0, 1], got {gamma!r}")
        floor = check_real("floor", floor)
        compute = "float64" if self.dtype == "float64" else "float32"
        check_storable("gamma", float(gamma), compute)
        check_storable("floor", floor, self.state_dtype)
        self._core.fade(float(gamma), floor, self.seed, self.decays + 1, check_threads(threads))
        self.decays += 1

    @staticmethod
    def merge(tables: Sequence[Table], weights: Literal["state", "equal"] = "state") -> Table:
        r"""Merge replicas that were trained separately from the same start.

        Parameters
        ----------
        tables : sequence of Table
            At least one, all of the same layout and rule.
        weights : {"state", "equal"}, default "state"
            "state" averages each param over the replicas, weighted by how much the accumulator has
            grown from ``rule.initial_accumulator``, so that a replica that saw a feature often
            counts for more. "equal" takes the plain mean; so does "state" if no accumulator grew.
            See Notes.

        Returns
        -------
        Table
            A new table in memory. Its accumulators have grown by the sum of all growth. ``steps``
            and the other counts are summed, and the seed is that of the first table.

        Raises
        ------
        TypeError, ValueError
            If there is no table, one is not a Table, or layouts or rules differ.
        OverflowError
            If 16-bit accumulators cannot hold the sum.

        Notes
        -----
        For replicas :math:`(w_k, s_k)` whose accumulators started at :math:`s_0`, "state" gives

        .. math::

            s &= s_0 + \sum_k (s_k - s_0) \\
            w &= \frac{\sum_k (s_k - s_0)\, w_k}{\sum_k (s_k - s_0)}

        An accumulator that has decayed below :math:`s_0` counts as one that has not grown.

        References
        ----------
        Agarwal, Chapelle, Dudik and Langford, "A Reliable Effective Terascale Linear Learning
        System", JMLR 15 (2014), section 3.2: the weighted average of Vowpal Wabbit.
        """
        for i, table in enumerate(tables := list(tables)):
            if not isinstance(table, Table):
                raise TypeError(f"tables[{i}] must be a Table, got {table!r}")
        return merging.merge(tables, weights)


def _is_mean(mode: object) -> bool:
    if mode not in ("sum", "mean"):
        raise ValueError(f"mode must be 'sum' or 'mean', got {mode!r}")
    return mode == "mean"
