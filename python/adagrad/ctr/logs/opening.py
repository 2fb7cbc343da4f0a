"""`open_log`: the parameters of a log, checked, and the files that they name.

Reading is the work of `Log`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adagrad.ctr.logs.log import Log
from adagrad.ctr.logs.multi import separators_in
from adagrad.ctr.logs.request import Request
from adagrad.ctr.logs.sources import find
from adagrad.ctr.logs.vw import IMPORTANCE

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

__all__ = ["open_log"]

# With smaller batches, the dictionaries of Parquet files would be hashed more often.
ROWS = 65_536


def open_log(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    label: str | None,
    format: str | None = None,
    columns: Sequence[str] | None = None,
    numeric: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    text: Sequence[str] = (),
    floats: Sequence[str] = (),
    keep: Sequence[str] = (),
    weight: str | None = None,
    negative_rate: str | None = None,
    multi: Mapping[str, str] | None = None,
    schema: pa.Schema | None = None,
    delimiter: str | None = None,
    header: bool | Sequence[str] | None = None,
    rows: int = ROWS,
    skip_bad: bool = False,
    live: bool = False,
) -> Log:
    r"""Open a click log for reading as record batches.

    The columns and their types are decided at once, for all files: those of Parquet and Arrow files
    by their schemas, those of CSV and TSV files by samples of their values. All batches have them.

    Parameters
    ----------
    paths : str, os.PathLike or sequence of them
        Files, globs, directories, URIs and ``"-"``, the standard input, read in the order given. A
        glob or directory gives its files in the order of their names. A directory includes all
        files below it with a known suffix or, if it has none, all files; never names that begin
        with ``.`` or ``_``. URIs are those of pyarrow's file systems, such as ``s3://bucket/log/``
        and ``gs://bucket/day_*.parquet``. Empty files are passed over.
    label : str, optional
        The column with the label, or None to read no label. Labels are 0 and 1, -1 and +1, false
        and true, or 1 and 2, in any type and spelling. The label becomes the first column, float32
        0 or 1. In libsvm, libffm and VW files the label has no name and gets this one.
    format : {"csv", "tsv", "jsonl", "parquet", "arrow", "libsvm", "libffm", "vw"}, optional
        Overrides the suffix. Known suffixes are ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson``,
        ``.json``, ``.libsvm``, ``.svm``, ``.svmlight``, ``.libffm``, ``.ffm`` and ``.vw``, each
        plain or followed by ``.gz``, ``.zst``, ``.bz2`` or ``.xz``; ``.parquet``; ``.arrow``,
        ``.arrows``, ``.feather`` and ``.ipc``. The first bytes tell the compression, whatever the
        suffix, and the format of a file with another suffix or none. By default the standard input
        has delimited columns.
    columns : sequence of str, optional
        The features to read, in this order. By default all columns, in the order of the first
        file. Of several columns with one name, each has the name of its position instead: ``c0``
        is the first column of a file. So have columns without a name, unless there is one alone,
        whose name is ``""``. Columns of one name are refused unless `columns` or `ignore` tells
        them apart.
    numeric : sequence of str, optional
        CSV and TSV only: the features that are numbers; all others are strings. By default a
        feature is int64, float64, bool (true and false) or a timestamp (ISO 8601, with a time) if
        every value in the samples is, and otherwise a string. Integers of 16 digits or more that
        do not fit int64, and hexadecimal ones, are taken for ids, which makes the feature a
        string.
    ignore : sequence of str, default ()
        Columns to leave out. They are not parsed, so that broken values in them do no harm.
    text : sequence of str, default ()
        Features to read as text in every format, so that ``007`` is not ``7`` and texts may follow
        digits. The text of an integer in a Parquet or Arrow file is its digits; that of any other
        value, what `HashingEncoder` hashes. Lists stay as they are.
    floats : sequence of str
        Columns to read as float64 if they look like integers, as fractions may follow.
    keep : sequence of str, default ()
        Columns to read after those of `columns` or `schema`, as they are in the file: in CSV and
        TSV files as text.
    weight : str, optional
        The column with the weights of the examples, from 0 to :math:`2^{48}`, in any type and
        spelling. It is no feature: it becomes the column after the label, float32. Rows of weight 0
        are left out, as if they were absent. Needs a label, and a format with columns.
    negative_rate : str, optional
        The column with the rate at which the negatives like a row were kept, above 0 and at most 1.
        It is no feature: it becomes the column after the weight, float32. The rate of a positive
        may be missing, and is 1 then. Needs a label, and a format with columns.
    multi : dict of str to str, optional
        Columns of text to split into lists, with what separates their values, such as ``{"genres":
        "|"}``. Nothing lies between two separators in a row, nor in an empty text, which is an
        empty list; in CSV and TSV files, so is an empty field. Columns of lists stay as they are.
        The fields of :attr:`Log.schema` keep the separators as metadata.
    schema : pyarrow.Schema, optional
        Read these columns with these types, for example the ``schema`` of another log. Text may be
        dictionary-encoded. A column of type null has the type of the files. A column of lists that
        `multi` made is split as it was then. Excludes `columns`, `ignore`, `numeric`, `text`,
        `floats` and `multi`.
    delimiter : str, optional
        CSV and TSV only: one character. By default a comma in CSV files and a tab in TSV files; on
        the standard input, a tab if the first line contains one, else a comma. With tabs, quotes
        have no meaning; with other delimiters, values may be enclosed in ``"``. A value cannot
        contain a line break.
    header : bool or sequence of str, optional
        CSV and TSV only: whether the first line of every file names the columns; if it does not,
        their names may be given here. By default the first line is a header if it contains the
        label or one of ``columns``. Without a header and names, the columns are ``c0``, ``c1``,
        ... Files with headers may have their columns in different orders.
    rows : int
        Rows per batch, a multiple of 64.
    skip_bad : bool
        Leave broken rows out and count them in :attr:`Log.skipped`, instead of raising.
    live : bool
        Do not let rows of the standard input wait for further ones: whenever the writer pauses, a
        batch ends with the last row that has arrived whole. A record batch of an Arrow stream is a
        batch. Needs `schema`, because a few rows do not tell the types of columns.

    Returns
    -------
    Log
        A context manager; iterate over it for the batches.

    Raises
    ------
    FileNotFoundError
        A path, glob or directory has no file.
    LogError
        A file is damaged or lacks a column, or a column has types that mean different things.
    ValueError
        A parameter is out of range or does not fit the format.

    Notes
    -----
    A folder named ``name=value`` directly above a file, or in a row of such folders, or anywhere
    below a given directory, is a column of the file, unless that is libsvm. Its name and value are
    percent-decoded; an empty value and ``__HIVE_DEFAULT_PARTITION__`` are null. It has the type
    that CSV files with these values would give it: int64 if all values in the log are integers,
    else string. Every file must have it, in its path or in its columns, but not in both.

    The first 65,536 rows decide what labels mean: if they contain 1 and 2 and neither 0 nor -1,
    then 2 is the positive label and 1 the negative one. A later label that contradicts this stops
    the reading, even with ``skip_bad``.

    A row is broken if its line is empty, has a different number of columns or an open quote, or is
    not UTF-8; if a column of numbers, bools or timestamps contains something else; if any column
    contains NaN or an infinity; or if the label, the weight or the rate is not one of those above.
    Empty fields of features are nulls, not faults, nor are empty lines at the end of a file,
    comments and ``qid:`` in libsvm files. A broken row stops the reading with a :class:`LogError`
    that gives file, line and reason, after the rows before it have been yielded. A compressed file
    that ends early raises after its last intact line, even with ``skip_bad``.

    A column has one type in all files. Integers of several widths are int64, integers and floats
    are float64, dates and naive timestamps are timestamps, each of the finest unit, and a column
    without values takes the type that it has elsewhere. Text beside numbers, bools beside integers,
    other time zones and other scales of decimals are errors that name both files. A value that the
    common type cannot hold, such as an integer above :math:`2^{53}` in float64, makes its row
    broken. In a column of integers, ``5.0`` and ``5e0`` are 5.

    The samples of CSV and TSV files are the first MiB of the first file and 64 KiB of up to 31
    others, spread evenly over the log. The standard input is sampled only if it comes first.

    String columns that the writers of all Parquet files have dictionary-encoded remain
    dictionaries, as do dictionary columns of Arrow files. In libsvm files an id is in
    ``[0, 2**63)``, ids keep their order, and the columns are ``ids`` (list of int64) and
    ``values`` (list of float32).

    In Vowpal Wabbit's text (``"vw"``) a namespace is a column of maps from the names of its
    features to their values, and in libffm files a field is one, from ids to values; the first MiB
    of the first file, and 64 KiB of others, say which there are. A line without a column has an
    empty map. The importances of a VW log are its ``weight`` unless that is given, the column
    ``"importance"``, and ``keep=["tag"]`` reads its tags. The namespace without a name is the
    column ``"|"``, and one whose name is that of another column has a bar before it.

    Memory does not grow with the length of the log. It holds about 1 MiB of text, for Parquet one
    column chunk per column, for Arrow one record batch of the file, and four batches.

    Examples
    --------
    >>> from adagrad.ctr.logs import open_log
    >>> with open_log("day_*.tsv.gz", label="click") as log:  # doctest: +SKIP
    ...     for batch in log:
    ...         train(batch)
    ...         print(log.position.rows, log.position.bytes_read / log.total_bytes)
    """
    if live and schema is None:
        raise ValueError("live needs schema: the first rows of a pipe do not tell the types")
    if rows < 64 or rows % 64:
        raise ValueError(f"rows must be a multiple of 64, at least 64, got {rows}")
    others = (columns is not None, numeric is not None, text, floats, ignore, multi)
    if schema is not None and any(others):
        raise ValueError(
            "schema excludes columns, ignore, numeric, text, floats and multi: it gives the columns"
            " and their types"
        )
    multi = dict(multi or {} if schema is None else separators_in(schema))
    for name, separator in multi.items():
        if not isinstance(separator, str) or not separator:
            raise ValueError(f"multi must give text between values, got {name!r}: {separator!r}")
        if name == label or name in (numeric or ()):
            raise ValueError(f"multi names {name!r}, which is the label or numeric")
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise ValueError(
            f"delimiter must be one character, no quote and no line break, got {delimiter!r}"
        )
    lists = {"columns": columns, "ignore": ignore, "numeric": numeric, "text": text, "keep": keep}
    lists["floats"] = floats
    for name, names in (lists | {"header": header}).items():
        if isinstance(names, str):
            raise TypeError(f"{name} must be a sequence of names, got {names!r}")
    both = sorted(set(text).intersection(numeric or ()))
    if both:
        raise ValueError(f"text and numeric both name {both[0]!r}")
    sources = find(paths, format)
    has_text = {"csv", "tsv", None} >= {source.format for source in sources}
    for name, value in (("numeric", numeric), ("delimiter", delimiter), ("header", header)):
        if value is not None and not has_text:
            raise ValueError(f"{name} is for CSV and TSV files only")
    if weight is None and label is not None and sources[0].format == "vw":
        weight = IMPORTANCE  # each line has one, which is 1 by default
    targets = {"label": label, "weight": weight, "negative_rate": negative_rate}
    _check_targets(targets, columns or (), ignore)
    for source in sources:
        if source.pipe is not None:
            source.pipe.is_live = source.pipe.has_paused = live
    if schema is not None:
        columns = [name for name in schema.names if name not in targets.values()]
    return Log(
        sources,
        Request(
            label=label,
            columns=None if columns is None else tuple(columns),
            ignore=frozenset(ignore),
            numeric=None if numeric is None else frozenset(numeric),
            text=frozenset(text),
            floats=frozenset(floats),
            keep=tuple(name for name in keep if name not in targets.values()),
            delimiter=delimiter,
            header=header if header is None or isinstance(header, bool) else tuple(header),
            rows=rows,
            multi=multi,
            types={} if schema is None else dict(zip(schema.names, schema.types, strict=True)),
            weight=weight,
            negative_rate=negative_rate,
        ),
        skip_bad=skip_bad,
    )


def _check_targets(
    targets: dict[str, str | None], columns: Sequence[str], ignore: Sequence[str]
) -> None:
    """Raise ValueError if a column has two meanings, or a weight has no label."""
    seen: dict[str, str] = {}
    for role, name in targets.items():
        if name is None:
            continue
        if name in columns:
            raise ValueError(f"columns must name features, but {name!r} is the {role}")
        if role != "label" and targets["label"] is None:
            raise ValueError(f"{role} needs a label")
        if role != "label" and name in ignore:
            raise ValueError(f"ignore names {name!r}, which is the {role}")
        if name in seen:
            raise ValueError(f"{name!r} cannot be the {role}: it is the {seen[name]}")
        seen[name] = role
