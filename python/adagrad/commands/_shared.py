"""What the commands on logs share: their options, their mistakes in one line, their threads."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adagrad.commands.requirements import require

if TYPE_CHECKING:
    from adagrad.ctr.logs.log import Log

__all__ = [
    "check_picture",
    "check_writable",
    "feature_options",
    "log_options",
    "names",
    "one_line_errors",
    "open_features",
    "quality",
    "reading",
    "skipped",
    "use_threads",
]

F = TypeVar("F", bound=Callable[..., Any])


def names(text: str) -> tuple[str, ...]:
    """Read names of columns, separated by commas."""
    return tuple(dict.fromkeys(name for name in text.split(",") if name))


def log_options(command: F) -> F:
    """Add the options that say how a log is to be read."""
    for option in reversed(
        [
            click.option(
                "--format",
                "file_format",
                type=click.Choice(["csv", "tsv", "parquet", "arrow", "libsvm"]),
                help="Format of the log, instead of the one its suffix tells.",
            ),
            click.option(
                "--delimiter", metavar="CHAR", help="Separator of CSV and TSV, if not , or a tab."
            ),
            click.option(
                "--names",
                type=names,
                metavar="A,B,...",
                help="Names of all columns of a CSV or TSV without a header; else c0,c1,...",
            ),
            click.option(
                "--skip-bad",
                is_flag=True,
                help="Leave broken rows out and count them, instead of stopping at the first.",
            ),
            click.option(
                "-t",
                "--threads",
                type=click.IntRange(1, 1024),
                help="Threads that compute; the result has the same bits.  [default: one per CPU]",
            ),
        ]
    ):
        command = option(command)
    return command


def feature_options(command: F) -> F:
    """Add the options that say which columns are features, and which numbers are ids."""
    for option in reversed(
        [
            click.option(
                "--columns", type=names, metavar="A,B,...", help="Only these columns are features."
            ),
            click.option(
                "--ignore", type=names, metavar="A,B,...", help="These columns are no features."
            ),
            click.option(
                "--categorical",
                type=names,
                metavar="A,B,...",
                help="These columns of numbers are ids: each number is a feature of its own.",
            ),
        ]
    ):
        command = option(command)
    return command


def reading(
    file_format: str | None, delimiter: str | None, header: tuple[str, ...] | None
) -> dict[str, Any]:
    """Return these options as `open_log` names them."""
    return {"format": file_format, "delimiter": delimiter, "header": header or None}


def use_threads(threads: int | None) -> None:
    """Let the kernels use so many threads, or all processors."""
    import adagrad

    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    adagrad.set_num_threads(threads or cpus)


def one_line_errors(command: F) -> F:
    """Turn a user's mistakes into one line and exit status 1; ask for the extra if it is absent."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        require(
            f"adagrad {click.get_current_context().info_name}",
            *("rich", "sklearn", "pyarrow", "safetensors"),
        )
        import pyarrow as pa

        try:
            return command(*args, **kwargs)
        except BrokenPipeError:
            raise  # click ends quietly
        except KeyboardInterrupt:
            click.echo("\ninterrupted", err=True)
            raise SystemExit(130) from None
        except OSError as error:
            name = f"{error.filename}: " if error.filename is not None else ""
            raise click.ClickException(f"{name}{error.strerror or error}") from None
        except (ValueError, TypeError, MemoryError, pa.ArrowException) as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise click.ClickException(text) from None

    return guarded  # type: ignore[return-value]


def open_features(
    logs: Sequence[str],
    label: str | None,
    columns: Sequence[str] | None,
    ignore: Sequence[str],
    **how: Any,
) -> Log:
    """Open a log, with only these columns or without those."""
    from adagrad._text import did_you_mean
    from adagrad.ctr.logs.log import open_log

    log = open_log(logs, label=label, columns=columns, **how)
    if log.sources[0].format == "libsvm" and (ignore or columns):
        raise ValueError("libsvm logs have ids, not columns: no --ignore, no --columns")
    for name in ignore:
        if name == label:
            raise ValueError(f"--ignore: {name!r} is the label, which is no feature anyway")
        if name not in log.schema.names:
            shown = ", ".join(log.schema.names)
            end = did_you_mean(name, log.schema.names)
            raise ValueError(f"--ignore: no column {name!r}; the columns are {shown}{end}")
    if ignore and "-" not in logs:
        # Not even read: a column that is no feature may hold what it likes.
        columns = [name for name in log.schema.names if name not in (label, *ignore)]
        log.close()
        log = open_log(logs, label=label, columns=columns, **how)
    return log


def check_writable(path: Path, option: str) -> None:
    """Refuse a file that could not be written before spending time on it."""
    if path.is_dir():
        raise click.ClickException(f"{option} {path}: is a directory")
    if not path.absolute().parent.is_dir():
        raise click.ClickException(f"{option} {path}: there is no directory {path.parent}")


def check_picture(output: Path) -> None:
    """Refuse a picture that could not be saved before spending time on it."""
    from matplotlib.figure import Figure

    kinds = Figure().canvas.get_supported_filetypes()
    folder = output.parent
    if output.suffix[1:].lower() not in kinds:
        reason = f"the name must end in one of .{', .'.join(sorted(kinds))}"
    elif output.is_dir():
        reason = "it is a directory"
    elif not folder.is_dir():
        reason = f"there is no directory {folder}"
    elif not os.access(output if output.exists() else folder, os.W_OK):
        reason = "permission denied"
    else:
        return
    raise click.ClickException(f"cannot write {output}: {reason}")


def quality(metrics: dict[str, float]) -> list[str]:
    """Return logloss, NE, AUC and calibration as text; a dash where one is not defined."""
    digits = {"logloss": 5, "normalized_entropy": 4, "auc": 4, "calibration": 3}
    return [
        "-" if math.isnan(metrics[name]) else f"{metrics[name]:.{n}f}" for name, n in digits.items()
    ]


def skipped(counts: dict[str, int]) -> str:
    """Return counts of broken rows in words."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
    total = sum(counts.values())
    return f"{total:,} broken row{'' if total == 1 else 's'} skipped: {kinds}"
