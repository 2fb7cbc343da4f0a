"""`ShardedTable`: a table whose rows are on Ray actors.

Checks arguments, numbers the steps and sends each shard its ids. What an actor does is in
`_table_shard`, which rows it has in `_ranges`.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import ray
from ray.exceptions import RayError, RayTaskError

from adagrad._arguments import check_real
from adagrad.distributed import _manifest
from adagrad.distributed._connection import connect
from adagrad.distributed._ranges import dealt, starts
from adagrad.distributed._slices import StrPath, load_slice, make_slice
from adagrad.distributed._table_shard import ShardStats, start_shards
from adagrad.functional import coalesce
from adagrad.rule import AccumulatorShape, Duplicates, Rule, check_choice
from adagrad.tables.layout import Layout, check_layout
from adagrad.tables.table import Init, Table

if TYPE_CHECKING:
    from typing_extensions import Self

Array = npt.NDArray[Any]


class ShardLostError(RuntimeError):
    """A shard of a table died, or failed in a step, so the rows no longer agree on the step."""


class ShardedTable:
    """An `adagrad.Table` whose rows are on the nodes of a Ray cluster, with the same bits.

    Each shard is an actor that holds a range of rows. AdaGrad needs nothing across rows, so any
    number of shards gives the bits of one table, for every rule, policy and dtype.

    Parameters
    ----------
    rows, dim, rule, dtype, state, init, seed, init_scale, state_dtype
        As for `adagrad.Table`; `rows` is required.
    shards : int
        Number of shards, from 1 to `rows`. Their ranges have even lengths. The actors are placed in
        turn on the nodes with processors. They take memory, but reserve no processor.
    address : str, optional
        Address of the cluster: "host:port", "ray://host:port", "auto" for the cluster that runs on
        this machine, or "local" for a new one. By default the environment variable ``RAY_ADDRESS``,
        or "local" if it is not set. Ignored if the process is connected already.

    Attributes
    ----------
    rule, seed, steps, skipped, decays
        As for `adagrad.Table`.
    shards : int
        As given.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid. No actor is started then.
    ConnectionError
        If no cluster listens at `address`.
    RuntimeError
        If the cluster has no live node, loses one meanwhile, or does not start the processes
        within a minute.
    MemoryError
        If a shard cannot allocate its memory.

    Notes
    -----
    A table belongs to one process, whose threads may share it. Calls reach all shards in one order,
    so a `gather` sees every `step` that was called before it. A table cannot be pickled, because
    rounding and learning rates depend on the number of a step, which one process must count.

    A shard that dies is not restarted, because its rows are lost. The call that meets the failure
    and all later ones raise `ShardLostError`; a saved copy is not affected.

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
        self._take(make_slice(0, 1, **options), ends)  # one row, which checks all arguments
        self._start(address, lambda shard, first, last: shard.make.remote(first, last, options))

    def _take(self, row: Table, ends: npt.NDArray[np.int64]) -> None:
        """Take the options of a table with one row, and these ranges."""
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
        self._order = threading.Lock()  # calls are numbered and sent to all shards in one order
        self._actors: list[Any] = []

    def _start(self, address: str | None, fill: Callable[[Any, int, int], Any]) -> None:
        connect(address)
        self._actors = start_shards(self.shards)
        try:
            ranges = itertools.pairwise(self._starts.tolist())
            refs = [fill(shard, *of) for shard, of in zip(self._actors, ranges, strict=True)]
            self._wait(refs)
        except BaseException:
            self.close()
            raise

    @property
    def rows(self) -> int:
        """Number of rows of all shards."""
        return self._layout.rows

    @property
    def dim(self) -> int:
        """Number of elements of a row."""
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
        """Whether each "element" or each "row" has an accumulator."""
        return self._layout.state

    @property
    def nbytes(self) -> int:
        """Bytes of params and accumulators of all shards."""
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
            A new array. 16-bit params are returned as float32.

        Raises
        ------
        IndexError, TypeError, ValueError
            As for `adagrad.Table.gather`.
        ShardLostError
            If a shard has died.
        """
        self._alive()
        parts = dealt(rows, self._starts)
        with self._order:
            refs = [self._actors[part.shard].gather.remote(part.ids) for part in parts]
        real = np.float64 if self.dtype == "float64" else np.float32
        out = np.empty((len(rows),) if self.dim == 1 else (len(rows), self.dim), real)
        for part, ref in zip(parts, refs, strict=True):
            out[part.positions] = self._get(part.shard, ref)
        return out

    def step(
        self,
        rows: Array,
        g: Array,
        duplicates: Duplicates | None = None,
        *,
        lr: float | None = None,
    ) -> int | None:
        """Take one step of the named rows, and return when every shard has taken it.

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
            As for `adagrad.Table.step`. No shard is called then.
        ShardLostError
            If a shard has died. Others may have taken the step, so the table is lost.

        Notes
        -----
        A shard that has none of the rows is not called, unless the rule decays all rows. Ids and
        gradients are sent once. With 16-bit params, "sequential" and "each" send 8 more bytes per
        id.
        """
        self._alive()
        if duplicates is not None:
            check_choice("duplicates", duplicates)
        policy = duplicates or self.rule.duplicates
        every = _decays_all_rows(self.rule)
        parts = dealt(rows, self._starts, every=every)
        self._row._core.check_step(len(rows), g, self.rule._compiled, policy)
        if policy == "sum" and self.rule.on_nonfinite == "raise":
            # A sum of finite gradients may be infinite, which a shard would find too late.
            rows, g = coalesce(rows, g)
            _check_sums(rows, g)
            policy = "unique"
            parts = dealt(rows, self._starts, every=every)
        by_position = policy in ("sequential", "each") and self.dtype in ("bfloat16", "float16")
        if lr is not None:
            lr = check_real("lr", lr)
        with self._order:
            number = self.steps + 1
            rate = self.rule.lr_at(number) if lr is None else lr
            refs = [
                self._actors[shard].step.remote(
                    number, ids, g[at], policy, rate, at if by_position else None
                )
                for shard, at, ids in parts
            ]
            self.steps = number
        skipped = sum(self._get(part.shard, ref) for part, ref in zip(parts, refs, strict=True))
        self.skipped += skipped
        return skipped if self.rule.on_nonfinite == "skip" else None

    def decay(self, gamma: float, floor: float = 0.0) -> None:
        """Decay all accumulators: ``s = max(gamma * s, floor)``.

        Parameters
        ----------
        gamma, floor
            As for `adagrad.Table.decay`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not valid. No shard is called then.
        ShardLostError
            As for `step`.
        """
        self._alive()
        self._row.decay(gamma, floor)  # checks the arguments
        with self._order:
            refs = [shard.decay.remote(gamma, floor) for shard in self._actors]
            self.decays += 1
        for k, ref in enumerate(refs):
            self._get(k, ref)

    def save(self, directory: StrPath) -> None:
        """Write the table to a directory, replacing the one there atomically.

        Parameters
        ----------
        directory : str or PathLike
            On a file system that every node has under this path; created if it does not exist. Each
            shard writes its slice to a new folder in it. Then ``sharded.json``, which names that
            folder, is replaced, and the folders of earlier saves are removed. Only one process at a
            time may save to a directory.

        Raises
        ------
        adagrad.TableFileError
            If this process does not see what the shards have written.
        OSError
            If a shard cannot write.
        ShardLostError
            If a shard has died.

        Notes
        -----
        If it raises, the table that was saved before is untouched.
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
        """Read a saved table into any number of shards.

        Parameters
        ----------
        directory : str or PathLike
            On a file system that every node has under this path.
        shards : int
            It may differ from the number that was saved.
        address : str, optional
            As for the constructor.

        Returns
        -------
        ShardedTable
            It continues with the same bits as the saved table.

        Raises
        ------
        adagrad.TableFileError
            If a file is missing, corrupted, or of another table. The error names the file.
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
        """Return what each shard has done since it was made or loaded.

        Returns
        -------
        list of ShardStats
            In the order of the rows.

        Raises
        ------
        ShardLostError
            If a shard has died.
        """
        self._alive()
        found: list[ShardStats] = self._wait([shard.stats.remote() for shard in self._actors])
        mean = sum(stats.asked for stats in found) / self.shards
        return [stats._replace(load=stats.asked / mean if mean else 1.0) for stats in found]

    def close(self) -> None:
        """End the actors, and with them the table. Saved copies are not affected."""
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
        raise TypeError(
            "a ShardedTable cannot be pickled, because one process owns it: save it, and load it"
            " elsewhere"
        )

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

    def _wait(self, refs: list[Any]) -> list[Any]:
        """Wait for all shards, then return their answers or raise the first error."""
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
        """Return the answer of shard k to a checked call, which fails only if the shard is lost."""
        try:
            return ray.get(ref)
        except RayError as error:
            raise self._lose(k, error) from error

    def _lose(self, k: int, error: RayError) -> ShardLostError:
        first, last = self._starts[k : k + 2].tolist()
        if self._saved is None:
            how = "it was never saved, so start over"
        else:
            how = f"continue from ShardedTable.load({str(self._saved)!r}, shards={self.shards})"
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


def _check_sums(rows: Array, g: Array) -> None:
    bad = ~np.isfinite(g).reshape(len(g), -1).all(axis=1)
    if bad.any():
        raise ValueError(
            f"step: the sum of the gradients of row {rows[bad][0]} is not finite, and on_nonfinite"
            " is 'raise'"
        )
