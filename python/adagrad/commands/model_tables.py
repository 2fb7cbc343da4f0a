"""The tables of ``adagrad inspect``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from adagrad._text import printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from rich.table import Table

    from adagrad.ctr.learners.estimator import ClickLearner
    from adagrad.ctr.training.contribution import Contributions
    from adagrad.ctr.training.insight import Slots

__all__ = [
    "calibration_table",
    "columns_table",
    "features_table",
    "plain_table",
    "runs_table",
]


def runs_table(history: list[dict[str, Any]]) -> Table:
    """Return a table of the runs that have trained a model, the last one at the end."""
    from rich.markup import escape

    from adagrad.ctr.training.history import HEADS, run_texts

    table, number = plain_table(*HEADS), 0
    for entry in history:
        number += entry["runs"]
        table.add_row(*(escape(printable(text)) for text in run_texts(number, entry)))
    return table


def calibration_table(estimator: ClickLearner) -> Table:
    """Return a table of predictions before learning and what was clicked, by tenths."""
    from adagrad.ctr.training import insight

    table = plain_table("calibration by tenths", "examples", "predicted", "observed", "ratio")
    for number, texts in enumerate(insight.deciles(estimator._model.progressive), start=1):
        table.add_row(f"{number}", *texts)
    return table


def columns_table(found: Contributions) -> Table:
    """Return a table of how much the logloss rises without each column."""
    from rich.markup import escape

    table = plain_table("without the column", "rise in logloss", "± 1 σ")
    for one in found.columns:
        name, *numbers = one.texts()
        table.add_row(escape(printable(name)), *numbers)
    return table


def features_table(
    title: str,
    found: Slots,
    order: npt.NDArray[np.intp],
    names: dict[int, list[tuple[str, Any]]],
    fields: Callable[[int], str],
) -> Table:
    """Return a table of some slots, in an order."""
    from rich.markup import escape

    from adagrad.ctr.training import insight

    headings = ["slot", "weight", "accumulator", "rate"]
    if found.accumulators is None:
        headings[2:] = ["variance"]
    table = plain_table(title, *headings, *(["count"] if found.counts is not None else []))
    for at in order.tolist():
        slot = int(found.slots[at])
        row = [
            escape(printable(insight.feature_text(names[slot]) if slot in names else fields(slot))),
            f"{slot}",
            f"{found.weights[at]:.4f}",
            *([] if found.accumulators is None else [f"{found.accumulators[at]:.4g}"]),
            f"{found.rates[at]:.4g}",
        ]
        table.add_row(*row, *([f"{found.counts[at]:,}"] if found.counts is not None else []))
    return table


def plain_table(title: str, *headings: str) -> Table:
    """Return an empty table whose first column is text and whose others are numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(title, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
