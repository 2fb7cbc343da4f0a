"""``adagrad inspect``: what a model has learned, and from which log."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from adagrad._text import counted, listed, mebibytes, metric_texts, printable
from adagrad.commands import terminal
from adagrad.commands.errors import reads_logs
from adagrad.commands.export import numbers_of, text_of
from adagrad.commands.log_options import LogCommand, log_options, reader_options, use_threads
from adagrad.commands.model_tables import (
    calibration_table,
    columns_table,
    features_table,
    plain_table,
    runs_table,
)
from adagrad.commands.outputs import check_standard_output
from adagrad.commands.terminal import echo

if TYPE_CHECKING:
    import numpy.typing as npt
    from rich.console import Console

    from adagrad.ctr.encoding.examples import Examples
    from adagrad.ctr.learners.estimator import ClickLearner
    from adagrad.ctr.learners.settings import Settings
    from adagrad.ctr.training.contribution import Contributions
    from adagrad.ctr.training.insight import Slots
    from adagrad.ctr.training.pipeline import Encoded

__all__ = ["inspect"]

EXAMPLES = """\b
Examples:
  adagrad inspect ctr.safetensors
  # With the names of the features, and what each column contributes
  adagrad inspect ctr.safetensors --log today.parquet --top 20
  # For a program to read
  adagrad inspect ctr.safetensors --json
