"""Columns in, `Examples` out: what `HashingEncoder` does when it transforms.

A class of its own, because scikit-learn, of which the encoder is a transformer, takes a second and
90 MB to import: the processes of a cluster that encode do without it.
"""

from __future__ import annotations

import reprlib
import types
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad._arguments import check_integer
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.encoding.fields import (
    KINDS,
    cross_name,
    derived,
    fields_in,
    planned,
    with_calendar,
)
from adagrad.ctr.encoding.rows import has_names

# `columns` is imported where it is called: it needs pyarrow, but a learner of sparse matrices does
# not.
if TYPE_CHECKING:
    import pyarrow as pa

    from adagrad.ctr.encoding.deciding import Decisions
    from adagrad.ctr.encoding.inputs import Columns

__all__ = ["ColumnEncoder"]

_CHOICES = {
    "numeric": KINDS,
    "kinds": ("values", "types"),
    "multi": ("sum", "mean"),
    "null": ("value", "skip"),
    "output": ("examples", "csr"),
}


class ColumnEncoder:
    """Encodes columns as `Examples`; see `HashingEncoder`, which has parameters and `fit`."""

    bits: int
    fields: Any
    numeric: str
    calendar: Sequence[str]
    kinds: str
    crosses: Sequence[Sequence[str]]
    wide: Sequence[str | Sequence[str]]
    multi: str
    null: str
    seed: int
    output: str

    fields_: dict[str, str | None]
    feature_names_in_: npt.NDArray[np.object_]
    n_features_in_: int
    separators_: Mapping[str, str] = types.MappingProxyType({})
    _looked_at: dict[tuple[str, str], int] | None  # values of columns; None after a warning

    def transform(self, X: Columns) -> Examples:
        """Encode the rows of X, as `HashingEncoder.transform` does."""
        return self._examples(*self._read(X))

    def _examples(
        self, hasher: _core.Hasher, table: pa.Table, kinds: dict[str, str | None]
    ) -> Examples:
        bounds, fields, slots, values = hasher.encode(table.to_batches())
        n_fields = len(self._names(kinds))
        return Examples._of(
            bounds, fields, len(table), n_fields, 2 ** int(self.bits), slots, values
        )

    def _read(
        self, X: Columns, *, checked: bool = False
    ) -> tuple[_core.Hasher, pa.Table, dict[str, str | None]]:
        from adagrad.ctr.encoding.columns import encodable, open_columns, read_all, renamed

        is_fitted = hasattr(self, "fields_")
        wanted = self.fields_ if is_fitted else () if isinstance(self.fields, str) else self.fields
        reader = open_columns(X, positions=self._positions(), wanted=wanted or ())
        names = self._by_position(reader.schema, named=has_names(X))
        reader = reader if names is None else renamed(reader, names)
        kinds = self._decisions(reader.schema, None, by_types=True).kinds
        hasher = self._make_hasher(kinds)
        table = self._with_lists(read_all(reader))
        if not is_fitted and self.kinds == "values":
            self._warn_of_ids(table)
        return hasher, encodable(table, kinds, checked=checked), derived(kinds)

    def _with_lists(self, table: pa.Table) -> pa.Table:
        """Split the columns of texts that have a separator."""
        if self.separators_:
            from adagrad.ctr.encoding.columns import with_lists

            table = with_lists(table, self.separators_)
        return table

    def _warn_of_ids(self, table: pa.Table) -> None:
        """Warn, once, that without `fit` columns are numbers that look like ids.

        Of each column, at least as many values are looked at as by `fit`: doing so takes as long as
        encoding them. A column that is new, has a new type, or had no values before, is looked at.
        """
        from adagrad.ctr.encoding.looks import LOOK

        seen: dict[tuple[str, str], int] | None = getattr(self, "_looked_at", {})
        if seen is None or not len(table):
            return
        self._looked_at = seen
        fields = [(field.name, str(field.type)) for field in table.schema]
        new = [field for field in fields if seen.get(field, 0) < LOOK]
        if not new:
            return
        first = table.select([name for name, _ in new])
        for field, column in zip(new, first.columns, strict=True):
            seen[field] = seen.get(field, 0) + len(column) - column.null_count
        found = self._decisions(table.schema, first, by_types=True)
        ids = [name for name, look in found.looks.items() if look.kind == "ids"]
        if ids := [name for name in ids if name not in found.doubtful]:
            self._looked_at = None
            warnings.warn(
                f"X[{ids[0]!r}] looks like ids ({found.looks[ids[0]].why}), but the encoder is not"
                " fitted, so that all integers are numbers: call fit, or give kinds in fields",
                UserWarning,
                stacklevel=4,
            )

    def _names(self, fields: Iterable[str]) -> list[str]:
        """Return the names of all fields, in their order: those of columns, then crosses."""
        return [*fields, *map(cross_name, self.crosses)]

    def _decisions(self, schema: pa.Schema, first: pa.Table | None, *, by_types: bool) -> Decisions:
        """Return the columns to encode and their kinds; `first` are rows to look at, if any."""
        from adagrad.ctr.encoding.deciding import decide

        self._check_choices()
        given = fields_in(schema.names, getattr(self, "fields_", self.fields))
        if not hasattr(self, "fields_"):
            given = with_calendar(self.calendar, schema.names, given)
        first = None if self.kinds == "types" else first
        return decide(schema, given, self.numeric, first, by_types=by_types)

    def _check_choices(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be in {choices}, got {getattr(self, name)!r}")
        if isinstance(self.bits, int) and self.bits in (1 << bits for bits in range(8, 33)):
            raise ValueError(
                f"bits must be from 8 to 32, got {self.bits}: for so many slots,"
                f" bits={self.bits.bit_length() - 1}"
            )
        check_integer("bits", self.bits, 8, 32)
        check_integer("seed", self.seed, 0, 2**64 - 1)

    def _make_hasher(self, kinds: Mapping[str, str | None]) -> _core.Hasher:
        """Check the parameters, and return the compiled encoder for these columns."""
        self._check_choices()
        plan = (
            *planned(derived(kinds), self.crosses, self.wide),
            self.bits,
            self.seed,
            self.null == "skip",
            self.multi == "mean",
        )
        # The last hasher is reused, because it has the hashes of the last batch's dictionaries.
        last, hasher = getattr(self, "_last", (None, None))
        if hasher is None or last != plan:
            hasher = _core.Hasher(*plan)
            self._last = plan, hasher
        return hasher

    def _positions(self) -> list[str] | None:
        """Return the names of the columns of an array; None if they are x0, x1, ..."""
        if not hasattr(self, "fields_"):
            return None
        if hasattr(self, "feature_names_in_"):
            return list(self.feature_names_in_)
        numbered = [f"x{j}" for j in range(self.n_features_in_)]
        return numbered if self.fields_.keys() <= set(numbered) else list(self.fields_)

    def _by_position(self, schema: pa.Schema, *, named: bool) -> list[str] | None:
        """Return the names under which the columns of X are encoded; None for their own.

        An array has the columns of the frame that `fit` got, and a frame those of an array, by
        position; a warning says so. Keys of rows have no position.
        """
        if named == hasattr(self, "feature_names_in_") or not hasattr(self, "fields_"):
            return None
        found = schema.names
        if named and self.fields_.keys() <= set(found):
            others = [name for name in found if name not in self.fields_]
            if others and all(str(schema.field(name).type) == "null" for name in self.fields_):
                raise ValueError(
                    f"X has the columns {reprlib.repr(others)}, but fit got an array, whose columns"
                    f" are {reprlib.repr(list(self.fields_))}: pass an array, or fit rows like X"
                )
            return None
        if len(found) != self.n_features_in_:
            raise ValueError(
                f"X has {len(found)} features, but HashingEncoder is expecting"
                f" {self.n_features_in_} features as input"
            )
        has, was = ("has", "without") if named else ("does not have valid", "with")
        warnings.warn(
            f"X {has} feature names, but HashingEncoder was fitted {was} feature names",
            UserWarning,
            stacklevel=4,
        )
        return self._positions()

    def __getstate__(self) -> dict[str, Any]:
        own = ("_last", "_found", "_looked_at", "_rows")  # of this object alone
        return {name: value for name, value in vars(self).items() if name not in own}
