"""``adagrad inspect``: what a model has learned, and from which log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from adagrad._text import counted, listed, metric_texts, printable
from adagrad.commands import terminal
from adagrad.commands.errors import reads_logs
from adagrad.commands.log_options import LogCommand, log_options, reader_options, use_threads
from adagrad.commands.outputs import check_standard_output

if TYPE_CHECKING:
    import numpy.typing as npt
    from rich.table import Table

    from adagrad.ctr.encoding.examples import Examples
    from adagrad.ctr.learners.estimator import ClickLearner
    from adagrad.ctr.training.insight import Slots

__all__ = ["inspect"]

Line = tuple[str, str]  # name and text


@click.command(
    cls=LogCommand, short_help="Show the settings and the strongest features of a model."
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--log",
    "logs",
    multiple=True,
    metavar="LOG",
    help="Show the names and counts of the features in the first 65,536 rows of this log."
    " Repeatable.  [default: show the fields of each slot]",
)
@click.option(
    "-n",
    "--top",
    type=click.IntRange(0),
    metavar="N",
    default=10,
    show_default=True,
    help="Number of features in each list.",
)
@log_options
@reads_logs
def inspect(model: Path, logs: tuple[str, ...], top: int, **given: Any) -> None:
    """Show the settings of MODEL, its training and its strongest features.

    The rate of a feature is the effective learning rate of its next step. It falls with every
    gradient, so it is large for features that the model has rarely seen. A model stores slots, not
    the values of features, so by default only the fields of a slot are shown. With --log, the
    features in a sample of a log are shown by name, with their counts.
    """
    from adagrad.ctr.learners import files
    from adagrad.ctr.training import insight
    from adagrad.ctr.training.encoders import encoder_of

    check_standard_output(logs, [model], given["file_format"])
    use_threads(given["threads"])
    estimator, extra = files.read(model)
    console = terminal.console(soft_wrap=True)
    console.width = max(console.width, 100)
    trained = insight.trained_slots(estimator._model)
    lines = [*_settings(model, estimator), *_training(model, extra), *_counts(estimator, trained)]
    for name, text in lines:
        console.print(f"{name:<12}{printable(text)}", markup=False)
    found = trained
    names: dict[int, list[tuple[str, Any]]] = {}
    if logs:
        x, names = _sample(model, logs, estimator, extra, given)
        found = insight.sampled_slots(estimator._model, x)
        console.print(
            f"\nFeatures in the first {len(x):,} rows of {printable(logs[0])}", markup=False
        )
    orders = [
        ("by absolute weight", -np.abs(found.weights)),
        ("by effective rate, lowest first", found.rates),
    ]
    if found.counts is not None:
        orders.append(("by count", -found.counts.astype(np.float64)))
    if top:
        fields = insight.field_names(encoder_of(estimator))
        for title, key in orders:
            order = np.argsort(key, kind="stable")[:top]
            console.print()
            console.print(_top(title, found, order, names, fields))
        if found.counts is None:
            console.print(
                "A model stores neither the values nor the counts of features;"
                " --log LOG shows those of a log.",
                markup=False,
            )


def _sample(
    model: Path,
    logs: tuple[str, ...],
    estimator: ClickLearner,
    extra: Any,
    given: dict[str, Any],
) -> tuple[Examples, dict[int, list[tuple[str, Any]]]]:
    """Return the first batch of a log, and its features by slot."""
    from adagrad.ctr.training import insight
    from adagrad.ctr.training.columns import open_for_model
    from adagrad.ctr.training.pipeline import encoded
    from adagrad.ctr.training.state import trained_with

    trained = trained_with(model, estimator, extra)
    how = reader_options(given, logs)
    with open_for_model(
        logs, trained.features, label=None, skip_bad=given["skip_bad"], **how
    ) as log:
        batches = encoded(log, trained.encoder)
        first = next(batches, None)
        batches.close()
    if first is None:
        raise click.ClickException(f"{logs[0]}: no examples")
    return first.x, insight.features_in_sample(trained.encoder, first.batch)


def _settings(path: Path, estimator: ClickLearner) -> list[Line]:
    settings = estimator._model.settings
    rule = settings.fixed_rule
    size = path.stat().st_size
    lines = [
        ("model", f"{type(estimator).__name__}, {path} ({size / 2**20:,.1f} MiB)"),
        ("slots", f"{settings.n_slots:,}"),
        ("rule", f"lr {rule.lr:g}, eps {rule.eps:g}, l1 {settings.l1:g}, l2 {settings.l2:g}"),
    ]
    if settings.factors:
        lines.append(("factors", f"{settings.factors}"))
    if estimator.encoder is not None:
        kinds = getattr(estimator.encoder, "fields_", None) or {}
        fields = [f"{name} ({kind or 'by type'})" for name, kind in kinds.items()]
        fields += ["*".join(cross) for cross in estimator.encoder.crosses]
        lines.append(("fields", listed(fields)))
    return lines


def _training(model: Path, extra: Any) -> list[Line]:
    """Return what ``adagrad train`` noted in a model file."""
    from adagrad.ctr.training.state import saved_training

    state = saved_training(model, extra)
    if state is None:
        return [("saved", "from Python, not by adagrad train")]
    files = [name for name, *_ in state["log"]]
    shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if files[3:] else "")
    passes = counted(state["pass"], "complete pass", "complete passes")
    if state["rows"]:
        passes += f" and {counted(state['rows'], 'row')} of the next: continue with train --resume"
    return [("label", state["options"]["label"]), ("log", shown), ("trained", passes)]


def _counts(estimator: ClickLearner, trained: Slots) -> list[Line]:
    n_slots = estimator._model.settings.n_slots
    share = 100 * len(trained.slots) / n_slots
    logloss, ne, auc, calibration = metric_texts(estimator.progressive_)
    return [
        ("examples", f"{estimator.n_examples_:,}"),
        ("used", f"{counted(len(trained.slots), 'slot')}, {share:.3g} %"),
        ("non-zero", counted(int(np.count_nonzero(trained.weights)), "weight")),
        ("bias", f"{float(estimator.intercept_[0]):.5f}"),
        ("progressive", f"logloss {logloss}, NE {ne}, AUC {auc}, calibration {calibration}"),
    ]


def _top(
    title: str,
    found: Slots,
    order: npt.NDArray[np.intp],
    names: dict[int, list[tuple[str, Any]]],
    fields: Callable[[int], str],
) -> Table:
    """Return a table of some slots, in an order."""
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
            escape(printable(insight.feature_text(names[slot]) if slot in names else fields(slot))),
            f"{slot}",
            f"{found.weights[at]:.4f}",
            f"{found.accumulators[at]:.4g}",
            f"{found.rates[at]:.4g}",
        ]
        table.add_row(*row, *([f"{found.counts[at]:,}"] if found.counts is not None else []))
    return table
