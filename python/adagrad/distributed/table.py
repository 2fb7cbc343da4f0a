"""Sharded tables: ranges of rows on Ray actors, and one caller that deals ids to them."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from adagrad import _core
from adagrad._arguments import check_real
from adagrad.distributed import _manifest
from adagrad.distributed._cluster import check_room, connect, nodes
from adagrad.distributed._ranges import starts
from adagrad.distributed._slices import StrPath, load_slice, make_slice, save_slice
from adagrad.functional import coalesce
from adagrad.rule import AccumulatorShape, Duplicates, Rule, check_choice
from adagrad.tables.layout import Layout, check_layout
from adagrad.tables.table import Init, Table

if TYPE_CHECKING:
    from typing_extensions import Self

Array = npt.NDArray[Any]

_START = 60.0  # seconds until the processes of the actors have to run
_HOT = 1.5


class ShardLostError(RuntimeError):
    """A shard has died, or failed within a step: the rows of the table are of different steps."""


class ShardStats(NamedTuple):
    """What one shard has done since it was made or loaded.

    Attributes
    ----------
    first, last : int
        Its rows are [first, last).
    node : str
        Where it lives: Ray's id of the node.
    asked : int
        Ids of all its calls of `gather` and `step`.
    steps : int
        Steps in which it had a row.
    busy : float
        Seconds in which it worked.
    nbytes : int
        Of its params and accumulators.
    load : float
        `asked` over the mean of all shards; 1 where nothing was asked for.
    """

    first: int
    last: int
    node: str
    asked: int
    steps: int
    busy: float
    nbytes: int
    load: float = 1.0

    @property
    def is_hot(self) -> bool:
        """Whether its load is 1.5 or more."""
        return self.load >= _HOT


class _Shard:
    """The actor: a slice, and what it was asked for."""

    def __init__(self) -> None:
        self._asked = self._steps = 0
        self._busy = 0.0

    def ready(self) -> None:
        """Return once the process runs."""

    def make(self, first: int, last: int, options: dict[str, Any]) -> None:
        self._table = make_slice(first, last, **options)

    def load(self, folder: str, first: int, last: int) -> None:
        self._table = load_slice(folder, _manifest.NAME, first, last)

    def gather(self, rows: Array) -> Array:
        begin = time.perf_counter()
        found = self._table.gather(rows)
        self._asked += len(rows)
        self._busy += time.perf_counter() - begin
        return found

    def step(
        self,
        number: int,
        rows: Array,
        g: Array,
        duplicates: Duplicates | None,
        lr: float,
        positions: Array | None,
    ) -> int:
        """Take step `number` of the whole table; this shard may have sat out those before."""
        begin = time.perf_counter()
        table = self._table
        fixed = False, table.seed, number, 0
        compiled = table.rule._compiled
        skipped = table._core.step(rows, g, compiled, lr, duplicates, *fixed, positions=positions)
        table.steps = number
        table.skipped += skipped
        self._asked += len(rows)
        self._steps += len(rows) != 0
        self._busy += time.perf_counter() - begin
        return skipped

    def decay(self, gamma: float, floor: float) -> None:
        begin = time.perf_counter()
        self._table.decay(gamma, floor)
        self._busy += time.perf_counter() - begin

    def save(self, folder: str, steps: int) -> None:
        self._table.steps = steps
        save_slice(folder, _manifest.NAME, self._table._first_row, self._table)

    def stats(self) -> ShardStats:
        table = self._table
        ends = table._first_row, table._first_row + table.rows
        node = ray.get_runtime_context().get_node_id()
        return ShardStats(*ends, node, self._asked, self._steps, self._busy, table.nbytes)


class ShardedTable:
    """An `adagrad.Table` whose rows are on the nodes of a Ray cluster, with the same bits.

    Each shard is an actor that holds a range of rows. AdaGrad needs nothing across rows, so any
    number of shards gives the bits of one table, for every rule, policy and dtype.

    Parameters
    ----------
    rows, dim, rule, dtype, state, init, seed, init_scale, state_dtype
        As for `adagrad.Table`; `rows` is needed.
    shards : int
        From 1 to `rows`. The ranges are as even as can be; the actors are on the nodes with
        processors in turn, and take memory but no processor of Ray's count.
    address : str, optional
        Of the cluster: "host:port", "ray://host:port", "auto" for the one that runs on this
        machine, or "local" for a new one. By default what ``RAY_ADDRESS`` says, or "local". Where
        the process is connected already, that connection is used.

    Attributes
    ----------
    rule, seed, steps, skipped, decays
        As of `adagrad.Table`.
    shards : int
        As given.

    Raises
    ------
    TypeError, ValueError
        Where an argument is not valid. No actor was started.
    ConnectionError
        Where no cluster listens at `address`.
    RuntimeError
        Where the cluster has no live node, loses one meanwhile, or does not start the processes
        within a minute.
    MemoryError
        Where a shard's memory is not to be had.

    Notes
    -----
    An object belongs to one process, whose threads may share it: calls reach all shards in one
    order, so a `gather` sees every `step` that was called before it. It cannot be pickled: the
    number of a step, of which rounding and learning rates depend, has one owner.

    A shard that dies is not restarted, as its rows would be gone without a word: the call that
    meets it and all later ones raise `ShardLostError`, and what was saved stays as it is.

    Examples
    --------
    >>> from adagrad.distributed import ShardedTable
    >>> with ShardedTable(1_000_000, rule=adagrad.Rule(lr=0.5, eps=0.0), shards=2) as table:
    ...     rows = np.array([7, 999_999, 7])
    ...     table.step(rows, np.ones(3, np.float32))
    ...     table.gather(rows)
    array([-0.5, -0.5, -0.5], dtype=float32)
    """

    def __init__(
        self,
        rows: int,
        dim: int = 1,
        rule: Rule | None = None,
        dtype: str | None = None,
        state: AccumulatorShape | None = None,
        init: Init = "zeros",
        seed: int = 0,
        *,
        shards: int,
        init_scale: float = 0.01,
        state_dtype: str | None = None,
        address: str | None = None,
    ) -> None:
        options: dict[str, Any] = {
            "dim": dim,
            "rule": rule,
            "dtype": dtype,
            "state": state,
            "init": init,
            "seed": seed,
            "init_scale": init_scale,
            "state_dtype": state_dtype,
        }
        ends = starts(rows, shards)
        self._take(make_slice(0, 1, **options), ends)  # its row: for every check of an argument
        self._start(address, lambda shard, first, last: shard.make.remote(first, last, options))

    def _take(self, row: Table, ends: npt.NDArray[np.int64]) -> None:
        """Be a table like that of one row, in these ranges."""
        self._row, self._starts = row, ends
        self.rule, self.seed = row.rule, row.seed
        at = row._layout
        self._layout: Layout = check_layout(
            int(ends[-1]), at.dim, at.dtype, at.state, at.state_dtype
        )
        self.shards = len(ends) - 1
        self.steps = self.skipped = self.decays = 0
        self._saved: Path | None = None
        self._lost: ShardLostError | None = None
        self._order = threading.Lock()  # calls are numbered, and sent to all shards, in one order
        self._actors: list[Any] = []

    def _start(self, address: str | None, fill: Callable[[Any, int, int], Any]) -> None:
        connect(address)
        check_room(self.shards, "shards", cpus=0)
        # In turn: Ray's "SPREAD", and soft affinity, put actors without processors anywhere.
        there = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes()]
        places = itertools.cycle(there)
        actor = ray.remote(num_cpus=0, max_restarts=0)(_Shard)
        self._actors = [
            actor.options(scheduling_strategy=next(places)).remote() for _ in range(self.shards)
        ]
        try:
            try:
                ray.get([shard.ready.remote() for shard in self._actors], timeout=_START)
            except GetTimeoutError as error:
                raise RuntimeError(
                    f"{self.shards} shards do not run after {_START:g} seconds: the cluster has no"
                    " room for their processes"
                ) from error
            except RayError as error:
                raise RuntimeError(
                    f"a node of the cluster died before its shards ran ({type(error).__name__})"
                ) from error
            ends = itertools.pairwise(self._starts.tolist())
            refs = [fill(shard, *of) for shard, of in zip(self._actors, ends, strict=True)]
            self._wait(refs)
        except BaseException:
            self.close()
            raise

    @property
    def rows(self) -> int:
        """Number of rows, of all shards."""
        return self._layout.rows

    @property
    def dim(self) -> int:
        """Elements of a row."""
        return self._layout.dim

    @property
    def dtype(self) -> str:
        """Name of the dtype of the params."""
        return self._layout.dtype

    @property
    def state_dtype(self) -> str:
        """Name of the dtype of the accumulators."""
        return self._layout.state_dtype

    @property
    def accumulator(self) -> AccumulatorShape:
        """Whether there is an accumulator for each "element" or one for each "row"."""
        return self._layout.state

    @property
    def nbytes(self) -> int:
        """Bytes of params and accumulators, of all shards."""
        return self._layout.nbytes

    def gather(self, rows: Array) -> Array:
        """Return the params of the named rows.

        Parameters
        ----------
        rows : ndarray of int32, int64, uint32 or uint64, shape [n]
            Ids in [0, `rows`), in any order.

        Returns
        -------
        ndarray of float32 or float64, shape [n], or [n, dim] where `dim` is not 1
            The caller's own. Params of 16 bits are given as float32.

        Raises
        ------
        IndexError, TypeError, ValueError
            As for `adagrad.Table.gather`.
        ShardLostError
            Where a shard has died.
        """
        self._alive()
        order, bounds = _core.bucket(rows, self._starts)
        with self._order:
            refs = {
                k: self._actors[k].gather.remote(self._ids(k, rows, at))
                for k, at in self._parts(order, bounds)
            }
        real = np.float64 if self.dtype == "float64" else np.float32
        out = np.empty((len(rows),) if self.dim == 1 else (len(rows), self.dim), real)
        for k, ref in refs.items():
            out[order[bounds[k] : bounds[k + 1]]] = self._get(k, ref)
        return out

    def step(
        self,
        rows: Array,
        g: Array,
        duplicates: Duplicates | None = None,
        *,
        lr: float | None = None,
    ) -> int | None:
        """Take one step of the named rows; returns once every shard has.

        Parameters
        ----------
        rows, g, duplicates, lr
            As for `adagrad.Table.step`.

        Returns
        -------
        None or int
            As for `adagrad.Table.step`.

        Raises
        ------
        IndexError, TypeError, ValueError
            As for `adagrad.Table.step`. No shard was called then.
        ShardLostError
            Where a shard has died. The others may have taken the step: the table is lost.

        Notes
        -----
        A shard without any of these rows is not called, unless the rule decays all rows. Beside
        the ids and gradients themselves, which are sent once, "sequential" and "each" on params of
        16 bits send 8 bytes for each id.
        """
        self._alive()
        if duplicates is not None:
            check_choice("duplicates", duplicates)
        policy = duplicates or self.rule.duplicates
        order, bounds = _core.bucket(rows, self._starts)
        self._row._core.check_step(len(rows), g, self.rule._compiled, policy)
        if policy == "sum" and self.rule.on_nonfinite == "raise":
            # The sum of finite gradients may be infinite, which is seen by no shard in time.
            rows, g = coalesce(rows, g)
            self._check_sums(rows, g)
            policy = "unique"
            order, bounds = _core.bucket(rows, self._starts)
        by_position = policy in ("sequential", "each") and self.dtype in ("bfloat16", "float16")
        if lr is not None:
            lr = check_real("lr", lr)
        with self._order:
            number = self.steps + 1
            rate = self.rule.lr_at(number) if lr is None else lr
            refs = {
                k: self._actors[k].step.remote(
                    number, self._ids(k, rows, at), g[at], policy, rate, at if by_position else None
                )
                for k, at in self._parts(order, bounds, every=_decays_all_rows(self.rule))
            }
            self.steps = number
        skipped = sum(self._get(k, ref) for k, ref in refs.items())
        self.skipped += skipped
        return skipped if self.rule.on_nonfinite == "skip" else None

    def _check_sums(self, rows: Array, g: Array) -> None:
        bad = ~np.isfinite(g).reshape(len(g), -1).all(axis=1)
        if bad.any():
            raise ValueError(
                f"step: the sum of the gradients of row {rows[bad][0]} is not finite, and"
                " on_nonfinite is 'raise'"
            )

    def decay(self, gamma: float, floor: float = 0.0) -> None:
        """Forget: ``s = max(gamma * s, floor)`` for every accumulator.

        Parameters
        ----------
        gamma, floor
            As for `adagrad.Table.decay`.

        Raises
        ------
        TypeError, ValueError
            Where an argument is not valid. No shard was called then.
        ShardLostError
            As for `step`.
        """
        self._alive()
        self._row.decay(gamma, floor)  # for its checks
        with self._order:
            refs = [shard.decay.remote(gamma, floor) for shard in self._actors]
            self.decays += 1
        for k, ref in enumerate(refs):
            self._get(k, ref)

    def save(self, directory: StrPath) -> None:
        """Write the table to a directory, whole or not at all.

        Parameters
        ----------
        directory : str or PathLike
            On a file system that every node has under this path; made where there is none. Each
            shard writes its slice to a new folder in it, then ``sharded.json`` is replaced, which
            names that folder, and the folders of earlier saves are removed. One process at a time
            saves to a directory.

        Raises
        ------
        adagrad.TableFileError
            Where this process does not see what the shards have written.
        OSError
            Where a shard cannot write.
        ShardLostError
            Where a shard has died.
            In all these cases the table that was saved before is still there.
        """
        self._alive()
        numbers = {"rows": self.rows, "shards": self.shards}

        def write(folder: Path) -> None:
            with self._order:
                for name in ("steps", "skipped", "decays"):
                    numbers[name] = getattr(self, name)
                refs = [shard.save.remote(str(folder), self.steps) for shard in self._actors]
            self._wait(refs)

        _manifest.write(directory, numbers, write)
        self._saved = Path(os.path.realpath(directory))

    @classmethod
    def load(cls, directory: StrPath, *, shards: int, address: str | None = None) -> Self:
        """Read a table that was saved, into any number of shards.

        Parameters
        ----------
        directory : str or PathLike
            On a file system that every node has under this path.
        shards : int
            Need not be the number of those that were saved.
        address : str, optional
            As for the constructor.

        Returns
        -------
        ShardedTable
            It goes on, bit for bit, as the one that was saved would have.

        Raises
        ------
        adagrad.TableFileError
            Where a file is missing, corrupted, or of another table; names it.
        TypeError, ValueError, ConnectionError, RuntimeError, MemoryError
            As for the constructor.
        """
        folder, numbers = _manifest.read(directory)
        ends = starts(numbers["rows"], shards)
        table = cls.__new__(cls)
        table._take(load_slice(folder, _manifest.NAME, 0, 1), ends)
        table._start(
            address, lambda shard, first, last: shard.load.remote(str(folder), first, last)
        )
        table.steps, table.skipped, table.decays = (
            numbers[name] for name in ("steps", "skipped", "decays")
        )
        table._saved = Path(os.path.realpath(directory))
        return table

    def stats(self) -> list[ShardStats]:
        """Return what each shard has done, and how hot it is.

        Returns
        -------
        list of ShardStats
            In the order of the rows.

        Raises
        ------
        ShardLostError
            Where a shard has died.
        """
        self._alive()
        found: list[ShardStats] = self._wait([shard.stats.remote() for shard in self._actors])
        mean = sum(stats.asked for stats in found) / self.shards
        return [stats._replace(load=stats.asked / mean if mean else 1.0) for stats in found]

    def close(self) -> None:
        """End the actors, and with them the table. What was saved stays."""
        actors, self._actors = self._actors, []
        if ray.is_initialized():
            for shard in actors:
                ray.kill(shard)

    def __enter__(self) -> Self:
        self._alive()
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a sharded table has one owner: save it, and load it elsewhere")

    def __len__(self) -> int:
        return self.rows

    def __repr__(self) -> str:
        at = self._layout
        what = ", lost" if self._lost is not None else "" if self._actors else ", closed"
        return (
            f"ShardedTable({at.rows}, dim={at.dim}, dtype={at.dtype!r}, state={at.state!r}, "
            f"shards={self.shards}, steps={self.steps}{what}, {self.rule})"
        )

    def _alive(self) -> None:
        if self._lost is not None:
            raise ShardLostError(str(self._lost)) from self._lost
        if not self._actors:
            raise ValueError("this table is closed")

    def _parts(self, order: Array, bounds: Array, every: bool = False) -> list[tuple[int, Array]]:
        """Return the shards that have any of the rows, and the positions of these."""
        parts = ((k, order[bounds[k] : bounds[k + 1]]) for k in range(self.shards))
        return [(k, at) for k, at in parts if every or len(at)]

    def _ids(self, k: int, rows: Array, at: Array) -> Array:
        """Return ids as shard k has them."""
        ids = rows[at]
        if len(ids):  # else its first row may be more than the dtype holds
            ids -= ids.dtype.type(self._starts[k])
        return ids

    def _wait(self, refs: list[Any]) -> list[Any]:
        """Return what all shards answer; raise what one of them raises, once all have answered."""
        ray.wait(refs, num_returns=len(refs), fetch_local=False)
        found = []
        for k, ref in enumerate(refs):
            try:
                found.append(ray.get(ref))
            except RayTaskError as error:
                raise error.cause from None
            except RayError as error:
                raise self._lose(k, error) from error
        return found

    def _get(self, k: int, ref: Any) -> Any:
        """Return what shard k answers to a call that was checked, and so can only be lost."""
        try:
            return ray.get(ref)
        except RayError as error:
            raise self._lose(k, error) from error

    def _lose(self, k: int, error: RayError) -> ShardLostError:
        first, last = self._starts[k : k + 2].tolist()
        if self._saved is None:
            how = "it was never saved, so it has to be made anew"
        else:
            how = f"go on with ShardedTable.load({str(self._saved)!r}, shards={self.shards})"
        self._lost = ShardLostError(
            f"shard {k} of {self.shards}, with rows {first} to {last - 1}, is lost at step"
            f" {self.steps} ({type(error).__name__}), and the table with it: {how}"
        )
        return self._lost


def _decays_all_rows(rule: Rule) -> bool:
    return (
        rule.weight_decay != 0.0
        and rule.weight_decay_mode == "decoupled"
        and rule.weight_decay_rows == "all"
    )
