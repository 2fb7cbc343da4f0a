"""``adagrad evaluate``: how good a model is on a log with labels."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

from adagrad.commands._shared import (
    log_options,
    one_line_errors,
    quality,
    reading,
    skipped,
    use_threads,
)

__all__ = ["evaluate"]


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("logs", metavar="LOG...", nargs=-1, required=True)
@click.option("-l", "--label", metavar="COLUMN", help="The label, if not named as in training.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@log_options
@one_line_errors
def evaluate(
    model: Path, logs: tuple[str, ...], label: str | None, as_json: bool, **given: Any
) -> None:
    """Measure MODEL's predictions on LOG...: logloss, NE, AUC, calibration.

    NE, normalized entropy, is the logloss over that of always predicting the share of positives in
    these logs; calibration is the sum of the predictions over that of the labels. Logs are as for
    adagrad train.
    """
    from adagrad.ctr.learners import files
    from adagrad.ctr.training.options import is_trained_on_logs
    from adagrad.ctr.training.pipeline import open_again
    from adagrad.ctr.training.run import score

    use_threads(given["threads"])
    estimator, extra = files.read(model)
    options, features = is_trained_on_logs(extra)
    how = reading(given["file_format"], given["delimiter"], given["names"])
    label = label or options.label
    with open_again(logs, features, label=label, skip_bad=given["skip_bad"], **how) as log:
        board = score(estimator, log)
        left_out = log.skipped
    examples, positives = (int(x) for x in board.sums[:2])
    if not examples:
        raise click.ClickException(f"{logs[0]}: no examples")
    metrics = board.metrics()
    if as_json:
        numbers = {name: x if math.isfinite(x) else None for name, x in metrics.items()}
        click.echo(
            json.dumps(
                {"examples": examples, "positives": positives, **numbers, "skipped": left_out}
            )
        )
        return
    names = ("logloss", "normalized entropy", "AUC", "calibration")
    click.echo(f"{'examples':<20}{examples:>12,}")
    click.echo(f"{'positives':<20}{positives:>12,}  ({100 * positives / examples:.3g} %)")
    for name, number, text in zip(names, metrics.values(), quality(metrics), strict=True):
        if math.isnan(number) and positives in (0, examples):
            text = f"{text:>12}  (not defined: the labels are of one class)"
        click.echo(f"{name:<20}{text:>12}")
    if left_out:
        click.echo(skipped(left_out), err=True)
