"""Progress on stderr while a log is read or trained on.

On a terminal it is a bar. Elsewhere training prints lines, and reading prints nothing.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from adagrad._text import broken_rows, counted, metric_texts
from adagrad.commands.cluster import cluster_progress, cluster_summary

if TYPE_CHECKING:
    from rich.console import Console
    from typing_extensions import Self

    from adagrad.ctr.logs.log import Log, Position
    from adagrad.ctr.training.run import Training

__all__ = ["ReadingProgress", "TrainingProgress", "print_summary"]

FIRST_LINE = 16
"""Examples at the first line of a training, a power of two."""

HEADING = "    examples   logloss  since last       NE     AUC  calibration     rows/s"


class _Bar:
    """A bar over the bytes of a log, if stderr is a terminal; a context manager."""

    def __init__(self, console: Console, description: str, log: Log, quiet: bool = False) -> None:
        self._began = time.perf_counter()
        self.bar: Any = None
        if console.is_terminal and not quiet:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[numbers]}"),
                TimeRemainingColumn(compact=True),
                console=console,
                transient=True,
            )
            self._task = self.bar.add_task(description, total=log.total_bytes, numbers="")

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._began

    def update(self, completed: int, numbers: str, **fields: Any) -> None:
        self.bar.update(self._task, completed=completed, numbers=numbers, **fields)


class ReadingProgress(_Bar):
    """Show how far a log is read; a context manager.

    Parameters
    ----------
    console : rich.console.Console
        A console on stderr.
    log : Log
        The log, before its pass.
    quiet : bool, default False
        Show nothing.
    """

    def __init__(self, console: Console, log: Log, quiet: bool = False) -> None:
        super().__init__(console, "reading", log, quiet)

    def __call__(self, position: Position) -> None:
        """Show a position."""
        if self.bar is not None:
            rate = position.rows / max(self.seconds, 1e-9)
            self.update(position.bytes_read, f"{position.rows:,} rows, {rate:,.0f}/s")


class TrainingProgress(_Bar):
    """Show how far a training is; a context manager.

    Parameters
    ----------
    console : rich.console.Console
        A console on stderr.
    training : Training
        The training, before its first batch.
    quiet : bool
        Show nothing.
    """

    def __init__(self, console: Console, training: Training, quiet: bool) -> None:
        super().__init__(console, "pass 1", training.log, quiet)
        self._console, self._quiet = console, quiet
        self._first = training.examples
        self._next_line = FIRST_LINE
        last = training.curve[-1] if training.curve else [0.0] * 5
        self._shown = last[0]
        self._last = [last[0], last[2]]  # examples and summed loss at the last line

    def rate(self, training: Training) -> float:
        """Return the examples learned per second."""
        return (training.examples - self._first) / max(self.seconds, 1e-9)

    def __call__(self, training: Training) -> None:
        """Show the state of a training: on a terminal at once, else at powers of two."""
        if self._quiet:
            return
        if self.bar is None:
            for point in training.curve:
                if point[0] > self._shown:
                    self._shown = point[0]
                    if point[0] >= self._next_line:
                        self._line(training, point)
            return
        scores = training.progressive
        if scores is not None:
            logloss, ne, auc, _ = metric_texts(scores.metrics())
            self.update(
                training.bytes_read,
                f"{training.examples:,} rows, {self.rate(training):,.0f}/s"
                f"  logloss {logloss}  NE {ne}  AUC {auc}{cluster_progress(training)}",
                description=f"pass {min(training.pass_number + 1, training.passes)}",
            )

    def _line(self, training: Training, point: list[float]) -> None:
        from adagrad.ctr.training.curve import metrics_at

        examples, _, loss, *_ = point
        if self._next_line == FIRST_LINE:
            self._console.print(HEADING, markup=False, highlight=False)
        while self._next_line <= examples:
            self._next_line *= 2
        since = (loss - self._last[1]) / max(examples - self._last[0], 1.0)
        self._last = [examples, loss]
        logloss, ne, auc, calibration = metric_texts(metrics_at(point))
        self._console.print(
            f"{examples:12,.0f}  {logloss:>8}  {since:10.5f}  {ne:>7}  {auc:>6}  {calibration:>11}"
            f"  {self.rate(training):9,.0f}{cluster_progress(training)}",
            markup=False,
            highlight=False,
        )


def print_summary(console: Console, training: Training, progress: TrainingProgress) -> None:
    """Print the metrics of a finished training, and what it did."""
    from rich import box
    from rich.table import Table

    from adagrad.ctr.training.curve import metrics_at
    from adagrad.ctr.training.sample import order_text

    assert training.progressive is not None
    metrics = training.progressive.metrics()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("examples", "logloss", "NE", "AUC", "calibration"):
        table.add_column(heading, justify="right", no_wrap=True)
    if training.start is not None and training.learned > 0:
        count = f"{training.learned_in_first_pass:,}"
        table.add_row("progressive, this log", count, *metric_texts(metrics_at(training.scores)))
    count = f"{int(training.curve[-1][0]):,}" if training.curve else ""
    title = "progressive, first pass" if training.start is None else "progressive, all logs"
    table.add_row(title, count, *metric_texts(metrics))
    if (share := training.estimator.negative_rate) != 1.0:
        of_all = training.progressive.metrics_of_all(share)
        table.add_row("corrected, all negatives", "", *metric_texts(of_all))
    for number, found in enumerate(training.validation, start=1):
        count = f"{training.board.examples:,}" if training.board else ""
        table.add_row(f"validation, pass {number}", count, *metric_texts(found))
    console.print()
    console.print(table)
    examples = counted(training.learned, "example")
    passes = counted(training.pass_number, "pass", "passes")
    per_second = progress.rate(training)  # 0 if the training was complete before
    speed = f", {per_second:,.0f} rows/s" if per_second else ""
    rate = getattr(training.estimator, "lr_", None)  # a mixture has none
    lr = "auto" if rate is None else f"{rate:g}"
    before = counted(training.learned_before, "example")
    after = f" after {before} of earlier logs" if training.learned_before else ""
    lines = [f"\n{examples} in {passes}{after}{speed}; lr {lr}; {training.path}"]
    if rate is None:
        mixed = (f"{x['weight']:.2f} {x['name']}" for x in training.estimator.experts_)
        lines.append(f"mixed: {', '.join(mixed)}")
    if training.options.has_weights:
        lines.append("the metrics are weighted as the gradients are")
    if training.best_pass:
        lines.append(f"the model is that of pass {training.best_pass}, the best")
    if training.ordered is not None:
        lines.append(order_text(training.ordered))
    lines += cluster_summary(training)
    if training.skipped:
        lines.append(broken_rows(training.skipped))
    if math.isnan(metrics["logloss"]):
        lines.append("the predictions became infinite or NaN: choose a smaller --lr")
    for line in lines:
        console.print(line, markup=False)