"""

Line = tuple[str, str]  # name and text


@click.command(
    cls=LogCommand,
    short_help="Show the settings and the strongest features of a model.",
    epilog=EXAMPLES,
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
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as one JSON object.")
@log_options
@reads_logs
def inspect(model: Path, logs: tuple[str, ...], top: int, as_json: bool, **given: Any) -> None:
    """Show the settings of MODEL, its training, its calibration and its strongest features.

    The rate of a feature is the effective learning rate of its next step. It falls with every
    gradient, so it is large for features that the model has rarely seen. A mixture, which --lr auto
    trains, has several; it shows the variance of the weight in its Bayesian expert instead, and the
    weights and the logloss of its experts. Of a model that has learned several logs one after
    another, each run is a line, with the logloss of its predictions before learning.

    A model stores slots, not the values of features, so by default only the fields of a slot are
    shown. With --log, the features in a sample of a log are shown by name, with their counts. If
    the log has the label, up to 20,000 of its rows are learned once with all columns and once
    without each, which shows how much the logloss rises without a column.
    """
    from adagrad.ctr.learners import files
    from adagrad.ctr.training import insight
    from adagrad.ctr.training.encoders import encoder_of
    from adagrad.ctr.training.history import with_last_run
    from adagrad.ctr.training.state import saved_training
    from adagrad.serving._description import is_export

    check_standard_output(logs, [model], given["file_format"])
    use_threads(given["threads"])
    if is_export(model):
        _show_export(model, logs, as_json)
        return
    estimator, extra = files.read(model)
    trained = insight.trained_slots(estimator._model)
    found, columns, rows = trained, None, 0
    names: dict[int, list[tuple[str, Any]]] = {}
    if logs:
        x, y, names = _sample(model, logs, estimator, extra, given)
        found, rows = insight.sampled_slots(estimator._model, x), len(x)
        columns = _contributions(estimator, x, y)
    saved_training(model, extra)  # raises for what is damaged
    history = with_last_run(model, estimator, extra)
    if as_json:
        shown = _as_json(estimator, trained, found, names, columns, history, top)
        echo(json.dumps(shown))
        return
    console = terminal.console(soft_wrap=True)
    console.width = max(console.width, 100)
    _print(
        console,
        [*_settings(model, estimator), *_training(model, extra), *_counts(estimator, trained)],
    )
    if experts := insight.expert_rows(estimator._model):
        table = plain_table(*insight.EXPERT_HEADS)
        for row in experts:
            table.add_row(*row)
        console.print()
        console.print(table)
    if len(history) > 1:
        console.print()
        console.print(runs_table(history))
    console.print()
    console.print(calibration_table(estimator))
    if columns is not None:
        console.print()
        console.print(columns_table(columns))
        console.print(columns.text(), markup=False)
    if logs:
        text = f"\nFeatures in the first {rows:,} rows of {printable(logs[0])}"
        console.print(text, markup=False)
    measure = "variance" if found.accumulators is None else "effective rate"
    orders = [
        ("by absolute weight", -np.abs(found.weights)),
        (f"by {measure}, lowest first", found.rates),
    ]
    if found.counts is not None:
        orders.append(("by count", -found.counts.astype(np.float64)))
    if top:
        fields = insight.field_names(encoder_of(estimator))
        for title, key in orders:
            order = np.argsort(key, kind="stable")[:top]
            console.print()
            console.print(features_table(title, found, order, names, fields))
        if found.counts is None:
            console.print(
                "A model stores neither the values nor the counts of features;"
                " --log LOG shows those of a log.",
                markup=False,
            )


def _contributions(
    estimator: ClickLearner, x: Examples, y: npt.NDArray[np.float32] | None
) -> Contributions | None:
    """Return what the columns of a sample contribute, if it has labels and columns."""
    from adagrad.ctr.training.contribution import contributions

    if y is None or estimator.encoder is None:
        return None
    weights, _ = estimator._model.linear()
    return contributions(estimator.encoder, x, y, weights)


def _as_json(
    estimator: ClickLearner,
    trained: Slots,
    found: Slots,
    names: dict[int, list[tuple[str, Any]]],
    columns: Contributions | None,
    history: list[dict[str, Any]],
    top: int,
) -> dict[str, Any]:
    """Return what is shown, as JSON can hold it; what is not finite is null."""
    from adagrad.ctr.training import insight
    from adagrad.ctr.training.history import run_as_json

    model = estimator._model
    settings, mixture = model.settings, model.mixture
    shown = np.argsort(-np.abs(found.weights), kind="stable")[:top].tolist()
    measure = "variance" if found.accumulators is None else "rate"
    calibration = insight.calibration_groups(model.progressive, 10)
    everything = {
        "model": type(estimator).__name__,
        "lr": "auto" if settings.rule is None else settings.rule.lr,
        "half_life": settings.half_life,
        "slots": settings.n_slots,
        "used": len(trained.slots),
        "examples": estimator.n_examples_,
        "bias": float(estimator.intercept_[0]),
        "negative_rate": settings.negative_rate,
        "progressive": estimator.progressive_,
        "experts": None if mixture is None else model.experts(),
        "mixture": None if mixture is None else {"logloss": mixture.logloss()},
        "calibration": [
            {"predicted": predicted, "observed": observed, "examples": weight}
            for predicted, observed, weight in zip(*(x.tolist() for x in calibration), strict=True)
        ],
        "history": [run_as_json(entry) for entry in history],
        "contributions": None
        if columns is None
        else {**columns._asdict(), "columns": [one._asdict() for one in columns.columns]},
        "features": [
            {
                "slot": int(found.slots[at]),
                "feature": insight.feature_text(names.get(int(found.slots[at]), [])) or None,
                "weight": float(found.weights[at]),
                measure: float(found.rates[at]),
                "count": None if found.counts is None else int(found.counts[at]),
            }
            for at in shown
        ],
    }
    finite: dict[str, Any] = _finite(everything)
    return finite


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sample(
    model: Path,
    logs: tuple[str, ...],
    estimator: ClickLearner,
    extra: Any,
    given: dict[str, Any],
) -> tuple[Examples, npt.NDArray[np.float32] | None, dict[int, list[tuple[str, Any]]]]:
    """Return the first batch of a log, its labels if it has any, and its features by slot."""
    from adagrad.ctr.logs.rows import LogError
    from adagrad.ctr.training import insight
    from adagrad.ctr.training.columns import open_for_model
    from adagrad.ctr.training.pipeline import encoded
    from adagrad.ctr.training.state import trained_with

    trained = trained_with(model, estimator, extra)
    how = reader_options(given, logs)

    def first_batch(label: str | None) -> Encoded | None:
        with open_for_model(
            logs, trained.features, label=label, skip_bad=given["skip_bad"], **how
        ) as log:
            batches = encoded(log, trained.encoder)
            first = next(batches, None)
            batches.close()
        return first

    try:  # a log without a label shows less, and the standard input cannot be read again
        first = first_batch(None if "-" in logs else trained.label)
    except LogError:
        first = first_batch(None)
    if first is None:
        raise click.ClickException(f"{logs[0]}: no examples")
    return first.x, first.y, insight.features_in_sample(trained.encoder, first.batch)


def _print(console: Console, lines: Iterable[Line]) -> None:
    for name, text in lines:
        console.print(f"{name:<12}{printable(text)}", markup=False)


def _show_export(path: Path, logs: tuple[str, ...], as_json: bool) -> None:
    if logs:
        raise click.ClickException(
            f"--log needs a model that can learn: {path} is an export, which has weights alone"
        )
    if as_json:
        echo(json.dumps(numbers_of(path)))
    else:
        _print(terminal.console(soft_wrap=True), text_of(path))


def _settings(path: Path, estimator: ClickLearner) -> list[Line]:
    settings = estimator._model.settings
    rule = settings.rule
    size = path.stat().st_size
    lines = [
        ("model", f"{type(estimator).__name__}, {path} ({mebibytes(size)})"),
        ("slots", f"{settings.n_slots:,}"),
    ]
    if rule is None:
        forgets = f", half-life {settings.half_life:g}" if settings.half_life else ""
        lines.append(("rule", f"none: lr auto, a mixture of experts{forgets}"))
    else:
        penalties = f"l1 {settings.l1:g}, l2 {settings.l2:g}"
        lines.append(("rule", f"lr {rule.lr:g}, eps {rule.eps:g}, {penalties}"))
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
    from adagrad.ctr.training.options import option_name, option_text
    from adagrad.ctr.training.state import saved_training

    state = saved_training(model, extra)
    if state is None:
        columns = extra.get("columns") if isinstance(extra, dict) else None
        label = columns.get("label") if isinstance(columns, dict) else None
        lines = [("saved", "from Python, not by adagrad train")]
        return lines if label is None else [("label", str(label)), *lines]
    files = [name for name, *_ in state["log"]]
    shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if files[3:] else "")
    passes = counted(state["pass"], "complete pass", "complete passes")
    if state["rows"]:
        passes += f" and {counted(state['rows'], 'row')} of the next: continue with train --resume"
    options = state["options"]
    weights = [
        f"{option_name(name)} {option_text(options[name])}"
        for name in ("weight", "negative_rate", "class_weight")
        if options.get(name)
    ]
    of_weights = [("weights", ", ".join(weights))] if weights else []
    return [("label", options["label"]), *of_weights, ("log", shown), ("trained", passes)]


def _counts(estimator: ClickLearner, trained: Slots) -> list[Line]:
    settings = estimator._model.settings
    share = 100 * len(trained.slots) / settings.n_slots
    logloss, ne, auc, calibration = metric_texts(estimator.progressive_)
    return [
        ("examples", f"{estimator.n_examples_:,}"),
        ("used", f"{counted(len(trained.slots), 'slot')}, {share:.3g} %"),
        ("non-zero", counted(int(np.count_nonzero(trained.weights)), "weight")),
        ("bias", f"{float(estimator.intercept_[0]):.5f}{_offset_text(settings)}"),
        ("progressive", f"logloss {logloss}, NE {ne}, AUC {auc}, calibration {calibration}"),
    ]


def _offset_text(settings: Settings) -> str:
    """Return how much of the bias corrects for negatives that the log lacked; "" if none."""
    if settings.negative_rate == 1.0:
        return ""
    return f", of which {settings.offset:.5f} is for a negative rate of {settings.negative_rate:g}"
