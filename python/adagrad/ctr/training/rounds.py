"""The batches of a pass, cut so that a training that stops in it can go on with the same bits.

A model learns its examples in rounds, whose ends depend on the number of examples alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from adagrad.ctr.logs.rows import LogError
from adagrad.ctr.training.curve import ROUND
from adagrad.ctr.training.pipeline import Encoded
from adagrad.ctr.training.stop import Interrupted, Stop

__all__ = ["up_to_the_last_round"]


def up_to_the_last_round(
    batches: Iterator[Encoded], rows: int, learned: Callable[[], int], stop: Stop
) -> Generator[tuple[Encoded, bool], None, None]:
    """Yield the batches, and whether each is whole; then raise the error that ends them.

    Of the batch before an error, only the whole rounds are yielded. From there, training resumes
    with the bits of a training without the error.

    Parameters
    ----------
    batches : iterator of Encoded
    rows : int
        Rows of every batch except the last one.
    learned : callable
        Returns the number of examples that the model has learned, which is asked before each batch.
    stop : Stop
        Checked before each batch.
    """
    batch = stop.wait(batches)
    while batch is not None:
        following = error = None
        beyond = (learned() + len(batch.x)) % ROUND
        may_be_last = len(batch.x) < rows or beyond
        if may_be_last:
            try:
                following = stop.wait(batches)
            except (LogError, Interrupted) as raised:
                error = raised
        if error is not None:
            yield batch.before(max(0, len(batch.x) - beyond)), False
            raise error
        yield batch, True
        batch = following if may_be_last else stop.wait(batches)
