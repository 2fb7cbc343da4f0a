"""``adagrad demo``: AdaGrad against plain SGD on a click log, in a table and a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from adagrad._text import printable
from adagrad.commands import terminal
from adagrad.commands.outputs import Output, check_outputs, overwrite_option, save_picture
from adagrad.commands.requirements import require

if TYPE_CHECKING:
    from rich.table import Table

    from adagrad.datasets import Log
    from adagrad.demo import Comparison

__all__ = ["demo"]

EXAMPLES = """\b
Examples:
  # The click log that ships with adagrad
  adagrad demo
  adagrad demo a9a.libsvm --output a9a.png
"""

DPI = 180

# Suffixes of logs that other commands read.
TABLES = {".arrow", ".csv", ".feather", ".parquet", ".tsv"}


@click.command(epilog=EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("adagrad-demo.png"),
    show_default=True,
    metavar="FILE.png",
    help="Save the picture to this file: .png, .svg or .pdf.",
)
@click.option(
    "--lr",
    type=float,
    metavar="RATE",
    help="Learning rate of AdaGrad.  [default: the best rate on the first examples]",
)
@overwrite_option
def demo(file: Path | None, output: Path, lr: float | None, overwrite: bool) -> None:
    """Compare AdaGrad with plain SGD on a click log.

    Trains a logistic regression three times: with AdaGrad, with SGD at a constant rate, and with
    SGD at a rate that falls for all features alike; and once with the default of adagrad train,
    which has no rate to choose. Each takes one pass and predicts every example before it learns
    from it. Prints the quality of the predictions and saves a picture.

    FILE is in libsvm format (plain, .gz or .bz2; labels 0/1, -1/+1 or 1/2). The default is the
    click log that ships with adagrad. Nothing is downloaded, and every run gives the same numbers,
    except for the speed.
    """
    require("adagrad demo", "rich", "matplotlib", "sklearn")
    with np.errstate(over="ignore"):  # the tables are float32
        usable = lr is None or (np.float32(lr) > 0 and math.isfinite(np.float32(lr)))
    if not usable:
        raise click.ClickException(f"--lr must be above 0 and finite in float32, got {lr:g}")
    check_outputs([Output("--output", output, "picture")], files=[file], overwrite=overwrite)
    from rich.markup import escape

    name = escape(printable(str(file or "the click log")))
    with terminal.console(stderr=True).status(f"reading {name}"):
        log = _read(file)
    console = terminal.console(soft_wrap=True)
    # In a narrow terminal, wrapped lines are better than a table that drops digits.
    console.width = max(console.width, 120)
    entries = len(log.rows) / len(log)
    hashed = ", ids hashed into 2^22 rows" if log.hashed else ""
    console.print(
        f"{printable(log.name)}: {len(log):,} examples, {int(log.labels.sum()):,} of them positive,"
        f" {entries:.1f} features each{hashed}",
        markup=False,
    )
    comparison = _train(log, lr)
    console.print()
    console.print(_table(comparison))
    console.print()
    console.print(_notes(comparison, lr), markup=False)
    _save(comparison, output)
    console.print(f"Picture: {output}", markup=False)


def _read(file: Path | None) -> Log:
    from adagrad import datasets

    try:
        return datasets.click_log() if file is None else datasets.libsvm(file)
    except OSError as error:
        raise click.ClickException(f"cannot read {file}: {error.strerror or error}") from None
    except ValueError as error:
        table = file is not None and TABLES.intersection(file.suffixes)
        hint = "; for a table, use adagrad diagnose" if table else ""
        raise click.ClickException(f"{error}{hint}") from None


def _train(log: Log, lr: float | None) -> Comparison:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from adagrad.demo import compare

    console = terminal.console(stderr=True)
    bar = Progress(
        TextColumn("{task.description:<18}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    tasks = {}

    def show(title: str, done: int, planned: int) -> None:
        if title not in tasks:
            tasks[title] = bar.add_task(title)
        bar.update(tasks[title], completed=done, total=planned)

    with bar:
        return compare(log, lr, show)


def _table(comparison: Comparison) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("learner", no_wrap=True)
    for heading in ("rate", "logloss", "NE", "AUC", "calibration", "examples/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in (comparison.mixture, *comparison.runs):
        quality = run.metrics
        table.add_row(
            run.learner.title,
            "" if math.isnan(run.learner.lr) else f"{run.learner.lr:g}",
            f"{quality.logloss:.4f}",
            f"{quality.normalized_entropy:.4f}",
            f"{quality.auc:.4f}",
            f"{quality.calibration:.3f}",
            f"{len(comparison.log) / run.seconds:,.0f}",
        )
    table.add_row(
        *("base rate", "", f"{comparison.base_logloss:.4f}", "1.0000", "0.5000"),
        *("1.000", ""),
    )
    return table


def _notes(comparison: Comparison, lr: float | None) -> str:
    chosen = "The rates were" if lr is None else "The rates of SGD were"
    notes = [
        "Progressive validation: each learner predicts every example before it learns from it.",
        "NE, normalized entropy: logloss divided by that of always predicting the base rate.",
        f"{chosen} chosen by logloss on the first {comparison.sweep_examples:,} of these examples.",
        "lr='auto' has no rate to choose: it mixes five learners, of different rates.",
        "examples/s: SGD makes Python calls for every example, AdaGrad one for thousands.",
    ]
    tenth = len(comparison.counts) // 10
    if tenth:
        by_count = comparison.effective_rates[np.argsort(comparison.counts, kind="stable")]
        notes.append(
            f"Median effective rate of AdaGrad: {np.median(by_count[:tenth]):.2g} for the rarest"
            f" tenth of the features,\n{np.median(by_count[-tenth:]):.2g} for the most frequent"
            " tenth."
        )
    return "\n".join(notes)


def _save(comparison: Comparison, output: Path) -> None:
    from adagrad.plotting import demo_figure

    save_picture(demo_figure(comparison), output, dpi=DPI)
