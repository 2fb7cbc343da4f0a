"""The limit of a benchmark: limits.c, compiled when first needed, and checked calls of its loops.

A limit loop touches the same cache lines as the step that is measured and does almost no
arithmetic, so the time of a step over that of its limit says what its arithmetic, checks and
bookkeeping cost. It is not part of adagrad: it is compiled by the C compiler of this machine, for
this machine.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import machine
from bench.results import LIMIT, Variant

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared")

LINES_AHEAD = 128  # cache lines on their way: as many as fill a quarter of a small L1
DENSE_LINES_AHEAD = 16  # of each array
ENTRY_LINES_AHEAD = 256  # of entries of examples, whose slots lie anywhere
EXAMPLES_AHEAD = 4  # of the plain learner

Call = Callable[[], object]
Size = ctypes.c_size_t
Float = ctypes.c_float
Pointer = ctypes.c_void_p


class _Table(ctypes.Structure):
    """A ``table`` of limits.c."""

    _fields_ = (
        ("w", Pointer),
        ("s", Pointer),
        ("w_stride", Size),
        ("s_stride", Size),
        ("dim", Size),
        ("state", Size),
    )


class _Examples(ctypes.Structure):
    """The ``examples`` of limits.c."""

    _fields_ = (
        ("slots", Pointer),
        ("starts", Pointer),
        ("values", Pointer),
        ("n", Size),
        ("entries", Size),
        ("apart", Size),
    )


_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "dense_f32": (Pointer, Pointer, Pointer, Size, Size),
    "dense_f64": (Pointer, Pointer, Pointer, Size, Size),
    "step_pairs": (Pointer, Pointer, Pointer, Size, Size),
    "step_scalars": (Pointer, Pointer, Pointer, Pointer, Size, Size),
    "step_rows": (Pointer, Pointer, Pointer, Size, Size),
    "step_bags": (Pointer, Pointer, Pointer, Pointer, Size, Size),
    "gather": (Pointer, Pointer, Size, Pointer, Size),
    "pool": (Pointer, Pointer, Pointer, Size, Pointer, Size),
    "scan": (Pointer, Size, Pointer),
    "parse_entries": (Pointer, Size, Pointer, Pointer),
    "learn_pairs": (Pointer, Pointer, Pointer, Pointer, Size),
    "learn_rows": (Pointer, Pointer, Size, Pointer, Pointer, Pointer, Size),
    "roots": (Pointer, Pointer, Pointer, Size, Size, Float, Float),
    "learn_logistic": (Pointer, Pointer, Pointer, Pointer, Float, Float, Pointer, Size),
}


def build(folder: Path | None = None) -> Path:
    """Compile limits.c, unless a library of the same source, compiler and flags exists.

    Parameters
    ----------
    folder : Path, optional
        Where libraries are kept; by default ``adagrad-bench`` in the user's cache folder.

    Raises
    ------
    RuntimeError
        If there is no C compiler, or it fails, or the folder is not writeable.
    """
    compiler = shlex.split(os.environ.get("CC") or "cc")
    try:
        version = subprocess.run([*compiler, "--version"], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(
            f"no C compiler: {shlex.join(compiler)!r} does not run ({error}); install one or set CC"
        ) from error
    # The CPU is part of the key because -march=native depends on it.
    parts = [SOURCE.read_bytes(), version, shlex.join([*compiler, *FLAGS]), machine.cpu()]
    key = hashlib.sha256(b"\0".join(p if isinstance(p, bytes) else p.encode() for p in parts))
    if folder is None:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "adagrad-bench"
    library = folder / f"limits-{key.hexdigest()[:16]}.so"
    if library.exists():
        return library
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / library.name
            command = [*compiler, *FLAGS, str(SOURCE), "-o", str(made), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                first = next((line for line in done.stderr.splitlines() if "error" in line), "")
                raise RuntimeError(f"{shlex.join(command)} fails: {first or done.returncode}")
            made.replace(library)  # as a whole: another benchmark may load it meanwhile
    except OSError as error:
        raise RuntimeError(f"cannot write {library} ({error}); set XDG_CACHE_HOME") from error
    return library


class Limits:
    """The loops of limits.c.

    Every method checks its arrays and returns a call without arguments, so that checks are not
    timed. Each update is ``s += g; w -= g``, one by one in the order of the ids, in place.
    """

    def __init__(self, library: Path) -> None:
        loaded = ctypes.CDLL(str(library))
        self._loops = {name: getattr(loaded, name) for name in _ARGUMENTS}
        for name, loop in self._loops.items():
            loop.argtypes, loop.restype = _ARGUMENTS[name], None

    def _call(self, name: str, arguments: Sequence[Any], arrays: Sequence[Any]) -> Call:
        call = functools.partial(self._loops[name], *arguments)
        call.arrays = arrays  # type: ignore[attr-defined]  # pointers do not keep memory alive
        return call

    def dense(
        self, w: np.ndarray, g: np.ndarray, s: np.ndarray, lines: int = DENSE_LINES_AHEAD
    ) -> Call:
        """Return a step of arrays of one length, all float32 or all float64."""
        if w.dtype not in (np.float32, np.float64):
            raise TypeError(f"w must be float32 or float64, got {w.dtype}")
        for name, a in (("w", w), ("g", g), ("s", s)):
            _check(name, a, w.dtype, w.shape, writes=name != "g")
        pointers = (a.ctypes.data for a in (w, g, s))
        arguments = (*pointers, w.size, lines * 64 // w.itemsize)
        return self._call("dense_f64" if w.itemsize == 8 else "dense_f32", arguments, (w, g, s))

    def step_rows(
        self, w: np.ndarray, s: np.ndarray, ids: np.ndarray, g: np.ndarray, lines: int = LINES_AHEAD
    ) -> Call:
        """Return an update of each row ``ids[i]`` by ``g[i]``.

        Parameters
        ----------
        w : ndarray of float32, shape [N] or [N, D]
            Rows may lie apart, their elements not.
        s : ndarray of float32, shape of `w` or [N]
        ids : ndarray of int64, shape [n]
        g : ndarray of float32, shape [n] or [n, D]
        lines : int
            Cache lines to prefetch.
        """
        table = _table(w, s)
        _check_ids(ids, len(w))
        _check("g", g, np.float32, ids.shape + w.shape[1:])
        ahead = _rows_ahead(table, lines)
        rest = (ids.ctypes.data, g.ctypes.data, len(ids), ahead)
        arrays = (w, s, ids, g, table)
        if w.ndim == 1 and table.s == table.w + 4 and table.w_stride == table.s_stride == 2:
            return self._call("step_pairs", (table.w, *rest), arrays)
        if w.ndim == 1 and table.w_stride == table.s_stride == 1:
            return self._call("step_scalars", (table.w, table.s, *rest), arrays)
        return self._call("step_rows", (ctypes.addressof(table), *rest), arrays)

    def step_bags(
        self, w: np.ndarray, s: np.ndarray, ids: np.ndarray, offsets: np.ndarray, g: np.ndarray
    ) -> Call:
        """Return an update of each row ``ids[offsets[b]:offsets[b + 1]]`` by ``g[b]``."""
        table = _table(w, s)
        _check_ids(ids, len(w))
        _check_offsets(offsets, len(ids))
        _check("g", g, np.float32, (len(offsets) - 1, *w.shape[1:]))
        pointers = (a.ctypes.data for a in (ids, offsets, g))
        arguments = (ctypes.addressof(table), *pointers, len(ids), _rows_ahead(table))
        return self._call("step_bags", arguments, (w, s, ids, offsets, g, table))

    def gather(self, w: np.ndarray, ids: np.ndarray, out: np.ndarray) -> Call:
        """Return a copy of the rows `ids` to `out`."""
        table = _table(w, w)
        _check_ids(ids, len(w))
        _check("out", out, np.float32, ids.shape + w.shape[1:], writes=True)
        arguments = (ctypes.addressof(table), ids.ctypes.data, len(ids), out.ctypes.data)
        ahead = _rows_ahead(table, reads_only=True)
        return self._call("gather", (*arguments, ahead), (w, ids, out, table))

    def pool(self, w: np.ndarray, ids: np.ndarray, offsets: np.ndarray, out: np.ndarray) -> Call:
        """Return the sums of the bags' rows, to `out`. No bag is empty."""
        table = _table(w, w)
        _check_ids(ids, len(w))
        _check_offsets(offsets, len(ids))
        _check("out", out, np.float32, (len(offsets) - 1, *w.shape[1:]), writes=True)
        arguments = (ids.ctypes.data, offsets.ctypes.data, len(ids), out.ctypes.data)
        ahead = _rows_ahead(table, reads_only=True)
        arrays = (w, ids, offsets, out, table)
        return self._call("pool", (ctypes.addressof(table), *arguments, ahead), arrays)

    def scan(self, text: bytes, separators: np.ndarray) -> Call:
        """Return a count of the tabs and line feeds of a text, to ``separators[0]``."""
        _check("separators", separators, np.uint64, (1,), writes=True)
        array = np.frombuffer(text, np.uint8)
        arguments = (array.ctypes.data, len(text), separators.ctypes.data)
        return self._call("scan", arguments, (array, separators))

    def parse_entries(self, text: bytes, values: np.ndarray, count: np.ndarray) -> Call:
        """Return a read of the values of entries ``field:id:value``; ``count[0]`` of them.

        `values` has room for one float32 for each colon of the text, which ends with a line end.
        """
        _check("values", values, np.float32, (text.count(b":"),), writes=True)
        _check("count", count, np.uint64, (1,), writes=True)
        if not text.endswith(b"\n"):
            raise ValueError("text must end with a line end")
        array = np.frombuffer(text, np.uint8)
        arguments = (array.ctypes.data, len(text), values.ctypes.data, count.ctypes.data)
        return self._call("parse_entries", arguments, (array, values, count))

    def learn(
        self,
        tables: Sequence[tuple[np.ndarray, np.ndarray]],
        x: Any,
        g: np.ndarray,
        margins: np.ndarray,
        lines: int = ENTRY_LINES_AHEAD,
    ) -> Call:
        """Return a pass over examples, the rows of each entry visited once.

        Parameters
        ----------
        tables : sequence of (w, s)
            float32, [n_slots] or [n_slots, width], each accumulator row right behind its params.
        x : adagrad.ctr.Examples
        g : ndarray of float32, shape [examples]
            An entry of example ``i`` moves by ``g[i]`` times its value.
        margins : ndarray of float32, shape [examples]
            Receives the sum of all params of each example, as they are at its turn.
        lines : int
            Cache lines to prefetch.
        """
        n = len(x)
        for name, a in (("g", g), ("margins", margins)):
            _check(name, a, np.float32, (n,), writes=name == "margins")
        layouts = [_joined(w, s, x) for w, s in tables]
        of = _examples(x)
        ahead = max(8, lines // sum(-(-2 * table.dim * 4 // 64) for table in layouts))
        rest = (ctypes.addressof(of), g.ctypes.data, margins.ctypes.data, ahead)
        arrays = (tables, x, g, margins, of)
        if [table.dim for table in layouts] == [1]:
            return self._call("learn_pairs", (layouts[0].w, *rest), arrays)
        count = len(layouts)
        pointers = (Pointer * count)(*(table.w for table in layouts))
        widths = (Size * count)(*(table.dim for table in layouts))
        first = (ctypes.addressof(pointers), ctypes.addressof(widths), count)
        return self._call("learn_rows", (*first, *rest), (*arrays, pointers, widths))

    def roots(
        self, w: np.ndarray, s: np.ndarray, g: np.ndarray, steps: int, lr: float, eps: float
    ) -> Call:
        """Return `steps` steps of AdaGrad, round and round on arrays that should fit into L1."""
        for name, a in (("w", w), ("s", s), ("g", g)):
            _check(name, a, np.float32, (w.size,), writes=name != "g")
        pointers = (a.ctypes.data for a in (w, s, g))
        return self._call("roots", (*pointers, w.size, steps, lr, eps), (w, s, g))

    def learn_logistic(
        self,
        w: np.ndarray,
        s: np.ndarray,
        x: Any,
        y: np.ndarray,
        lr: float,
        eps: float,
        margins: np.ndarray,
        examples: int = EXAMPLES_AHEAD,
    ) -> Call:
        """Return a pass of logistic regression over examples, one at a time; see `learn`.

        It learns labels `y` by AdaGrad with a bias from zero, and writes the margin of each example
        before it learns from it.
        """
        for name, a in (("y", y), ("margins", margins)):
            _check(name, a, np.float32, (len(x),), writes=name == "margins")
        table = _joined(w, s, x)
        if table.dim != 1:
            raise ValueError(f"w must have one param a row, got {table.dim}")
        of, bias = _examples(x), np.zeros(2, np.float32)
        pointers = (table.w, bias.ctypes.data, ctypes.addressof(of), y.ctypes.data)
        rest = (lr, eps, margins.ctypes.data, examples)
        return self._call("learn_logistic", (*pointers, *rest), (w, s, x, y, margins, of, bias))


@functools.cache
def load() -> Limits | None:
    """Return the loops; if limits.c cannot be compiled, print the reason once and return None."""
    try:
        return Limits(build())
    except RuntimeError as error:
        machine.leave_out(f"{LIMIT} (needs a C compiler)")
        print(f"No column {LIMIT!r}: {error}.", file=sys.stderr)
        return None


def variant(bind: Callable[[Limits, int], Call], group: str = "") -> list[Variant]:
    """Return a list of the limit as one variant, or an empty list if it cannot be compiled.

    Parameters
    ----------
    bind : callable
        Given the loops and the number of a sample, returns the call to time.
    group : str
        As of `Variant`.
    """
    loops = load()
    if loops is None:
        return []
    return [Variant(LIMIT, lambda call: call(), lambda i: bind(loops, i), group)]


def _check(name: str, a: Any, dtype: Any, shape: tuple[int, ...], writes: bool = False) -> None:
    if not isinstance(a, np.ndarray) or a.dtype != dtype or a.shape != shape:
        found = f"{a.dtype} of shape {a.shape}" if isinstance(a, np.ndarray) else repr(a)
        raise TypeError(f"{name} must be {np.dtype(dtype)} of shape {shape}, got {found}")
    if not a.flags.c_contiguous or (writes and not a.flags.writeable):
        raise ValueError(f"{name} must be contiguous{' and writeable' if writes else ''}")


def _check_ids(ids: np.ndarray, rows: int) -> None:
    _check("ids", ids, np.int64, (len(ids),))
    if len(ids) and not 0 <= ids.min() <= ids.max() < rows:
        raise IndexError(f"ids must be in [0, {rows}), they are in [{ids.min()}, {ids.max()}]")


def _check_offsets(offsets: np.ndarray, n: int) -> None:
    _check("offsets", offsets, np.int64, (len(offsets),))
    if offsets[0] != 0 or offsets[-1] != n or (np.diff(offsets) < 1).any():
        raise ValueError(f"offsets must ascend from 0 to {n}, and no bag may be empty")


def _table(w: np.ndarray, s: np.ndarray) -> _Table:
    for name, a in (("w", w), ("s", s)):
        if a.dtype != np.float32 or a.ndim not in (1, 2) or not a.flags.writeable:
            raise TypeError(f"{name} must be writeable float32 of one or two dimensions")
        if a.ndim == 2 and a.strides[1] != 4:
            raise ValueError(f"the elements of a row of {name} must lie side by side")
    if s.shape not in (w.shape, w.shape[:1]):
        raise ValueError(f"s must have shape {w.shape} or {w.shape[:1]}, got {s.shape}")
    dim, state = (a.shape[1] if a.ndim == 2 else 1 for a in (w, s))
    return _Table(w.ctypes.data, s.ctypes.data, w.strides[0] // 4, s.strides[0] // 4, dim, state)


def _joined(w: np.ndarray, s: np.ndarray, x: Any) -> _Table:
    """Return a table whose rows are params and then as many accumulators, for the slots of `x`."""
    table = _table(w, s)
    joined = table.s == table.w + 4 * table.dim and table.state == table.dim
    if not joined or not table.w_stride == table.s_stride == 2 * table.dim:
        raise ValueError("each row of s must lie right behind its row of w")
    if len(w) != x.n_slots:
        raise ValueError(f"a table has {len(w)} rows, x has {x.n_slots} slots")
    return table


def _examples(x: Any) -> _Examples:
    fixed = len(x.bounds) == 9 and len(x) != 1
    entries = int(x.bounds[8]) if fixed else 0
    values = None if x.values is None else x.values.ctypes.data
    starts = None if fixed else x.bounds.ctypes.data
    return _Examples(x.slots.ctypes.data, starts, values, len(x), entries, 8)


def _rows_ahead(table: _Table, lines: int = LINES_AHEAD, reads_only: bool = False) -> int:
    """Return how many rows span `lines` cache lines, but at least eight."""
    joined = table.s == table.w + 4 * table.dim
    parts = [table.dim] if reads_only else [table.dim, table.state]
    runs = [sum(parts)] if joined else parts
    of_row = sum(-(-4 * run // 64) for run in runs)
    return max(8, lines // of_row)
