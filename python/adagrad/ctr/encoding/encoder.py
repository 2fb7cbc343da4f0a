"""Columns to examples: every value to a slot of the model, by its hash."""

from __future__ import annotations

import collections
import inspect
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from adagrad import _core
from adagrad.ctr.encoding.examples import Examples

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["HashingEncoder"]

Kind = Literal["categorical", "log2-bins", "value"]
_CHOICES = {
    "numeric": get_args(Kind),
    "multi": ("sum", "mean"),
    "null": ("value", "skip"),
}
_FORMAT = 1  # of to_dict; another hash would be another format


class HashingEncoder:
    """Encode columns as `Examples`: a slot for each value of each field, found by hashing.

    Nothing is learned and nothing is stored, so that a log is encoded in one pass, in pieces, and
    values never seen before have a slot too. Two values may share one; `collisions` counts them.

    Parameters
    ----------
    bits : int, default 22
        The model has ``2**bits`` slots, 8 to 32.
    fields : sequence of str, or dict of str to str or None, optional
        Columns to encode, in this order; a dict gives the kind of each, None that of its type. By
        default all columns. Others that X has are ignored.

        ``"categorical"``
            Each value has its own slot and counts 1. Of strings, bools, dates, dictionaries and
            lists; of integers where they are ids.
        ``"log2-bins"``
            A number has the slot of its bin: ``[2**k, 1.5 * 2**k)`` or ``[1.5 * 2**k, 2**(k+1))``,
            the same below 0, and one for 0. For counts and whatever else has a long tail.
        ``"value"``
            One slot for the field, with the number as its value.
    numeric : {"log2-bins", "value", "categorical"}, default "log2-bins"
        Kind of integers, floats, decimals and durations where `fields` does not say.
    multi : {"sum", "mean"}, default "sum"
        Each element of a list counts 1, or 1 over the number of elements.
    crosses : sequence of tuples of str, default ()
        Fields whose combinations are a field of their own, named ``"a*b"``: a slot for each
        combination, the product of their values as value, every element of a list with every
        element of the other.
    wide : sequence of str or tuples of str, default ()
        Fields and crosses with very many values, which take slots of all regions.
    null : {"value", "skip"}, default "value"
        A missing value (null, or NaN) is one more value, or no entry. A missing element of a list
        is no entry.
    seed : int, default 0
        Of the hash, in ``[0, 2**64)``.

    Attributes
    ----------
    fields_ : dict of str to str or None
        Columns and their kinds as `fit` found them; where there, they are what `transform` takes.
        A None is the type's, still.
    feature_names_in_ : ndarray of str
        The same columns.
    n_features_in_ : int

    Notes
    -----
    The rule, which no later version changes, on any platform:

    1. A field's seed is ``s = XXH64(name, seed)``; names and texts are hashed as UTF-8.
    2. A category's hash is ``h = XXH64(text, s)``: of binary values the bytes, of integers the
       decimal text, of bools ``0`` or ``1``, of whole floats below ``2**63`` in size the
       integer's, of other floats the shortest text that reads back as it (Python's ``repr``; in
       the column's precision, float16 as float32), of decimals pyarrow's text. A date, time or
       timestamp is ISO text of any unit's: ``2026-01-31``, ``12:30:00``, ``2026-01-31 12:30:00.5``;
       a fraction has no zeros at its end, midnight without a time zone is the date, and with a
       time zone the text is that of UTC and a ``Z``.
    3. A bin's hash is ``XXH64(b, s)``, b being the upper 13 bits of the number's float64 (sign,
       exponent, first bit of the mantissa; of -0 those of 0) as 8 bytes, little-endian. Text is
       read as a number first, where empty it is missing.
    4. The hash of a ``"value"`` is ``XXH64("", s)``. A missing value's is ``s`` itself.
    5. A cross hashes its parts' hashes, 16 bytes, little-endian, under the seed of its name; a
       third part is combined with the result.
    6. With ``n`` fields (the crosses come last) field ``j`` has region ``j % 8``; with fewer than
       8, all regions ``r`` with ``r % n == j``; a wide one all. Of these ``c`` regions,
       ascending, it takes number ``(h % 2**32) * c >> 32``, and in it slot
       ``h >> (64 - (bits - 3))``.

    Entries are in the order of regions, fields and elements. Where each row has the same (no
    lists, nothing skipped, nothing wide, at least 8 fields), `Examples.bounds` are fixed.

    XXH64: Y. Collet, xxHash fast digest algorithm, 0.1.1. Hashing: K. Weinberger et al., Feature
    hashing for large scale multitask learning, ICML 2009.

    Examples
    --------
    >>> from adagrad.ctr import HashingEncoder
    >>> encoder = HashingEncoder(bits=18, crosses=[("site", "ad")])
    >>> encoder.transform({"site": ["a.com", None], "ad": [7, 9], "tags": [["x", "y"], []]})
    <Examples: 2 of 8 entries in 262144 slots, 4 fields>
    """

    def __init__(
        self,
        bits: int = 22,
        fields: Sequence[str] | Mapping[str, Kind | None] | None = None,
        *,
        numeric: Kind = "log2-bins",
        multi: Literal["sum", "mean"] = "sum",
        crosses: Sequence[Sequence[str]] = (),
        wide: Sequence[str | Sequence[str]] = (),
        null: Literal["value", "skip"] = "value",
        seed: int = 0,
    ) -> None:
        self.bits = bits
        self.fields = fields
        self.numeric = numeric
        self.multi = multi
        self.crosses = crosses
        self.wide = wide
        self.null = null
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> HashingEncoder:
        """Check the parameters and remember the columns and their kinds. A reader is not read.

        Parameters
        ----------
        X : columns, as `transform` takes
        y : ignored
        """
        from adagrad.ctr.encoding import columns as _columns

        schema = _columns.open_columns(X).schema
        vars(self).pop("fields_", None)
        found = self._find_fields(schema)
        self._make_hasher(found)
        self.fields_ = found
        self.feature_names_in_ = np.array(list(found), dtype=object)
        self.n_features_in_ = len(found)
        return self

    def transform(self, X: Any) -> Examples:
        """Encode the rows of X; without `fit`, those columns that X has. O(values).

        Parameters
        ----------
        X : pyarrow.Table, RecordBatch or RecordBatchReader, DataFrame, or dict of arrays
            Or anything else with Arrow's PyCapsule interface. A reader is read to its end.

        Returns
        -------
        encoded : Examples
            With `fields`, and with `values` where there is a field of kind "value" or the mean of
            lists is asked for.

        Raises
        ------
        TypeError
            Where X has no columns, or a column cannot be encoded as its kind asks.
        ValueError
            Where a column is missing or there twice, a parameter is out of range, or a number is
            none, or not finite or more than 2**48 in size where it is a value.
        """
        hasher, table, kinds = self._read(X)
        bounds, fields, slots, values = hasher.encode(table.to_batches())
        n_fields = len(kinds) + len(self.crosses)
        return Examples._of(
            bounds, fields, len(table), n_fields, 2 ** int(self.bits), slots, values
        )

    def fit_transform(self, X: Any, y: Any = None) -> Examples:
        """Remember the columns of X and encode its rows."""
        from adagrad.ctr.encoding import columns as _columns

        reader = _columns.open_columns(X)
        return self.fit(reader).transform(reader)

    def collisions(self, X: Any) -> dict[str, dict[str, float]]:
        """Count the values of each field in a sample, and those that share their slot.

        Returns
        -------
        dict of dict
            For each field and cross: ``values`` (distinct, a missing one counts), ``slots`` (that
            they are in), ``shared_within`` and ``shared`` (share of the values in whose slot there
            is another of the field, or of any field), ``expected_within`` and ``expected`` (the
            same, of random slots). O(n log n) for n values.
        """
        from adagrad.ctr.encoding import inverse as _lookup

        hasher, table, kinds = self._read(X)
        names = [*kinds, *map(_cross_name, self.crosses)]
        return _lookup.collisions(hasher, table, names, 2 ** (int(self.bits) - 3))

    def inverse(self, X: Any) -> dict[int, list[tuple[str, Any]]]:
        """Return what is in each slot, of the values in a sample.

        Returns
        -------
        dict of int to list of (field, value)
            A missing value is None, a bin its limits as text, such as ``"[4, 6)"``, a field of
            kind "value" that word, a combination a tuple. O(n log n) for n values, in Python for
            distinct ones.
        """
        from adagrad.ctr.encoding import inverse as _lookup

        hasher, table, kinds = self._read(X)
        parts = [(name,) for name in kinds] + [tuple(cross) for cross in self.crosses]
        return _lookup.inverse(hasher, table, kinds, parts, self.null == "value")

    def regions(self) -> dict[str, list[int]]:
        """Return the regions of the slots, of eight, that each field and cross is dealt.

        Raises
        ------
        ValueError
            Where `fit` has not seen the columns yet.
        """
        if not hasattr(self, "fields_"):
            raise ValueError("the encoder has not seen columns: fit it")
        homes = self._make_hasher(self.fields_).homes()
        names = [*self.fields_, *map(_cross_name, self.crosses)]
        return {
            name: [first + step * k for k in range(count)]
            for name, (first, step, count) in zip(names, homes, strict=True)
        }

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters as they were given."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> HashingEncoder:
        """Set parameters by name."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"HashingEncoder has no parameter {name!r}, but {list(known)}")
            setattr(self, name, value)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the encoder as what JSON can hold: parameters, and what `fit` found."""
        params = {**self.get_params(), "bits": int(self.bits), "seed": int(self.seed)}
        if self.fields is not None and not isinstance(self.fields, Mapping):
            params["fields"] = list(self.fields)
        params["crosses"] = [list(cross) for cross in self.crosses]
        params["wide"] = [name if isinstance(name, str) else list(name) for name in self.wide]
        return {"format": _FORMAT, "params": params, "fields_": getattr(self, "fields_", None)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> HashingEncoder:
        """Return the encoder that `to_dict` described."""
        if state.get("format") != _FORMAT:
            raise ValueError(
                f"an encoder of format {state.get('format')!r}; this version reads {_FORMAT}"
            )
        self = cls(**state["params"])
        if state["fields_"] is not None:
            self.fields_ = dict(state["fields_"])
            self.feature_names_in_ = np.array(list(self.fields_), dtype=object)
            self.n_features_in_ = len(self.fields_)
        return self

    def _read(self, X: Any) -> tuple[_core.Hasher, pa.Table, dict[str, str | None]]:
        from adagrad.ctr.encoding import columns as _columns

        reader = _columns.open_columns(X)
        kinds = self._find_fields(reader.schema)
        hasher = self._make_hasher(kinds)
        return hasher, _columns.encodable(reader.read_all(), kinds), kinds

    def _find_fields(self, schema: pa.Schema) -> dict[str, str | None]:
        """Return the columns to encode and their kinds."""
        from adagrad.ctr.encoding import columns as _columns

        wanted = getattr(self, "fields_", self.fields)
        if isinstance(wanted, str):
            raise TypeError(f"fields must be names or a dict, got {wanted!r}")
        found = schema.names
        counts = collections.Counter(found)
        names = list(found if wanted is None else wanted)
        if not names:
            raise ValueError("X has no columns to encode")
        for name, times in collections.Counter(names).items():
            if times > 1 or counts[name] > 1:
                raise ValueError(f"field {name!r} is there twice")
            if counts[name] == 0:
                raise ValueError(f"X has no column {name!r}, but {found}")
        kinds = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(names)
        for name, kind in kinds.items():
            if kind is None:
                kinds[name] = _columns.default_kind(schema.field(name).type, self.numeric)
            elif kind not in _CHOICES["numeric"]:
                raise ValueError(f"fields[{name!r}] must be in {_CHOICES['numeric']}, got {kind!r}")
        return kinds

    def _make_hasher(self, kinds: Mapping[str, str | None]) -> _core.Hasher:
        """Check the parameters, for these fields."""
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be in {choices}, got {getattr(self, name)!r}")
        _check_integer("bits", self.bits, 8, 32)
        _check_integer("seed", self.seed, 0, 2**64 - 1)
        position = {name: j for j, name in enumerate(kinds)}
        names = list(position)
        for cross in self.crosses:
            if isinstance(cross, str) or len(cross) < 2:
                raise ValueError(f"a cross is of at least two fields, got {cross!r}")
            for part in cross:
                if part not in position:
                    raise ValueError(f"the cross {tuple(cross)!r} has {part!r}, which is no field")
            if len(set(cross)) < len(cross):
                raise ValueError(f"the cross {tuple(cross)!r} has a field twice")
            name = _cross_name(cross)
            if name in names:
                raise ValueError(f"field {name!r} is there twice")
            names.append(name)
        if isinstance(self.wide, str):
            raise TypeError(f"wide must be a sequence of names, got {self.wide!r}")
        wide = {_cross_name(name) for name in self.wide}
        if not wide <= set(names):
            raise ValueError(f"wide has {sorted(wide - set(names))}, but the fields are {names}")
        plan = (
            [(name, kind or "categorical", name in wide) for name, kind in kinds.items()],
            [
                (_cross_name(cross), [position[part] for part in cross], _cross_name(cross) in wide)
                for cross in self.crosses
            ],
            self.bits,
            self.seed,
            self.null == "skip",
            self.multi == "mean",
        )
        # The last one is used again, as it knows the dictionaries of the batch before.
        last, hasher = getattr(self, "_last", (None, None))
        if hasher is None or last != plan:
            hasher = _core.Hasher(*plan)
            self._last = plan, hasher
        return hasher

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_last"}

    def __repr__(self) -> str:
        params = inspect.signature(type(self)).parameters
        changed = (
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if value != params[name].default
        )
        return f"HashingEncoder({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(),
            input_tags=InputTags(two_d_array=False, string=True, categorical=True, allow_nan=True),
            requires_fit=False,
        )


def _cross_name(parts: str | Iterable[str]) -> str:
    return parts if isinstance(parts, str) else "*".join(parts)


def _check_integer(name: str, value: Any, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if not least <= int(value) <= most:
        raise ValueError(f"{name} must be from {least} to {most}, got {value}")
