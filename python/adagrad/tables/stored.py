"""The part of a table that does not train: its memory, views of it, and its files."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad._arguments import check_integer, check_storable
from adagrad.rule import AccumulatorShape, Rule
from adagrad.tables import files, memory
from adagrad.tables.header import COUNTERS, DIGITS, Header, TableFileError
from adagrad.tables.layout import BYTES, Layout, check_layout, dtype_of, name_of
from adagrad.tables.mapping import FileMode, Mapping
from adagrad.tables.metadata import number_in, rule_of
from adagrad.tables.tensors import strict_json

MOST_STEPS = 2**63 - 1  # leaves room to count on

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
StrPath = str | os.PathLike[str]

if TYPE_CHECKING:
    from typing_extensions import Self


class StoredTable:
    """The storage of `adagrad.Table`, which adds training."""

    rule: Rule
    seed: int
    steps: int
    skipped: int
    decays: int
    path: str | None
    # Where this table begins in a larger one that it is a slice of: random numbers depend on it.
    _first_row: int = 0
    _layout: Layout
    _mapping: Mapping | None

    def _take(self, data: Bytes) -> None:
        """Use memory of the right size."""
        self._memory: Bytes | None = data
        self._core = self._over(data)

    def _over(self, data: Bytes) -> _core.Table:
        at = self._layout
        half_state = BYTES[at.state_dtype] == 2
        # A process may be killed between the stores of a param and its accumulator; a file remains.
        whole_pairs = self._mapping is not None
        by_row = at.state == "row"
        return _core.Table(
            data, at.rows, at.dim, at.dtype, half_state, by_row, whole_pairs, self._first_row
        )

    @property
    def weights(self) -> Array:
        """The params: a view of shape [rows], or [rows, dim] if `dim` is not 1.

        It is writeable, except of a table that was opened with mode "r".
        """
        return self._view(0, self.dtype)

    @property
    def state(self) -> Array:
        """The accumulators: a view of the shape of `weights`, or [rows] with one per row."""
        return self._view(self.dim, self.state_dtype)

    def _view(self, column: int, dtype: str, *, write: bool = True) -> Array:
        at = self._layout
        length = at.dim if column == 0 else at.state_length
        size = BYTES[dtype]
        shape, strides = (at.rows,), (at.row_bytes,)
        if at.dim != 1 and (column == 0 or at.state == "element"):
            shape, strides = (at.rows, length), (at.row_bytes, size)  # type: ignore[assignment]
        offset = column * BYTES[at.dtype]
        memory = self._writeable() if write and not self._is_read_only else self._alive()
        view: Array = np.ndarray(shape, dtype_of(dtype), memory.data, offset, strides)
        return view

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
        """Whether there is one accumulator per "element" or per "row"."""
        return self._layout.state

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self._layout.rows

    @property
    def dim(self) -> int:
        """Number of elements per row."""
        return self._layout.dim

    @property
    def nbytes(self) -> int:
        """Size in bytes of params and accumulators."""
        return self._layout.nbytes

    @property
    def pages(self) -> Literal["huge", "ordinary", "file"]:
        """What backs the memory: huge pages, ordinary pages, or a file."""
        return "file" if self._mapping is not None else memory.pages(self._alive())

    def save(self, path: StrPath) -> None:
        """Write the table to a file, with its rule, step count and seed.

        Parameters
        ----------
        path : str or PathLike
            An existing file is replaced as a whole: if the process dies, the file holds the old
            table or the new one.

        Raises
        ------
        OSError
            If the file cannot be written, or a table maps it. The old file is unchanged.

        Notes
        -----
        The format is safetensors, with one tensor "table" of shape [rows, dim + accumulators], or
        of bytes if params and accumulators differ in dtype.
        """
        files.save(path, self._metadata(), *self._layout.tensor, self._alive())

    @classmethod
    def load(cls, path: StrPath) -> Self:
        """Read a table from a file into memory.

        Parameters
        ----------
        path : str or PathLike

        Returns
        -------
        Table
            It trains on with the same bits as the table that was saved.

        Raises
        ------
        adagrad.TableFileError
            If the file is truncated, corrupted, of another format, or of a newer version.
        OSError
            If the file cannot be read.
        """
        table = cls.__new__(cls)
        header = files.read_header(path)
        table._read(path, header)
        data = memory.allocate(header.nbytes)
        files.load_into(path, header, data)
        table._take(data)
        return table

    @classmethod
    def open(cls, path: StrPath, mode: FileMode = "r+") -> Self:
        """Map an existing file: ``Table(path=path)``, but an error if there is none.

        Parameters
        ----------
        path : str or PathLike
        mode : {"r", "r+"}, default "r+"
            "r" only reads: the table does not change, its views are read-only, and the file may be
            one that this process cannot write. "r+" reads until the first call that changes the
            table, or gives out a view that could. From then on until `close` the table has the
            file for itself: that call raises BlockingIOError if another table maps the file.

        Returns
        -------
        Table

        Raises
        ------
        FileNotFoundError
            If there is no file.
        adagrad.TableFileError, BlockingIOError
            As for the constructor.

        Notes
        -----
        Any number of processes may map a file to read it, and share its memory. `save` may replace
        the file meanwhile: open tables then have the old one. A mapped file must not be cut short.
        Calls of a table raise TableFileError if it was; where that happens during a call, the
        process ends with SIGBUS.
        """
        if mode not in ("r", "r+"):
            raise ValueError(f"mode must be 'r' or 'r+', got {mode!r}")
        table = cls.__new__(cls)
        table._open(path, {}, mode)
        return table

    def _open(self, path: StrPath, given: dict[str, Any], mode: FileMode = "r+") -> None:
        mapping = Mapping(path, mode)
        try:
            self._read(path, mapping.header)
            for name, value in given.items():
                held = self._layout.state if name == "state" else getattr(self, name)
                if value is not None and name.endswith("dtype"):
                    value = name_of(value)
                if value is not None and value != held:
                    raise ValueError(f"{path} has {name}={held!r}, not {value!r}")
        except BaseException:
            mapping.close()
            raise
        self._mapping, self.path = mapping, os.fspath(path)
        self._take(mapping.data)

    def _read(self, path: StrPath, header: Header) -> None:
        """Check the metadata of a file and adopt them."""
        found = header.metadata
        try:
            self._layout = check_layout(
                number_in(found, "rows"),
                number_in(found, "dim"),
                found["dtype"],
                found["state"],
                found["state_dtype"],
            )
            self.rule = rule_of(path, strict_json(found["rule"]))
            start = self.rule.initial_accumulator
            check_storable("initial_accumulator", start, self._layout.state_dtype)
            self.seed = check_integer("seed", number_in(found, "seed"), 0, 2**64 - 1)
            first_row = number_in(found, "first_row", "0")
            self._first_row = check_integer("first_row", first_row, 0, 2**63 - 1 - self.rows)
            for name in COUNTERS:
                setattr(self, name, check_integer(name, int(found[name]), 0, MOST_STEPS))
        except TableFileError:
            raise
        except (TypeError, ValueError) as error:
            raise TableFileError(f"{path} is corrupted: {error}") from error
        if (header.dtype, header.shape) != self._layout.tensor:
            raise TableFileError(
                f"{path} is corrupted: its tensor is {header.dtype} of shape {header.shape}, but"
                f" its metadata say {self._layout.tensor}"
            )
        self._mapping = self.path = None

    def _metadata(self) -> dict[str, str]:
        fields = dataclasses.asdict(self._layout)
        return {
            "adagrad_version": _core.__version__,
            "rule": json.dumps(dataclasses.asdict(self.rule)),
            "seed": str(self.seed),
            **{name: f"{self._counter(name):0{DIGITS}}" for name in COUNTERS},
            **{name: str(value) for name, value in fields.items()},
            **({"first_row": str(self._first_row)} if self._first_row else {}),
        }

    def _counter(self, name: str) -> int:
        return check_integer(name, getattr(self, name), 0, MOST_STEPS)

    def flush(self) -> None:
        """Write a mapped table to disk, and then its step count.

        The state at the last flush survives a loss of power. Later updates survive the death of the
        process, but may be in the file without being counted. An update of one element (``dim=1``)
        of float32 or float64 is in the file completely or not at all, except under "each", which
        writes accumulators first. Longer rows and 16-bit rows may be written in part.

        Without effect if nothing has changed since the table was opened.

        Raises
        ------
        ValueError
            If the table is not mapped, or is closed.
        OSError
            If writing fails.
        RuntimeError
            In a forked child of the process that mapped the table.
        """
        self._alive()
        if self._mapping is None:
            raise ValueError("this table has no file to flush to: use save(path)")
        self._mapping.flush(*(self._counter(name) for name in COUNTERS))

    def close(self) -> None:
        """Flush a mapped table and release its file; release the memory of any other table.

        A forked child releases its own view of the file and leaves flushing to its parent. Views
        that were handed out stay valid, and views of a file still write to it.
        """
        if self._memory is None:
            return
        mapping = self._mapping
        try:
            if mapping is not None and mapping.is_ours and not self._is_read_only:
                self.flush()
        except TableFileError:  # the file was cut short, so that there is nothing to keep
            self._release()
            raise
        self._release()

    def _release(self) -> None:
        if self._mapping is not None:
            self._mapping.close()
        self._memory = None
        del self._core

    def __enter__(self) -> Self:
        self._alive()
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _alive(self) -> Bytes:
        """Return the memory, which can be read."""
        if self._memory is None:
            raise ValueError("this table is closed")
        if self._mapping is not None:
            self._mapping.check()
        return self._memory

    def _writeable(self) -> Bytes:
        """Return the memory, which can be read and written."""
        memory = self._alive()
        if self._mapping is not None:
            self._mapping.reserve()
        return memory

    @property
    def _is_read_only(self) -> bool:
        return self._mapping is not None and self._mapping.mode == "r"

    def copy(self) -> Self:
        """Return a copy in memory, even of a mapped table.

        Returns
        -------
        Table
        """
        table = type(self).__new__(type(self))
        data = memory.allocate(self.nbytes)
        data[:] = self._alive()
        table.__setstate__(self._fields() | {"memory": data})
        return table

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.copy()

    def _fields(self) -> dict[str, Any]:
        names = ("rule", "seed", *COUNTERS, "_first_row", "_layout")
        return {name: getattr(self, name) for name in names}

    def __getstate__(self) -> dict[str, Any]:
        if self._mapping is not None:
            raise TypeError(
                "a mapped table cannot be pickled: pickle its copy(), or close it and send its path"
            )
        return self._fields() | {"memory": self._alive()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        data = state.pop("memory")
        self.__dict__.update(state)
        self._mapping = self.path = None
        # joblib maps the arrays of a pickle: those of a file that must not change are copied.
        mapped = isinstance(data, np.memmap)
        if mapped or not data.flags.writeable or data.ctypes.data % 64:
            data, given = memory.allocate(data.nbytes), data
            data[:] = given
        self._take(data)

    def __len__(self) -> int:
        return self.rows

    def __repr__(self) -> str:
        at = self._layout
        mapped = "" if self.path is None else f", path={self.path!r}"
        closed = ", closed" if self._memory is None else ""
        mixed = "" if at.state_dtype == at.dtype else f", state_dtype={at.state_dtype!r}"
        return (
            f"Table({at.rows}, dim={at.dim}, dtype={at.dtype!r}, state={at.state!r}{mixed}, "
            f"steps={self.steps}{mapped}{closed}, {self.rule})"
        )
