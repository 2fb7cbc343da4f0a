"""``adagrad evaluate``: how good a model's predictions are on a log with labels."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

from adagrad._text import broken_rows, metric_texts
from adagrad.commands.errors import reads_logs
from adagrad.commands.example_options import negative_rate_option, rate_column, weight_option
from adagrad.commands.log_options import (
    LIBSVM_LABEL,
    LogCommand,
    log_options,
    reader_options,
    use_threads,
)
from adagrad.commands.outputs import check_standard_output
from adagrad.commands.terminal import echo

__all__ = ["evaluate"]

EXAMPLES = """\b
Examples:
  adagrad evaluate ctr.safetensors today.parquet
  # For a program to read
  adagrad evaluate ctr.safetensors today.parquet --json
  # Another label, or a model that was trained in Python
  adagrad evaluate ctr.safetensors today.tsv --label click
"""


@click.command(
    cls=LogCommand, short_help="Measure the predictions of a model on a log.", epilog=EXAMPLES
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("logs", metavar="LOG...", nargs=-1, required=True)
@click.option(
    "-l",
    "--label",
    metavar="COLUMN",
    help="Column with the label. A model that was trained in Python needs it.  [default: the column"
    " that the model was trained to predict]",
)
@weight_option("Weights of the examples.  [default: each counts once]")
@negative_rate_option(
    "The log has only this share of its negatives, or shares in a column: each counts 1 / share"
    " times.  [default: the log has all of them]"
)
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as one JSON object.")
@log_options
@reads_logs
def evaluate(
    model: Path, logs: tuple[str, ...], label: str | None, as_json: bool, **given: Any
) -> None:
    """Measure the predictions of MODEL on LOG...: logloss, NE, AUC and calibration.

    NE, normalized entropy, is the logloss divided by that of always predicting the share of
    positives in these logs: below 1 is better than that. Calibration is the sum of the predictions
    divided by the sum of the labels: 1 is right on average. LOG is as for adagrad train.
    """
    from adagrad.commands.columns import warn_if_unfinished, warn_of_empty
    from adagrad.ctr.training import evaluation
    from adagrad.ctr.training.columns import open_for_model
    from adagrad.ctr.training.state import check_classes
    from adagrad.serving import reading

    check_standard_output(logs, [model], given["file_format"])
    use_threads(given["threads"])
    found = reading.read(model)
    trained = found.trained
    warn_if_unfinished(model, found.extra)
    how = reader_options(given, logs)
    label = label or trained.label or (None if found.has_columns else LIBSVM_LABEL)
    if label is None:
        raise click.ClickException(
            f"{model} was saved from Python and does not say which column is the label: name it"
            " with --label"
        )
    check_classes(model, found.classes)
    with open_for_model(
        logs,
        trained.features,
        label=label,
        weight=given["weight"],
        negative_rate=rate_column(given),
        skip_bad=given["skip_bad"],
        **how,
    ) as log:
        look = warn_of_empty(logs, trained.encoder)
        rate = given["negative_rate"] if isinstance(given["negative_rate"], float) else 1.0
        scores = evaluation.evaluate(found.predicts, log, trained.encoder, look, rate)
        skipped = log.skipped
    examples, (weight, positives) = scores.examples, scores.sums[:2].tolist()
    if not examples:
        raise click.ClickException(f"{logs[0]}: no examples")
    metrics = scores.metrics()
    is_weighted = log.weight is not None or log.negative_rate is not None
    if as_json:
        numbers = {name: x if math.isfinite(x) else None for name, x in metrics.items()}
        sums = {"examples": examples, "positives": int(positives)}
        if is_weighted:
            sums |= {"weight": weight, "positives": positives}
        echo(json.dumps({**sums, **numbers, "skipped": skipped}))
        return
    names = ("logloss", "normalized entropy", "AUC", "calibration")
    share = f"  ({100 * positives / weight:.3g} %{' of the weight' if is_weighted else ''})"
    echo(f"{'examples':<20}{examples:>12,}")
    if is_weighted:
        echo(f"{'weight':<20}{weight:>12,.6g}")
    echo(f"{'positives':<20}{positives:>12,.{6 if is_weighted else 15}g}{share}")
    for name, number, text in zip(names, metrics.values(), metric_texts(metrics), strict=True):
        if math.isnan(number) and positives in (0, weight):
            text = f"{text:>12}  (undefined: all labels are the same)"
        echo(f"{name:<20}{text:>12}")
    if skipped:
        echo(broken_rows(skipped), err=True)
