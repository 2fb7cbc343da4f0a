"""The hashing encoder: columns in, `Examples` out.

The learners and the commands use it. The hash and the layout of slots are a file format: a model on
disk depends on them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from adagrad.ctr.encoding.column_encoder import ColumnEncoder
from adagrad.ctr.encoding.fields import CALENDAR, GivenKind, Kind, derived
from adagrad.ctr.encoding.rows import has_names, refuse_iterator
from adagrad.ctr.encoding.saved import check_saved, saved_state
from adagrad.ctr.encoding.scikit_learn import Transformer

# `columns` and `inverse` are imported where they are called: they need pyarrow, but a learner of
# sparse matrices, which imports this module, does not.
if TYPE_CHECKING:
    import pyarrow as pa
    import scipy.sparse
    from typing_extensions import Self

    from adagrad.ctr.encoding.deciding import Decisions
    from adagrad.ctr.encoding.examples import Examples
    from adagrad.ctr.encoding.inputs import Columns

__all__ = ["HashingEncoder"]


# With a key, scikit-learn would try to make DataFrames of Examples.
class HashingEncoder(Transformer, ColumnEncoder, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Encode columns as `Examples`: each value of each field gets a slot by hashing.

    `fit` decides by the first rows which columns hold ids and which hold numbers; it stores no
    value. The encoder encodes a log in one pass, in pieces of any size, and gives a slot to values
    that it has never seen. Two values may share a slot; `collisions` counts them.

    Parameters
    ----------
    bits : int, default 22
        The model has ``2**bits`` slots, from 8 to 32 bits.
    fields : sequence of str, or dict of str to str or None, optional
        Columns to encode, in this order; other columns are ignored. A dict also gives the kind of
        each column, or None to find it out as `kinds` says. By default, all columns are encoded.

        ``"categorical"``
            Each distinct value has its own slot, with the value 1. The default for strings, bools,
            dates, dictionaries and lists, and for integers that look like ids.
        ``"log2-bins"``
            All numbers of a bin share a slot. The bins are ``[2**k, 1.5 * 2**k)`` and
            ``[1.5 * 2**k, 2**(k+1))``, their mirror images below 0, and a bin for 0. Suits counts
            and other quantities with a long tail.
        ``"value"``
            The field has one slot, and the number is its value.
        ``"numeric"``
            A number, of the kind that `numeric` says.
        ``"calendar"``
            A moment, as three categories: see `calendar`.
    numeric : {"log2-bins", "value", "categorical"}, default "log2-bins"
        Kind of numbers: of floats, decimals, durations and those integers that are not ids.
    calendar : sequence of str, default ()
        Columns of moments: dates, timestamps, ISO texts, and integers that are Unix seconds or
        milliseconds or YYMMDDHH. Column ``at`` has the fields ``at.hour``, ``at.weekday`` (Monday
        is 0) and ``at.week_hour`` instead of itself. A timestamp with a time zone counts in that
        zone; everything else counts as it is stored, and text with an offset in UTC.
    kinds : {"values", "types"}, default "values"
        How a column gets its kind if nothing gives it. With ``"values"``, `fit` looks at the first
        65,536 rows to tell ids from numbers (see Notes), and timestamps are not encoded: a moment
        does not return. With ``"types"``, as in version 0.1, all integers are numbers, and
        timestamps are categories.
    multi : {"sum", "mean"}, default "sum"
        Value of each element of a list: 1, or 1 over the number of elements. The values of a map
        are taken as they are, or divided by their number.
    crosses : sequence of tuples of str, default ()
        Combinations of fields. A cross is a field named ``"a*b"``, with a slot for each combination
        of values. Its value is the product of the values. Lists and maps are combined element by
        element, each with each.
    wide : sequence of str or tuples of str, default ()
        Fields and crosses with millions of values. They use the slots of all regions.
    null : {"value", "skip"}, default "value"
        Whether a missing value (null, or NaN) is a value of its own or gives no entry. A missing
        element of a list gives no entry, nor does a key of a map whose value is missing.
    seed : int, default 0
        Seed of the hash, in ``[0, 2**64)``.
    output : {"examples", "csr"}, default "examples"
        What `transform` returns: `Examples`, which the learners of this package take, or a
        `scipy.sparse.csr_matrix`, which estimators of other packages, `ColumnTransformer` and
        `FeatureUnion` take. Both have a column per slot; only `Examples` know the fields.

    Attributes
    ----------
    fields_ : dict of str to str or None
        Columns and kinds that `fit` found. Once they exist, `transform` uses them. None stands for
        a column of nulls, whose type decides later. `describe` gives the reasons.
    feature_names_in_ : ndarray of str
        The same columns, in the order of the frame that `fit` got. Missing if it got an array, or a
        frame whose names are not all text.
    n_features_in_ : int
        Number of columns; of an array, all that it had.
    separators_ : dict of str to str
        Columns of lists in the log that the model of ``adagrad train --multi`` learned from, with
        what separates their values. `transform` splits texts in these columns at it.

    Notes
    -----
    With ``kinds="values"``, integers are ids, and so categories, if equal values are at least 1.5
    times as frequent as they would be in counts, if the values are few and hardly any is rare, or
    if they are spread evenly. The complete rule is in "Ids and numbers" of ``docs/click-logs.md``.
    It sees only the values of the first rows: the format of a log and its batches do not matter.
    Floats are numbers, unless all are whole and some are missing, as pandas holds such integers.

    The encoding follows these rules on every platform, and no later version changes them:

    1. The seed of a field is ``s = XXH64(name, seed)``. Names and texts are hashed as UTF-8.
    2. The hash of a category is ``h = XXH64(text, s)``. The text of a binary value is its bytes; of
       an integer, its decimal digits; of a bool, ``0`` or ``1``; of a whole float below ``2**63``
       in magnitude, that of the integer; of any other float, the shortest text that reads back as
       the same number (Python's ``repr``) in the precision of the column, with float16 treated as
       float32; of a decimal, pyarrow's text. The text of a date, time or timestamp is ISO 8601 and
       does not depend on the unit: ``2026-01-31``, ``12:30:00``, ``2026-01-31 12:30:00.5``.
       Fractions have no trailing zeros. Midnight without a time zone is written as the date. A
       timestamp with a time zone is written in UTC, followed by ``Z``. A duration is the number of
       its units.
    3. The hash of a bin is ``XXH64(b, s)``, where ``b`` is the upper 13 bits of the number as
       float64 (sign, exponent, first bit of the mantissa; -0 counts as 0), as 8 bytes in
       little-endian order. Text is first parsed as a number; empty text is a missing value.
    4. The hash of a ``"value"`` field is ``XXH64("", s)``. The hash of a missing value is ``s``.
    5. The hash of a cross is XXH64 of the two hashes of its parts, 16 bytes in little-endian order,
       with the seed of its name. The result is combined with a third part in the same way.
    6. Of ``n`` fields, with the crosses last, field ``j`` has the region ``j % 8``. With fewer than
       8 fields, it has all regions ``r`` with ``r % n == j``. A wide field has all 8 regions. Of
       these ``c`` regions in ascending order, a hash selects number ``(h % 2**32) * c >> 32``, and
       in it the slot ``h >> (64 - (bits - 3))``.

    Entries are ordered by region, then by field, then by element. If every row has the same number
    of entries in each region (no lists, nothing skipped, no wide fields, at least 8 fields),
    `Examples.bounds` are fixed.

    XXH64: Y. Collet, xxHash fast digest algorithm, version 0.1.1. Hashing: K. Weinberger et al.,
    "Feature hashing for large scale multitask learning", ICML 2009.

    Examples
    --------
    >>> from adagrad.ctr import HashingEncoder
    >>> encoder = HashingEncoder(bits=18, crosses=[("site", "ad")])
    >>> encoder.transform({"site": ["a.com", None], "ad": [7, 9], "tags": [["x", "y"], []]})
    <Examples: 2 of 8 entries in 262144 slots, 4 fields>

    With estimators of other packages:

    >>> HashingEncoder(bits=8, output="csr").fit_transform([{"site": "a.com"}, {"ad": 7}]).shape
    (2, 256)
    """

    output: str = "examples"  # of encoders that were pickled before there was a choice
    _found: Decisions | None = None  # by `fit`, in this process

    def __init__(
        self,
        bits: int = 22,
        fields: Sequence[str] | Mapping[str, GivenKind | None] | None = None,
        *,
        numeric: Kind = "log2-bins",
        calendar: Sequence[str] = (),
        kinds: Literal["values", "types"] = "values",
        multi: Literal["sum", "mean"] = "sum",
        crosses: Sequence[Sequence[str]] = (),
        wide: Sequence[str | Sequence[str]] = (),
        null: Literal["value", "skip"] = "value",
        seed: int = 0,
        output: Literal["examples", "csr"] = "examples",
    ) -> None:
        self.bits = bits
        self.fields = fields
        self.numeric = numeric
        self.calendar = calendar
        self.kinds = kinds
        self.multi = multi
        self.crosses = crosses
        self.wide = wide
        self.null = null
        self.seed = seed
        self.output = output

    def fit(self, X: Columns, y: object = None) -> Self:
        """Check the parameters, and remember the columns and their kinds.

        Parameters
        ----------
        X : DataFrame, Arrow data, dict of arrays, array or list of dicts
            As for `transform`, but no iterator, which would be used up. At most the first 65,536
            rows are read. Of a reader, only the schema is, which says nothing about integers: they
            are numbers then.
        y : object
            Ignored.

        Warns
        -----
        UserWarning
            A column that was declared a number looks like ids, or a column of moments is not
            encoded.

        Raises
        ------
        TypeError, ValueError
            As for `transform`, except for the values.
        """
        refuse_iterator(X)
        self._warn_of_fit(self._fit(X))
        return self

    def _fit(self, X: Columns, table: pa.Table | None = None) -> Decisions:
        """Do as `fit` does, but return what was found instead of warning.

        If X was read already, `table` has its columns.
        """
        from adagrad.ctr.encoding.columns import open_columns
        from adagrad.ctr.encoding.deciding import first_rows

        reader = open_columns(X) if table is None else table.to_reader()
        self.__dict__.pop("fields_", None)
        self.__dict__.pop("_reasons", None)
        self.__dict__.pop("separators_", None)
        first = None if reader is X else first_rows(reader)
        found = self._decisions(reader.schema, first, by_types=self.kinds == "types")
        self._make_hasher(found.kinds)
        self.fields_ = found.kinds
        self._found, self._reasons = found, found.reasons
        self._note_columns(reader.schema.names, named=has_names(X))
        return found

    def _warn_of_fit(self, found: Decisions) -> None:
        for remark in found.warnings():
            warnings.warn(remark, UserWarning, stacklevel=3)

    def transform(self, X: Columns) -> Examples | scipy.sparse.csr_matrix:
        """Encode the rows of X, in time linear in the number of values.

        Without `fit`, the columns of X decide the fields, and types alone decide the kinds:
        integers are numbers, and timestamps are categories. A `UserWarning` names the first column
        that looks like ids, once. Until then, calls look at the first 65,536 values of each column;
        one that is new, or that comes with another type, counts from 0.

        Parameters
        ----------
        X : DataFrame, Arrow data, dict of arrays, array or list of dicts
            The columns, which are found by their names; others are ignored.

            DataFrame, pyarrow.Table, RecordBatch or RecordBatchReader, dict of arrays
                Any object with Arrow's PyCapsule interface works too. A reader is read to its end.
                Moments of NumPy may have any unit, such as ``datetime64[10s]``.
            array or list of lists, shape [n, columns]
                Numbers, text or objects. The columns are named ``x0``, ``x1``, ...; after `fit`
                with a frame they are those of the frame, by position, and a warning says so.
            list, iterator or Series of dicts
                Rows. Their keys are the columns, and a key that a row lacks is a missing value.

            A column of lists has an entry for each element. A column of maps, or of dicts, has one
            for each key, which is a category; its value, a finite number, is that of the entry.

        Returns
        -------
        encoded : Examples, or scipy.sparse.csr_matrix of float32 with shape [n, 2**bits]
            As `output` says. Examples have `fields`. They have `values` if a field has the kind
            "value", a column has maps, or `multi` is "mean" and a column has lists. The columns of
            each row of a matrix ascend, and the values of entries that share a slot are added up.

        Raises
        ------
        TypeError
            X does not hold columns, or is sparse, or a column has a type that its kind cannot
            encode. Types whose storage does not say what the values are cannot be encoded: objects
            of polars, periods and intervals of pandas, and extension types that are unknown and not
            text.
        ValueError
            A column is missing or occurs twice; an array has another number of axes than 2, no
            rows, or another number of columns than in `fit`; `set_output` asks for a DataFrame; a
            parameter is out of range; a text is not a number, but its kind needs one; a number of
            kind "value", or in a map, is not finite or exceeds :math:`2^{48}` in magnitude; or the
            memory of an Arrow array is damaged.
        """
        self._check_output()
        return self._in_output(self._examples(*self._read(X)))

    def _in_output(self, examples: Examples) -> Examples | scipy.sparse.csr_matrix:
        if self.output == "examples":
            return examples
        matrix = examples.to_csr()
        # In the order of columns and without repetitions, which not all estimators understand.
        matrix.data = matrix.data.copy()
        matrix.sum_duplicates()
        return matrix

    def fit_transform(self, X: Columns, y: object = None) -> Examples | scipy.sparse.csr_matrix:
        """Call `fit`, then `transform`; a reader or an iterator is read once, before both."""
        from adagrad.ctr.encoding.columns import open_columns, read_all

        self._check_output()
        table = read_all(open_columns(X))
        self._warn_of_fit(self._fit(X, table))
        return self.transform(table)

    def collisions(self, X: Columns) -> dict[str, dict[str, float]]:
        r"""Count the values of each field in a sample, and those that share a slot.

        Takes :math:`O(n \log n)` time for n values.

        Parameters
        ----------
        X : DataFrame, Arrow data, dict of arrays, array or list of dicts
            The sample, as for `transform`.

        Returns
        -------
        dict of str to dict of str to float
            For each field and cross:

            ``values``, ``slots``
                Number of distinct values (a missing value counts as one) and of their slots.
            ``shared_within``, ``shared``
                Share of the values whose slot holds another value of the field, or of any field.
            ``expected_within``, ``expected``
                The same shares, expected of random slots.
        """
        from adagrad.ctr.encoding.inverse import collisions

        hasher, table, kinds = self._read(X)
        return collisions(hasher, table, self._names(kinds), 2 ** (int(self.bits) - 3))

    def inverse(self, X: Columns) -> dict[int, list[tuple[str, Any]]]:
        r"""Return the values in each slot, for the values of a sample.

        Takes :math:`O(n \log n)` time for n values, and a Python loop over the distinct ones.

        Parameters
        ----------
        X : DataFrame, Arrow data, dict of arrays, array or list of dicts
            The sample, as for `transform`.

        Returns
        -------
        dict of int to list of (str, object)
            Field and value of each entry of a slot. A missing value is None; a bin is the text of
            its limits, such as ``"[4, 6)"``; a field of kind "value" has the text ``"value"``; the
            value of a cross is a tuple.
        """
        from adagrad.ctr.encoding.inverse import inverse

        hasher, table, kinds = self._read(X, checked=True)
        parts = [[name] for name in kinds] + [list(cross) for cross in self.crosses]
        fields = dict(zip(self._names(kinds), parts, strict=True))
        return inverse(hasher, table, kinds, fields, self.null == "value")

    def regions(self) -> dict[str, list[int]]:
        """Return the regions, of the eight, in which each field and cross has its slots.

        Raises
        ------
        ValueError
            `fit` was not called.
        """
        self._check_is_fitted()
        homes = self._make_hasher(self.fields_).homes()
        names = self._names(derived(self.fields_))
        return {
            name: [first + step * k for k in range(count)]
            for name, (first, step, count) in zip(names, homes, strict=True)
        }

    def describe(self) -> str:
        """Return one line per column: its name, its kind, and why it has this kind.

        Raises
        ------
        ValueError
            `fit` was not called.
        """
        self._check_is_fitted()
        reasons = getattr(self, "_reasons", {})
        lines = [
            f"{name}: {kind or 'not known yet'}, {reasons.get(name, 'as saved')}"
            for name, kind in self.fields_.items()
        ]
        left_out = [name for name in reasons if name not in self.fields_]
        return "\n".join([*lines, *(f"{name}: not encoded, {reasons[name]}" for name in left_out)])

    def plain(self) -> ColumnEncoder:
        """Return an encoder of the same columns without `fit` and other methods of scikit-learn.

        It always gives `Examples`. Processes that only encode get it instead of this object, and do
        not import scikit-learn.
        """
        plain = ColumnEncoder()
        vars(plain).update(self.__getstate__())
        return plain

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters and what `fit` found, as a dict that JSON can hold."""
        return saved_state(self)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> HashingEncoder:
        """Return the encoder that `to_dict` describes.

        Raises
        ------
        TypeError, ValueError
            It describes none: a key is missing, or a parameter is wrong.
        """
        check_saved(state)
        self = cls(**{name: value for name, value in state["params"].items() if value != []})
        if state["format"] == 1:
            self.kinds = "types"
        if state["fields_"] is not None:
            self._reasons = dict(state.get("reasons", {}))
            self.fields_ = dict(state["fields_"])
            if "separators" in state:
                self.separators_ = dict(state["separators"])
            width, names = state.get("n_features_in_"), state.get("feature_names_in_", self.fields_)
            self._note_columns(list(names if width is None else range(width)), named=width is None)
        fields = getattr(self, "fields_", self.fields)
        if fields is None:  # the columns decide, so that crosses cannot be checked yet
            self._check_choices()
        else:
            given = fields if isinstance(fields, Mapping) else dict.fromkeys(fields)
            moments = dict.fromkeys(self.calendar, CALENDAR)
            self._make_hasher({**given, **moments})
        return self
