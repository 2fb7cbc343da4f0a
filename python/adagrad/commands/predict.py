"""``adagrad predict``: a probability for every row of a log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adagrad._atomic import writing
from adagrad._text import broken_rows
from adagrad.commands import streams
from adagrad.commands.errors import reads_logs
from adagrad.commands.log_options import (
    LogCommand,
    log_options,
    names_option,
    reader_options,
    use_threads,
)
from adagrad.commands.outputs import (
    PREDICTION,
    Output,
    check_outputs,
    check_standard_output,
    overwrite_option,
)
from adagrad.commands.terminal import echo

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["predict"]

EXAMPLES = """\b
Examples:
  # One number per line
  adagrad predict ctr.safetensors today.parquet > p.txt
  # A table, with a column of the log
  adagrad predict ctr.safetensors today.parquet -o p.parquet --keep user
  # A pipe
  adagrad predict ctr.safetensors --format tsv < today.tsv > p.txt
"""


@click.command(
    cls=LogCommand,
    short_help="Predict the probability of a positive for every row of a log.",
    epilog=EXAMPLES,
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("logs", metavar="[LOG...]", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a table to this file: .parquet, .csv or .tsv. It replaces an earlier table of"
    " predictions.  [default: one number per line on the standard output]",
)
@names_option(
    "--keep",
    help="Copy these columns of the log to the table, before the predictions. Needs --output.",
)
@overwrite_option
@log_options
@reads_logs
def predict(
    model: Path,
    logs: tuple[str, ...],
    output: Path | None,
    keep: tuple[str, ...] | None,
    **given: Any,
) -> None:
    """Predict the probability of a positive for every row of LOG... or of the standard input.

    Prints one number per line, and nothing else. A row of the standard input is answered as soon as
    its line is whole and the writer pauses, so that a program can write a row and read its answer.

    A log needs the columns that MODEL was trained on, in any order and any format, and no label.
    MODEL may also be an export, or the file of a learner that was trained in Python: with an
    encoder, the log needs its columns; without one, the log is libsvm and its ids are the columns
    of the matrix, counted from 0.
    """
    import adagrad._core as _core
    from adagrad.commands.columns import warn_if_unfinished, warn_of_empty
    from adagrad.ctr.training.columns import open_for_model
    from adagrad.ctr.training.pipeline import encoded
    from adagrad.serving import reading

    if keep and output is None:
        raise click.ClickException(
            "--keep needs --output, because the standard output has only predictions"
        )
    _check_output(model, logs or ("-",), output, given)
    use_threads(given["threads"])
    found = reading.read(model)
    trained = found.trained
    warn_if_unfinished(model, found.extra)
    how = reader_options(given, logs or ("-",))
    kept = list(keep or ())
    with open_for_model(
        logs or ("-",),
        trained.features,
        label=None,
        keep=kept,
        skip_bad=given["skip_bad"],
        live=output is None,
        **how,
    ) as log:
        import pyarrow as pa

        schema = pa.schema([*(log.schema.field(name) for name in kept), (PREDICTION, pa.float32())])
        if output is not None and output.suffix.lower() != ".parquet":
            for name in kept:
                if pa.types.is_nested(schema.field(name).type):
                    raise click.ClickException(
                        f"--keep: column {name!r} has lists, which only .parquet can hold"
                    )
        warn = warn_of_empty(log.paths, trained.encoder)
        with _writer(output, schema) as writer:
            for batch in encoded(log, trained.encoder):
                warn(batch.batch)
                p = _core.probabilities(found.predicts.decision_function(batch.x))[:, 1]
                columns = [batch.batch.column(name) for name in kept]
                columns.append(pa.array(p.astype("float32")))
                writer.write_batch(pa.record_batch(columns, schema=schema))
                if output is None:
                    sys.stdout.flush()
        if log.skipped:
            echo(broken_rows(log.skipped), err=True)


def _check_output(
    model: Path, logs: tuple[str, ...], output: Path | None, given: dict[str, Any]
) -> None:
    if output is None:
        check_standard_output(logs, [model], given["file_format"])
        return
    check_outputs(
        [Output("--output", output, "predictions")],
        logs=logs,
        files=[model],
        file_format=given["file_format"],
        overwrite=given["overwrite"],
    )


@contextlib.contextmanager
def _writer(output: Path | None, schema: pa.Schema) -> Iterator[Any]:
    """Open the table or stream of the predictions; a file appears only when it is complete."""
    from pyarrow import csv, parquet

    if output is None:
        options = csv.WriteOptions(include_header=False)
        with csv.CSVWriter(streams.unbuffered(), schema, write_options=options) as writer:
            yield writer
        return
    suffix = output.suffix.lower()
    with writing(output) as file:
        if suffix == ".parquet":
            with parquet.ParquetWriter(file, schema) as writer:
                yield writer
        else:
            options = csv.WriteOptions(delimiter="\t" if suffix == ".tsv" else ",")
            with csv.CSVWriter(file, schema, write_options=options) as writer:
                yield writer
