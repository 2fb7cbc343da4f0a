"""The batches of a pass, cut so that a training resumes with the same bits.

A model learns its examples in rounds, whose ends depend on the number of examples alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

from adagrad.ctr.logs.rows import LogError
from adagrad.ctr.training.curve import ROUND
from adagrad.ctr.training.pipeline import Encoded
from adagrad.ctr.training.stop import Interrupted, Stop

__all__ = ["Part", "rechunked", "up_to_the_last_round"]


def rechunked(
    batches: Generator[Encoded, None, None], rows: int, learned: int
) -> Generator[Encoded, None, None]:
    """Yield the rows of a log in the batches of one run over all logs that a model has learned.

    Parameters
    ----------
    batches : generator of Encoded
    rows : int
        Rows of a batch.
    learned : int
        Examples that the model has learned before. The number of all of them is a multiple of
        `rows` at the end of each batch but the last one.
    """
    held: Encoded | None = None
    with contextlib.closing(batches):
        try:
            for following in batches:
                batch = following if held is None else held.joined(following)
                while (room := rows - learned % rows) <= len(batch.x):
                    yield batch if room == len(batch.x) else batch.before(room)
                    learned += room
                    batch = batch.after(room)
                held = batch if len(batch.x) else None
        except LogError:
            if held is not None:
                yield held
            raise
        if held is not None:
            yield held


class Part(NamedTuple):
    """A batch to learn.

    Attributes
    ----------
    batch : Encoded
    is_whole : bool
        Whether no error has cut it.
    is_last : bool
        Whether the log ends with it. This may be False if it ends with a round.
    """

    batch: Encoded
    is_whole: bool = True
    is_last: bool = False


def up_to_the_last_round(
    batches: Iterator[Encoded], rows: int, learned: Callable[[], int], stop: Stop
) -> Generator[Part, None, None]:
    """Yield the batches; then raise the error that ends them.

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
            yield Part(batch.before(max(0, len(batch.x) - beyond)), is_whole=False)
            raise error
        yield Part(batch, is_last=bool(may_be_last) and following is None)
        batch = following if may_be_last else stop.wait(batches)
