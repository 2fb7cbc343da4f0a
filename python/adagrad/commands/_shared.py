"""What the commands on logs share: their options, their mistakes in one line, their threads."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from adagrad.cli import require

__all__ = [
    "log_options",
    "names",
    "one_line_errors",
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


def quality(metrics: dict[str, float]) -> list[str]:
    """Return logloss, NE, AUC and calibration as text; a dash where one is not defined."""
    digits = {"logloss": 5, "normalized_entropy": 4, "auc": 4, "calibration": 3}
    return [
        "-" if math.isnan(metrics[name]) else f"{metrics[name]:.{n}f}" for name, n in digits.items()
    ]


def skipped(counts: dict[str, int]) -> str:
    """Return counts of broken rows in words."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
    return f"{sum(counts.values()):,} broken rows skipped: {kinds}"
