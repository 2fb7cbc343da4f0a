"""How a command takes the columns of a log, in words, and what in the log raises doubts.

The first MiB of a CSV or TSV log decides the types of its columns, and options decide what becomes
of each. One value that is not a number, such as "?" for a missing one, makes a column text and each
of its numbers a category. That would change a model or a diagnosis without a word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from adagrad._text import counted, listed, printable, typed
from adagrad.commands.terminal import echo
from adagrad.ctr.diagnosis.words import in_words
from adagrad.ctr.encoding.column_encoder import ColumnEncoder
from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.fields import CALENDAR

if TYPE_CHECKING:
    from pathlib import Path

    from adagrad.ctr.logs.log import Log
    from adagrad.ctr.training.encoders import Encoder
    from adagrad.ctr.training.options import Options

__all__ = [
    "NearlyNumericColumns",
    "column_lines",
    "decided_lines",
    "doubts",
    "empty_columns",
    "features_in_words",
    "is_number",
    "left_out_lines",
    "numeric_names",
    "repetition",
    "texts_of_moments",
    "unread_lines",
    "warn_if_unfinished",
    "warn_of_empty",
]

IDS_WITH_VALUES = "ids with their values"

MOSTLY = 0.9
"""A text column is suspicious if at least this share of its values are numbers."""

WATCHED = 1 << 19
"""Rows to look at. The first MiB, which decides the types, has no more lines than that."""

GLANCE = 512
"""Rows that must look suspicious before the whole first batch is examined."""

FEWEST = 100
"""Rows that a log must have before values that are all different, or all equal, raise doubts."""

MOST_COLUMNS = 2_000
"""Columns that `doubts` examines: the first ones."""

MOST_LINES = 40
"""Lines about columns of integers."""

_MOMENT = r"^\d\d\d\d-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?)?(Z|[+-]\d\d:?\d\d)?$"
_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


# -- in words -------------------------------------------------------------------------------------


def features_in_words(encoder: Encoder, schema: pa.Schema) -> str:
    """Return which columns are features, their types, and how they are encoded."""
    if not isinstance(encoder, HashingEncoder):
        return IDS_WITH_VALUES
    types = {name: schema.field(name).type for name in encoder.fields_}
    return in_words(encoder.fields_, types)


def column_lines(log: Log, options: Options, encoder: Encoder) -> list[str]:
    """Return lines that say how a training takes the columns of a log.

    Long lists are shortened, so that the number of lines does not depend on that of the columns.
    """
    lines = [f"label: {options.label}", *_weight_lines(options)]
    lines.append(f"features: {features_in_words(encoder, log.schema)}")
    lines += decided_lines(encoder)
    if options.cross:
        lines.append(f"crosses: {listed(['*'.join(cross) for cross in options.cross])}")
    if options.ignore:
        lines.append(f"ignored: {listed(options.ignore)}")
    return lines + unread_lines(log)


def _weight_lines(options: Options) -> list[str]:
    """Return how examples are weighted, and what predictions are corrected for."""
    lines = [] if options.weight is None else [f"weight: {options.weight}"]
    if options.rate_column is not None:
        lines.append(
            f"negative rate: {options.rate_column}; predictions are for all negatives, which weigh"
            " 1 / rate in --validate logs"
        )
    elif options.negative_rate is not None:
        lines.append(
            f"negative rate: {options.negative_rate:g}; predictions, and so --validate, are for all"
            " negatives"
        )
    if options.class_weight:
        lines.append(f"class weight: {','.join(options.class_weight)}")
    return lines


def decided_lines(encoder: Encoder) -> list[str]:
    """Return what the first rows say about integers and moments; columns alike share a line."""
    found = encoder._found if isinstance(encoder, HashingEncoder) else None
    if found is None:
        return []
    decided = [name for name in found.looks if name not in found.declared]
    alike: dict[str, list[str]] = {}
    for name in decided:
        alike.setdefault(f"{found.kinds[name]}, {found.reasons[name]}", []).append(name)
    lines = [f"  {listed(names)}: {what}" for what, names in list(alike.items())[:MOST_LINES]]
    if len(alike) > MOST_LINES:
        left = sum(map(len, list(alike.values())[MOST_LINES:]))
        lines.append(f"  and {counted(left, 'column')} of integers more")
    for name in found.doubtful[:5]:
        lines.append(
            f"--numbers: {name!r} looks like ids: {found.looks[name].why}; give --categorical"
            f" {typed([name])} if it holds ids"
        )
    if found.moments:
        lines.append(
            f"not features, because moments do not return: {listed(found.moments)}; --calendar"
            f" {typed(found.moments[:3])} uses hours and days"
        )
    spelled = [name for name in decided if found.looks[name].moments is not None]
    lines += [
        f"{name!r} looks like {found.looks[name].moments}: --calendar {typed([name])} uses"
        " hours and days"
        for name in spelled[:5]
    ]
    return lines


def unread_lines(log: Log) -> list[str]:
    """Return a line about the columns that only later files of a log have, if there are any."""
    if not log.unread:
        return []
    first = next(iter(log.unread.values()))
    return [f"not read, because {log.paths[0]} lacks them: {listed([*log.unread])} (in {first})"]


def left_out_lines(log: Log, options: Options, **how: Any) -> list[str]:
    """Return a line about the columns of a log that its model does not have, if there are any.

    Parameters
    ----------
    log : Log
        Opened for the model.
    options : Options
        Those of the model.
    **how
        As for `open_log`.
    """
    from adagrad.ctr.logs.opening import open_log

    if options.columns is not None or log.sources[0].pipe is not None:
        return []
    with open_log(log.paths[0], label=None, **how) as every:
        known = {*log.schema.names, *options.ignore}
        names = [name for name in every.schema.names if name not in known]
    if not names or log.sources[0].format == "libsvm":
        return []
    return [f"not read, because they are no features of the model: {listed(names)}"]


# -- doubts ---------------------------------------------------------------------------------------


def is_number(value: object) -> bool:
    """Return whether a label or a name reads as a finite number."""
    try:
        return math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def numeric_names(names: Sequence[str]) -> str | None:
    """Return a warning if names of columns are numbers: the log may have no header."""
    odd = [name for name in names if is_number(name)]
    if not odd:
        return None
    return (
        "the first line is taken as the names of the columns, but some are numbers"
        f" ({listed(odd, 5)}); if the file has no header, give --names"
    )


def doubts(
    batch: pa.RecordBatch, options: Options, encoder: Encoder, *, text: bool, header: bool
) -> Iterator[str]:
    """Look at the first rows of a log, and say what seems to be a mistake.

    A column is examined only if a few of its first rows look suspicious.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        The first rows, the label as 0 and 1.
    options : Options
        The label, and the columns that are declared to be ids.
    encoder : Encoder
        Encodes the features.
    text : bool
        Whether the log is CSV or TSV.
    header : bool
        Whether the names of the columns are taken from the first line.

    Yields
    ------
    str
        One line per kind of doubt, with the option to use.
    """
    ends = pc.min_max(batch.column(options.label)).as_py()
    rows = f"the first {counted(len(batch), 'row')}"
    if len(batch) >= FEWEST and ends["min"] == ends["max"]:
        yield (
            f"the label {options.label!r} is {ends['min']:.0f} in all of {rows}: a model learns"
            " only from both labels, in mixed order"
        )
    if not isinstance(encoder, HashingEncoder):
        return
    kinds = dict(list(encoder.fields_.items())[:MOST_COLUMNS])
    if header and (warning := numeric_names(list(kinds))):
        yield warning
    elif header and (found := _names_among_values(batch, kinds)):
        yield (
            f"the first line is taken as the names of the columns, but {found!r} is also a value"
            " in the column of this name; if the file has no header, give --names"
        )
    if empty := empty_columns(batch, kinds):
        yield f"no value in {rows}: {listed(empty)}; leave them out with --ignore"
    yield from repetition(batch, encoder)
    yield from texts_of_moments(batch, encoder)
    if text:
        declared = {*options.categorical, *options.calendar}
        yield from _nearly_numeric(batch, [name for name in kinds if name not in declared])


def empty_columns(batch: pa.RecordBatch, kinds: Mapping[str, str | None]) -> list[str]:
    """Return the features, with a kind, that have no value in these rows."""
    return [
        name
        for name, kind in kinds.items()
        if kind is not None and 0 < len(batch) == batch.column(name).null_count
    ]


def warn_of_empty(logs: Sequence[str], encoder: Encoder) -> Callable[[pa.RecordBatch], None]:
    """Return a function that warns on stderr if the first batch lacks all values of a feature."""
    looked = False

    def warn(batch: pa.RecordBatch) -> None:
        nonlocal looked
        if looked or not isinstance(encoder, ColumnEncoder):
            return
        looked = True
        if empty := empty_columns(batch, encoder.fields_):
            rows = counted(len(batch), "row")
            doubt = f"{logs[0]}: no value in the first {rows}: {listed(empty)}"
            echo(printable(doubt), err=True)

    return warn


def warn_if_unfinished(model: Path, extra: Any) -> None:
    """Warn on stderr if a broken row or a signal stopped the training of a model within a pass."""
    from adagrad.ctr.training.state import saved_training

    state = saved_training(model, extra)
    if state is not None and state["rows"]:
        rows = counted(state["rows"], "row")
        echo(
            f"{model}: the training stopped after {rows} of pass {state['pass'] + 1}: continue it"
            " with adagrad train --resume",
            err=True,
        )


def _names_among_values(batch: pa.RecordBatch, kinds: Mapping[str, str | None]) -> str | None:
    for name in kinds:
        column = batch.column(name)
        if pa.types.is_string(column.type) and pc.index(column.slice(0, GLANCE), name).as_py() >= 0:
            return name
    return None


def repetition(batch: pa.RecordBatch, encoder: Encoder) -> Iterator[str]:
    """Doubt features whose values are all equal, or all different where they are categories."""
    if len(batch) < FEWEST or not isinstance(encoder, HashingEncoder):
        return
    rows = f"the first {counted(len(batch), 'row')}"
    constant, unique = [], []
    for name, kind in list(encoder.fields_.items())[:MOST_COLUMNS]:
        column = batch.column(name)
        column = column.indices if pa.types.is_dictionary(column.type) else column
        if kind in (None, CALENDAR) or column.null_count or pa.types.is_nested(column.type):
            continue
        sample = column.slice(0, GLANCE)
        distinct = _distinct(sample)
        if distinct == 1 and _distinct(column) == 1:
            constant.append(name)
        is_id = kind == "categorical" or pa.types.is_integer(column.type)
        if is_id and distinct == len(sample) and _distinct(column) == len(column):
            unique.append(name)
    if constant:
        yield f"one value in all of {rows}: {_with_first_values(batch, constant)}"
    if unique:
        yield (
            f"every value of {rows} is different: {_with_first_values(batch, unique)}; such a"
            f" column says nothing about new rows: try --ignore {typed(unique[:3])}"
        )


def texts_of_moments(batch: pa.RecordBatch, encoder: Encoder) -> Iterator[str]:
    """Doubt features that are dates, or texts of dates and moments in ISO form."""
    if not isinstance(encoder, HashingEncoder):
        return
    found = []
    for name, kind in list(encoder.fields_.items())[:MOST_COLUMNS]:
        column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary
        if kind == "categorical" and pa.types.is_date(column.type):
            found.append(name)
        elif kind == "categorical" and pa.types.is_string(column.type):
            texts = column.slice(0, GLANCE).drop_null()
            if len(texts) and pc.all(pc.match_substring_regex(texts, _MOMENT)).as_py():
                found.append(name)
    if found:
        yield (
            f"dates and moments, which do not return, are categories: {listed(found)}; --calendar"
            f" {typed(found[:3])} uses hours and days"
        )


def _with_first_values(batch: pa.RecordBatch, names: Sequence[str]) -> str:
    """Return names as `listed` does, each with the first value of its column."""
    shown = [f"{listed([name])} ({_shown(batch.column(name)[0])})" for name in names[:20]]
    return listed([*shown, *names[20:]])


def _distinct(column: pa.Array) -> int:
    return int(pc.count_distinct(column).as_py())


def _shown(value: Any) -> str:
    text = value.as_py()
    return repr(text[:50]) if isinstance(text, (str, bytes)) else str(text)[:50]


def _nearly_numeric(batch: pa.RecordBatch, names: Sequence[str]) -> Iterator[str]:
    for part in (batch.slice(0, GLANCE), batch):
        suspects = NearlyNumericColumns(pa.schema([batch.schema.field(n) for n in names]), ())
        suspects.add(part)
        names = suspects.columns
    warnings = suspects.warnings()
    for warning in warnings[:5]:
        yield (
            f"{warning}; each of its values is a category: correct it, or declare the column"
            " --categorical"
        )
    if len(warnings) > 5:
        yield f"{len(warnings) - 5:,} more columns of numbers were read as text"


@dataclass
class _Counts:
    values: int = 0
    numbers: int = 0
    first_text: tuple[int, str] | None = None  # row, counted from 1, and value


class NearlyNumericColumns:
    """Find the text columns of a log that hold numbers but for a few values.

    Parameters
    ----------
    schema : pyarrow.Schema
        Columns of a CSV or TSV log.
    leave_out : collection of str or None
        Columns to leave out, such as those declared categorical.
    """

    def __init__(self, schema: pa.Schema, leave_out: Collection[str | None]) -> None:
        self._columns = {
            field.name: _Counts()
            for field in schema
            if pa.types.is_string(field.type) and field.name not in leave_out
        }
        self._rows = 0

    @property
    def columns(self) -> list[str]:
        """The columns that are still suspicious."""
        return list(self._columns)

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at the next rows. O(values of the columns that are still suspicious)."""
        if self._rows >= WATCHED:
            return
        for name, column in list(self._columns.items()):
            texts = batch.column(name)
            numeric = pc.match_substring_regex(texts, _NUMBER)
            column.values += len(texts) - texts.null_count
            column.numbers += pc.sum(numeric).as_py() or 0
            at = -1 if column.first_text else pc.index(numeric, False).as_py()
            if at >= 0:
                column.first_text = (self._rows + at + 1, texts[at].as_py())
            if column.numbers < MOSTLY * column.values:
                del self._columns[name]
        self._rows += len(batch)

    def warnings(self) -> list[str]:
        """Return one line per column that is text because of a few values."""
        return [
            f"column {name!r} was read as text, though {column.numbers:,} of its first"
            f" {column.values:,} values are numbers: row {column.first_text[0]:,} has"
            f" {column.first_text[1][:50]!r}"
            for name, column in self._columns.items()
            if column.first_text is not None
        ]
