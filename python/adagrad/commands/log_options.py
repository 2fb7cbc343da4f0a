"""The options of the commands that read logs, and the logs opened as the options say."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from adagrad.ctr.logs.log import Log

__all__ = [
    "LIBSVM_LABEL",
    "feature_options",
    "log_options",
    "open_features",
    "parse_names",
    "reader_options",
    "use_threads",
]

LIBSVM_LABEL = "label"
"""The name of the label of a libsvm log, where it has none, if no option gives one."""

F = TypeVar("F", bound=Callable[..., Any])


def parse_names(text: str) -> tuple[str, ...]:
    """Return the names in a list with commas, each once.

    A name with a comma is enclosed in double quotes, as in a line of CSV. An empty text is one
    empty name.
    """
    return tuple(dict.fromkeys(next(csv.reader([text])) or [""]))


def log_options(command: F) -> F:
    """Add the options that say how to read a log."""
    for option in reversed(
        [
            click.option(
                "--format",
                "file_format",
                type=click.Choice(["csv", "tsv", "parquet", "arrow", "libsvm"]),
                help="Format of the log.  [default: by the suffix]",
            ),
            click.option(
                "--delimiter",
                metavar="CHAR",
                help="Character between the columns of a CSV or TSV file.  [default: a comma for"
                " CSV, a tab for TSV]",
            ),
            click.option(
                "--names",
                type=parse_names,
                metavar="A,B,...",
                help="Names of all columns of a CSV or TSV file without a header."
                "  [default: c0,c1,...]",
            ),
            click.option(
                "--skip-bad",
                is_flag=True,
                help="Skip and count broken rows.  [default: stop at the first one]",
            ),
            click.option(
                "-t",
                "--threads",
                type=click.IntRange(1, 1024),
                metavar="N",
                help="Number of threads. It does not change the result.  [default: one per CPU]",
            ),
        ]
    ):
        command = option(command)
    return command


def feature_options(command: F) -> F:
    """Add the options that choose the feature columns and those that are text or ids."""
    for option in reversed(
        [
            click.option(
                "--columns",
                type=parse_names,
                metavar="A,B,...",
                help="Use only these columns as features.  [default: all columns but the label]",
            ),
            click.option(
                "--ignore",
                type=parse_names,
                metavar="A,B,...",
                help="Do not use these columns as features. '' is a column without a name.",
            ),
            click.option(
                "--text",
                type=parse_names,
                metavar="A,B,...",
                help="Read these columns as text in all files, so that 007 is not 7 and digits may"
                " be followed by other texts.  [default: by the values of CSV and TSV files and the"
                " types of others]",
            ),
            click.option(
                "--categorical",
                type=parse_names,
                metavar="A,B,...",
                help="Treat the numbers in these columns as ids, so that each distinct number is a"
                " feature. They are read as by --text.",
            ),
        ]
    ):
        command = option(command)
    return command


def reader_options(
    file_format: str | None, delimiter: str | None, header: tuple[str, ...] | None
) -> dict[str, Any]:
    """Return ``--format``, ``--delimiter`` and ``--names`` as keywords of `open_log`."""
    return {"format": file_format, "delimiter": delimiter, "header": header or None}


def use_threads(threads: int | None) -> None:
    """Set the number of threads of the kernels; None means one per CPU of this process."""
    import adagrad

    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    adagrad.set_num_threads(threads or cpus)


def open_features(
    logs: Sequence[str],
    label: str | None,
    columns: Sequence[str] | None,
    ignore: Sequence[str],
    text: Sequence[str],
    **how: Any,
) -> Log:
    """Open a log with the columns that ``--columns`` and ``--ignore`` leave.

    Ignored columns are not even parsed, so that broken values in them do no harm.
    """
    from adagrad.ctr.logs.log import open_log
    from adagrad.ctr.logs.sources import find

    if label is not None and label in ignore:
        raise ValueError(f"--ignore: {label!r} is the label, which is never a feature")
    if find(logs, how["format"])[0].format == "libsvm":
        if ignore or columns:
            raise ValueError("--ignore and --columns need columns, but libsvm logs have ids")
        text = ()
    return open_log(logs, label=label, columns=columns, ignore=ignore, text=text, **how)
