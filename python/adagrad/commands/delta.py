"""``adagrad diff`` and ``adagrad patch``: what changed between two files of a model."""

from __future__ import annotations

from pathlib import Path

import click

from adagrad._text import mebibytes, three_digits
from adagrad.commands.errors import reads_logs
from adagrad.commands.outputs import Output, check_outputs, overwrite_option
from adagrad.commands.terminal import echo

__all__ = ["diff", "patch"]

DIFF_EXAMPLES = """\b
Examples:
  # On the machine that trains
  adagrad diff monday.score tuesday.score -o tuesday.delta
  # On each machine that serves
  adagrad patch monday.score tuesday.delta -o now.score
"""

PATCH_EXAMPLES = """\b
Examples:
  adagrad patch monday.score tuesday.delta -o now.score
"""

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(short_help="Write what changed from one model to the next.", epilog=DIFF_EXAMPLES)
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Write the delta to this file.")
@overwrite_option
@reads_logs
def diff(old: Path, new: Path, output: Path, overwrite: bool) -> None:
    """Write what changed from OLD to NEW, compressed.

    adagrad patch makes NEW from OLD and this delta, byte for byte, so that a machine with
    yesterday's model needs the delta alone. OLD and NEW are two files that adagrad export wrote,
    with one dtype, or two that were trained.
    """
    from adagrad.serving import delta

    _check(output, old, new, overwrite=overwrite)
    sizes = delta.diff(old, new, output)
    share = 100 * sizes.delta / sizes.new
    echo(f"{output}: {mebibytes(sizes.delta)}, {three_digits(share)} % of {new}", err=True)


@click.command(short_help="Make a model from the one before and a delta.", epilog=PATCH_EXAMPLES)
@click.argument("old", type=FILE)
@click.argument("delta", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Write the new model to this file.")
@overwrite_option
@reads_logs
def patch(old: Path, delta: Path, output: Path, overwrite: bool) -> None:
    """Make the new model from OLD and the DELTA that adagrad diff wrote.

    The output appears only if it has the bytes of the model that adagrad diff read; OLD must be the
    file that it compared, as the hashes in DELTA say. If OLD is already the new model, as in a job
    that runs again, the output is a copy of it.
    """
    from adagrad.serving import delta as deltas

    _check(output, old, delta, overwrite=overwrite)
    deltas.patch(old, delta, output)


def _check(output: Path, *read: Path, overwrite: bool) -> None:
    check_outputs([Output("--output", output, "file")], files=read, overwrite=overwrite)
