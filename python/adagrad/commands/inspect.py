"""``adagrad inspect``: what a model has learned, and from what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from adagrad.commands._shared import log_options, one_line_errors, quality, reading, use_threads

if TYPE_CHECKING:
    from rich.console import Console

    from adagrad.ctr.learners.estimator import ClickLearner
    from adagrad.ctr.training.insight import Slots

__all__ = ["inspect"]


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--log",
    "logs",
    multiple=True,
    metavar="LOG",
    help="Name the features by the first 65,536 rows of this log; may be given again.",
)
@click.option(
    "-n", "--top", type=click.IntRange(0), default=10, show_default=True, help="Features to show."
)
@log_options
@one_line_errors
def inspect(model: Path, logs: tuple[str, ...], top: int, **given: Any) -> None:
    """Show the settings of MODEL, what it was trained on, and its strongest features.

    The rate is the effective learning rate, that of the feature's next step: it falls with every
    gradient, so it is large for what the model has hardly seen. A model stores no values, only
    slots, and knows the fields that may be in one; with --log, the features of a sample are named,
    and counted.
    """
    from rich.console import Console

    from adagrad.ctr.learners import files
    from adagrad.ctr.training import insight
    from adagrad.ctr.training.options import is_trained_on_logs
    from adagrad.ctr.training.pipeline import encoded, encoder_of, open_again

    use_threads(given["threads"])
    estimator, extra = files.read(model)
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, 100)
    fitted = estimator._model
    _settings(console, model, estimator, extra)
    everything = insight.touched(fitted)
    _counts(console, estimator, everything)
    found, names = everything, {}
    if logs:
        _, features = is_trained_on_logs(extra)
        how = reading(given["file_format"], given["delimiter"], given["names"])
        with open_again(logs, features, label=None, skip_bad=given["skip_bad"], **how) as log:
            batches = encoded(log, encoder_of(estimator))
            first = next(batches, None)
            batches.close()
        if first is None:
            raise click.ClickException(f"{logs[0]}: no examples")
        found = insight.in_sample(fitted, first.x)
        names = insight.names(encoder_of(estimator), first.batch)
        console.print(f"\nFeatures of the first {len(first.x):,} rows of {logs[0]}", markup=False)
    orders = [
        ("by weight", -np.abs(found.weights)),
        ("by effective rate, lowest first", found.rates),
    ]
    if found.counts is not None:
        orders.append(("by count", -found.counts.astype(np.float64)))
    if top:
        for title, key in orders:
            order = np.argsort(key, kind="stable")[:top]
            _top(console, title, found, order, names, insight.fields(encoder_of(estimator)))
        if found.counts is None:
            console.print(
                "A model has sums of squared gradients, no counts and no values: --log gives both.",
                markup=False,
            )


def _settings(console: Console, path: Path, estimator: ClickLearner, extra: Any) -> None:
    settings = estimator._model.settings
    rule = settings.rule
    size = path.stat().st_size
    lines = [
        ("model", f"{type(estimator).__name__}, {path} ({size / 2**20:,.1f} MiB)"),
        ("slots", f"{settings.n_slots:,}"),
        ("rule", f"lr {rule.lr:g}, eps {rule.eps:g}, l1 {settings.l1:g}, l2 {rule.weight_decay:g}"),
    ]
    if settings.factors:
        lines.append(("factors", f"{settings.factors}"))
    if estimator.encoder is not None:
        kinds = getattr(estimator.encoder, "fields_", None) or {}
        fields = ", ".join(f"{name} ({kind or 'by type'})" for name, kind in kinds.items())
        fields += "".join(f", {'*'.join(cross)}" for cross in estimator.encoder.crosses)
        lines.append(("fields", fields))
    state = extra.get("training") if isinstance(extra, dict) else None
    if state:
        files = [name for name, *_ in state["log"]]
        shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if files[3:] else "")
        where = f"{state['pass']} complete passes"
        if state["rows"]:
            where += f" and {state['rows']:,} rows of the next: go on with train --resume"
        lines += [("label", state["options"]["label"]), ("log", shown), ("trained", where)]
    for name, text in lines:
        console.print(f"{name:<12}{text}", markup=False)


def _counts(console: Console, estimator: ClickLearner, everything: Slots) -> None:
    n_slots = estimator._model.settings.n_slots
    share = 100 * len(everything.slots) / n_slots
    logloss, ne, auc, calibration = quality(estimator.progressive_)
    for name, text in (
        ("examples", f"{estimator.n_examples_:,}"),
        ("touched", f"{len(everything.slots):,} slots, {share:.3g} %"),
        ("non-zero", f"{int(np.count_nonzero(everything.weights)):,} weights"),
        ("bias", f"{float(estimator.intercept_[0]):.5f}"),
        ("progressive", f"logloss {logloss}, NE {ne}, AUC {auc}, calibration {calibration}"),
    ):
        console.print(f"{name:<12}{text}", markup=False)


def _top(
    console: Console,
    title: str,
    found: Slots,
    order: Any,
    names: dict[int, Any],
    fields: Callable[[int], str],
) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from adagrad.ctr.training import insight

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(title, overflow="fold")
    headings = ["slot", "weight", "accumulator", "rate"]
    for heading in [*headings, "count"] if found.counts is not None else headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for at in order.tolist():
        slot = int(found.slots[at])
        row = [
            escape(insight.label(names[slot]) if slot in names else fields(slot)),
            f"{slot}",
            f"{found.weights[at]:.4f}",
            f"{found.accumulators[at]:.4g}",
            f"{found.rates[at]:.4g}",
        ]
        table.add_row(*row, *([f"{found.counts[at]:,}"] if found.counts is not None else []))
    console.print()
    console.print(table)
