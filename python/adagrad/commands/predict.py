"""``adagrad predict``: a probability for every row of a log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adagrad.commands._shared import (
    log_options,
    names,
    one_line_errors,
    reading,
    skipped,
    use_threads,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["predict"]

PREDICTION = "prediction"


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("logs", metavar="[LOG...]", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a table instead of lines: .parquet, .csv or .tsv.",
)
@click.option(
    "--keep",
    type=names,
    metavar="A,B,...",
    help="Columns of the log to write before the prediction; needs --output.",
)
@log_options
@one_line_errors
def predict(
    model: Path,
    logs: tuple[str, ...],
    output: Path | None,
    keep: tuple[str, ...] | None,
    **given: Any,
) -> None:
    """Predict the probability of a positive for every row of LOG..., or of the standard input.

    Prints one number a line, as the rows come; nothing else goes to the standard output. The logs
    need the columns that MODEL was trained on, in any order and format, and no label.

    \b
      adagrad predict ctr.safetensors today.parquet -o scores.parquet --keep ad,user
      adagrad predict ctr.safetensors --format tsv < today.tsv > scores.txt
    """  # noqa: D301 (click looks for the character itself)
    from adagrad import _core
    from adagrad.ctr.learners import files
    from adagrad.ctr.training.options import is_trained_on_logs
    from adagrad.ctr.training.pipeline import encoded, encoder_of, open_again

    if keep and output is None:
        raise click.ClickException("--keep needs --output: without it there is one number a line")
    use_threads(given["threads"])
    estimator, extra = files.read(model)
    _, features = is_trained_on_logs(extra)
    how = reading(given["file_format"], given["delimiter"], given["names"])
    kept = list(keep or ())
    with open_again(
        logs or ("-",), features, label=None, keep=kept, skip_bad=given["skip_bad"], **how
    ) as log:
        import pyarrow as pa

        schema = pa.schema([*(log.schema.field(name) for name in kept), (PREDICTION, pa.float32())])
        with _writer(output, schema) as writer:
            for batch in encoded(log, encoder_of(estimator)):
                p = _core.probabilities(estimator.decision_function(batch.x))[:, 1]
                columns = [batch.batch.column(name) for name in kept]
                columns.append(pa.array(p.astype("float32")))
                writer.write_batch(pa.record_batch(columns, schema=schema))
        if log.skipped:
            click.echo(skipped(log.skipped), err=True)


@contextlib.contextmanager
def _writer(output: Path | None, schema: pa.Schema) -> Iterator[Any]:
    """Open what predictions are written to; a file is there as a whole or not at all."""
    from pyarrow import csv, parquet

    if output is None:
        options = csv.WriteOptions(include_header=False)
        with csv.CSVWriter(sys.stdout.buffer, schema, write_options=options) as writer:
            yield writer
        return
    suffix = output.suffix.lower()
    partial = output.with_name(f".{output.name}.partial")
    try:
        if suffix == ".parquet":
            with parquet.ParquetWriter(partial, schema) as writer:
                yield writer
        elif suffix in (".csv", ".tsv"):
            options = csv.WriteOptions(delimiter="\t" if suffix == ".tsv" else ",")
            with csv.CSVWriter(str(partial), schema, write_options=options) as writer:
                yield writer
        else:
            raise ValueError(f"--output {output}: the name must end in .parquet, .csv or .tsv")
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
