"""The options of the commands that read logs, and the logs opened as the options say."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adagrad._text import did_you_mean

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
    """Return the names in a list with commas, each once."""
    return tuple(dict.fromkeys(name for name in text.split(",") if name))


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
    """Add the options that choose the feature columns and those whose numbers are ids."""
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
                help="Do not use these columns as features.",
            ),
            click.option(
                "--categorical",
                type=parse_names,
                metavar="A,B,...",
                help="Treat the numbers in these columns as ids, so that each distinct number is a"
                " feature.",
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
    **how: Any,
) -> Log:
    """Open a log with the columns that ``--columns`` and ``--ignore`` leave."""
    from adagrad.ctr.logs.log import open_log

    log = open_log(logs, label=label, columns=columns, **how)
    if log.sources[0].format == "libsvm" and (ignore or columns):
        raise ValueError("--ignore and --columns need columns, but libsvm logs have ids")
    for name in ignore:
        if name == label:
            raise ValueError(f"--ignore: {name!r} is the label, which is never a feature")
        if name not in log.schema.names:
            shown = ", ".join(log.schema.names)
            end = did_you_mean(name, log.schema.names)
            raise ValueError(f"--ignore: no column {name!r}; the columns are {shown}{end}")
    if ignore and "-" not in logs:
        # Ignored columns are not even parsed, so that broken values in them do no harm.
        columns = [name for name in log.schema.names if name not in (label, *ignore)]
        log.close()
        log = open_log(logs, label=label, columns=columns, **how)
    return log
