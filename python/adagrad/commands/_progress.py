"""How work on a log is shown while it runs, on stderr: by a bar on a terminal.

Elsewhere training prints lines, and reading nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from adagrad.commands._ray import on_cluster
from adagrad.commands._shared import quality

if TYPE_CHECKING:
    from rich.console import Console
    from typing_extensions import Self

    from adagrad.ctr.logs.log import Log, Position
    from adagrad.ctr.training.run import Training

__all__ = ["Display", "Reading"]

HEADING = "    examples   logloss  since last       NE     AUC  calibration     rows/s"


def _bar(console: Console, description: str, log: Log) -> tuple[Any, Any]:
    """Return a bar over the bytes of a log, and its one task."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    )
    return bar, bar.add_task(description, total=log.total_bytes, numbers="")


class Reading:
    """Show how far a log is read; a context manager.

    Parameters
    ----------
    console : rich.console.Console
        On stderr.
    log : Log
        Before its pass.
    """

    def __init__(self, console: Console, log: Log) -> None:
        self._start = time.perf_counter()
        self._bar: Any = None
        if console.is_terminal:
            self._bar, self._task = _bar(console, "reading", log)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, position: Position) -> None:
        """Show how far it is."""
        if self._bar is not None:
            rate = position.rows / max(time.perf_counter() - self._start, 1e-9)
            self._bar.update(
                self._task,
                completed=position.bytes_read,
                numbers=f"{position.rows:,} rows, {rate:,.0f}/s",
            )


class Display:
    """Show a training; a context manager.

    Parameters
    ----------
    console : rich.console.Console
        On stderr.
    training : Training
        Before its first batch.
    quiet : bool
        Show nothing.
    """

    def __init__(self, console: Console, training: Training, quiet: bool) -> None:
        self._console, self._quiet = console, quiet
        self._start = time.perf_counter()
        self._first = training.examples
        self._next_line = 1
        self._last = [0.0, 0.0]  # examples and summed loss of the last line
        self._bar: Any = None
        if console.is_terminal and not quiet:
            self._bar, self._task = _bar(console, "pass 1", training.log)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        elif not self._quiet:
            self._console.print(HEADING, markup=False, highlight=False)
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self._start

    def rate(self, training: Training) -> float:
        """Return how many examples were learned a second."""
        return (training.examples - self._first) / max(self.seconds, 1e-9)

    def __call__(self, training: Training) -> None:
        """Show how far it is."""
        board = training.progressive
        if self._quiet or board is None:
            return
        if self._bar is not None:
            logloss, ne, auc, _ = quality(board.metrics())
            self._bar.update(
                self._task,
                description=f"pass {min(training.pass_number + 1, training.passes)}",
                completed=training.bytes_read,
                numbers=f"{training.examples:,} rows, {self.rate(training):,.0f}/s"
                f"  logloss {logloss}  NE {ne}  AUC {auc}{on_cluster(training)}",
            )
        elif training.pass_number == 0 and training.examples >= self._next_line:
            self._line(training)

    def _line(self, training: Training) -> None:
        assert training.progressive is not None
        examples = training.examples
        while self._next_line <= examples:
            self._next_line *= 2
        weight, _, loss, _ = map(float, training.progressive.sums)
        since = (loss - self._last[1]) / max(weight - self._last[0], 1.0)
        self._last = [weight, loss]
        logloss, ne, auc, calibration = quality(training.progressive.metrics())
        self._console.print(
            f"{examples:12,}  {logloss:>8}  {since:10.5f}  {ne:>7}  {auc:>6}  {calibration:>11}"
            f"  {self.rate(training):9,.0f}{on_cluster(training)}",
            markup=False,
            highlight=False,
        )
