"""Tables: the params and accumulators of a sparse model, side by side in memory of their own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy.typing as npt

from adagrad._arguments import check_integer, check_real, check_storable, check_threads
from adagrad.rule import AccumulatorShape, Duplicates, Rule, check_choice
from adagrad.tables import files, memory, merging
from adagrad.tables.layout import check_layout
from adagrad.tables.stored import Bytes, StoredTable, StrPath

Array = npt.NDArray[Any]
Init = Literal["zeros", "normal", "uniform"]
Mode = Literal["sum", "mean"]


class Table(StoredTable):
    """The params of a sparse model and their accumulators, trained in place.

    A param lies beside its accumulator, so that an update of a row touches one place in memory and
    not two; on huge pages where the system has them. Any number of threads gives the same bits.

    Parameters
    ----------
    rows : int, optional
        Number of rows, from 1. May be left out where `path` names an existing file.
    dim : int, default 1
        Elements of a row, from 1.
    rule : Rule, optional
        By default ``Rule()``, the textbook's, or the rule of the file.
    dtype : {"float32", "float64", "bfloat16", "float16"}, default "float32"
        Of the params. A table of 16 bits is updated in float32, and rounded stochastically when it
        is stored: its random numbers depend on `seed`, step, row and element, and on nothing else.
    state : {"element", "row"}, optional
        One accumulator for each element or one for each row; by default what ``rule.accumulator``
        says.
    init : {"zeros", "normal", "uniform"}, default "zeros"
        What the params of a new table are: 0, normal with mean 0 and standard deviation
        `init_scale`, or uniform in ``[-init_scale, init_scale)``. Accumulators start at
        ``rule.initial_accumulator``. "zeros" with accumulators from 0 touches no memory.
    seed : int, default 0
        From 0 to 2**64 - 1, of the initial params and of stochastic rounding.
    path : str or PathLike, optional
        Map this file instead of allocating memory, so that the table may be larger than that. A
        file that does not exist is made (sparse: pages that nobody touched take no room); one that
        exists is opened as it is, and whatever else is given has to fit it (`init` is for a new
        one only). One table maps a file at a time. See `flush`.
    init_scale : float, default 0.01
        Finite and not negative.
    state_dtype : str, optional
        Of the accumulators: that of the params or, for params of 16 bits, "float32", which is also
        the default then. A float16 ends at 65504.

    Attributes
    ----------
    rows, dim, dtype, state_dtype, seed, rule
        As given. ``dtype`` and ``state_dtype`` are names.
    accumulator : {"element", "row"}
        The `state` that was given.
    steps : int
        How many steps the table has taken.
    skipped : int
        How many rows ``on_nonfinite="skip"`` has left alone so far.
    decays : int
        How many times `decay` was called.

    Raises
    ------
    TypeError, ValueError
        Where an argument is not valid, or does not fit the file.
    MemoryError
        Where the memory is not to be had.
    adagrad.TableFileError
        Where `path` is not a whole file of a table.
    BlockingIOError
        Where another table maps it.

    Notes
    -----
    A feature (``dim=1``) takes 8 bytes as float32, 16 as float64, 6 as 16 bits with float32
    accumulators and 4 as 16 bits throughout. A row takes ``dim`` params and ``dim`` accumulators or
    one, without padding.

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
        self._mapping: files.Mapping | None = None
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
            self._mapping = files.Mapping(path)
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
        """Take one step of the named rows.

        Parameters
        ----------
        rows : ndarray of int32, int64, uint32 or uint64, shape [n]
            Ids in [0, `rows`), in any order.
        g : ndarray, shape [n], or [n, dim] where `dim` is not 1
            ``g[i]`` is a gradient of row ``rows[i]``: float64 for a table of float64, else float32.
        duplicates : {"sum", "sequential", "each", "unique"}, optional
            What repeated ids mean; by default what the rule says. See `Rule`. With "unique" an id
            that repeats nevertheless may lose updates, depending on the instruction set.
        lr : float, optional
            Step size of this step, for schedules of your own; by default ``rule.lr_at(steps + 1)``.
        check_unique : bool, default False
            Verify the promise of ``duplicates="unique"`` first.
        threads : int, optional
            At most so many threads; by default `adagrad.get_num_threads()`. Each owns some rows, so
            the result does not depend on their number. Small calls take fewer.

        Returns
        -------
        None or int
            None; where ``rule.on_nonfinite`` is "skip", the number of rows that were left alone.

        Raises
        ------
        IndexError
            Where an id is out of range; names its position and value.
        TypeError, ValueError
            As for `adagrad.step_rows`. Nothing has changed then.

        Notes
        -----
        O(n dim) time. "sum" needs 16 bytes of memory per id, and on several threads 28 more each.
        """
        self._alive()
        if duplicates is not None:
            check_choice("duplicates", duplicates)
        skipped = self._core.step(
            rows,
            g,
            self.rule._compiled,
            self._rate(lr),
            duplicates,
            check_unique,
            self.seed,
            self.steps + 1,
            check_threads(threads),
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
        """Take the backward pass of `pool` and one step, in one call.

        Parameters
        ----------
        rows, offsets, mode, weights
            What `pool` was called with.
        g : ndarray, shape [B], or [B, dim] where `dim` is not 1
            Gradient of each bag's result. An occurrence in bag ``b`` receives ``g[b]``, divided by
            the size of the bag where `mode` is "mean", then times its weight.
        duplicates, lr, threads
            As for `step`.

        Returns
        -------
        None or int
            As for `step`.

        Raises
        ------
        IndexError, TypeError, ValueError
            As for `step` and `pool`. Nothing has changed then.

        Notes
        -----
        Needs 8 bytes of memory per id beside what `step` needs, and with `weights` also
        ``n * dim`` elements.
        """
        self._alive()
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
        """Return the params of the named rows.

        Parameters
        ----------
        rows : ndarray of int32, int64, uint32 or uint64, shape [n]
            Ids.
        out : ndarray, shape [n] or [n, dim], optional
            Where to write them.
        threads : int, optional
            As for `step`.

        Returns
        -------
        ndarray of float32 or float64
            `out`, or a new array. Params of 16 bits are given as float32.

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
        """Sum rows by bags, without a copy of each row.

        Parameters
        ----------
        rows : ndarray of int32, int64, uint32 or uint64, shape [n]
            Ids.
        offsets : ndarray of int32, int64, uint32 or uint64, shape [B + 1]
            Bag ``b`` is ``rows[offsets[b]:offsets[b + 1]]``, as in ``indptr`` of SciPy's CSR
            and in ``torch.nn.EmbeddingBag`` with ``include_last_offset=True``.
        mode : {"sum", "mean"}, default "sum"
            Whether a sum is divided by the size of its bag.
        weights : ndarray, shape [n], optional
            Factor of each row before it is added; float64 for a table of float64, else float32.
        threads : int, optional
            As for `step`.

        Returns
        -------
        ndarray of float32 or float64, shape [B], or [B, dim] where `dim` is not 1
            Rows are added in order of appearance, the first taken as it is; 0 for an empty bag.

        Raises
        ------
        IndexError, TypeError, ValueError
            As for `step`, or where offsets do not ascend from 0 to n.
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
            Where an argument is not valid.

        Notes
        -----
        O(rows) time. Accumulators of 16 bits are rounded stochastically.
        """
        self._alive()
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
        """Merge replicas that were trained apart from the same start.

        Parameters
        ----------
        tables : sequence of Table
            At least one; of the same layout and rule.
        weights : {"state", "equal"}, default "state"
            A param is the mean of the replicas', each weighted by what its accumulator has gathered
            since ``rule.initial_accumulator``, so that a replica that saw a feature often says
            more of it; or the plain mean, which is also taken where none has gathered anything.

        Returns
        -------
        Table
            In memory. Its accumulators are what all have gathered together; ``steps`` and the
            other counts are added up, and the seed is the first one's.

        Raises
        ------
        TypeError, ValueError
            Where there is no table, one is not a Table, or they do not fit each other.
        OverflowError
            Where accumulators of 16 bits cannot hold what was gathered.

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
