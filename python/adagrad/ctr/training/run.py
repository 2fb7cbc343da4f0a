"""Training on a log: batches in, a model file out, from which training can resume.

``adagrad train`` runs it; parsing of options and printing belong there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from adagrad._text import broken_rows, counted, listed
from adagrad.ctr.learners import files
from adagrad.ctr.logs.log import Log
from adagrad.ctr.logs.rows import LogError
from adagrad.ctr.training.curve import batch_cuts, extended_curve
from adagrad.ctr.training.digest import hash_of
from adagrad.ctr.training.encoders import encoder_of
from adagrad.ctr.training.evaluation import Look, evaluate
from adagrad.ctr.training.pipeline import Encoded, HashOf, encoded
from adagrad.ctr.training.resumable import ResumableTraining
from adagrad.ctr.training.rounds import Part, rechunked, up_to_the_last_round
from adagrad.ctr.training.sample import relearned
from adagrad.ctr.training.stop import Interrupted, Stop
from adagrad.ctr.training.unfinished import Unfinished, round_start

__all__ = ["Training"]


class Training(ResumableTraining):
    """The training of one model on one log, with what `ResumableTraining` describes."""

    def run(
        self,
        show: Callable[[Training], None] = lambda training: None,
        *,
        validate: Callable[[], Log] | None = None,
        stop: Stop | None = None,
        look: Look | None = None,
    ) -> None:
        """Train to the end and write the model file.

        Parameters
        ----------
        show : callable
            Called after each point of the curve and after each batch.
        validate : callable, optional
            Opens the held-out log, once after each pass.
        stop : Stop, optional
            Checked before each batch.
        look : callable, optional
            Called with the first batch that was read, before it is learned.

        Raises
        ------
        Interrupted
            A signal arrived. The file is written, unless nothing is learned yet.
        LogError
            A row is broken. The file holds what was learned before it.
        ResumeError
            The rows that the model file has learned are not those of the log.
        """
        stop = stop or Stop()
        self._look = look
        self.prepare()
        while not self.is_complete:
            batches = self._batches()
            try:
                for part in up_to_the_last_round(
                    batches, self.log.rows, lambda: self._learned_or_held, stop
                ):
                    self._learn(part, show)
                    due = self.examples - self._saved >= self.checkpoint_every
                    if due and not self.best_pass:
                        self.save()
            except Interrupted:
                if self.best_pass:
                    self._load_best()
                else:
                    self.save()
                raise
            except LogError as error:
                if self.best_pass or self._is_checking or self.learned <= 0:
                    raise
                self.save()
                way_on = (
                    f"; {counted(self.learned, 'example')} before it are saved in {self.saved_in}"
                )
                if not error.stops:
                    way_on += ": repair it or give --skip-bad, and continue with --resume"
                raise LogError(
                    error.path, error.line, error.reason + way_on, error.label, error.stops
                ) from None
            finally:
                batches.close()
            self._end_pass(validate)
            if self.best_pass in (0, self.pass_number):
                self.save()
            show(self)
        if self.best_pass not in (0, self.pass_number):
            self._load_best()
        self._checkpoint.publish()

    def _batches(self) -> Generator[Encoded, None, None]:
        """Return the rest of the pass."""
        if self._is_checking:
            batches = self._first_pass.rest(self._encoded(), self.log_identity)
        else:
            batches = self._encoded(self.rows, None if self.pass_number else hash_of)
        if self.start is None or self.pass_number:
            return batches
        return rechunked(batches, self.log.rows, self._learned_or_held)

    def _encoded(self, start: int = 0, of: HashOf | None = None) -> Generator[Encoded, None, None]:
        return encoded(self.log, self.encoder, start, of, self.estimator.negative_rate)

    @property
    def _learned_or_held(self) -> int:
        return self.examples + (0 if self._to_finish is None else len(self._to_finish.examples))

    def _load_best(self) -> None:
        self.estimator, _ = files.read(self._checkpoint.path)
        self.encoder = encoder_of(self.estimator)

    def _learn(self, part: Part, show: Callable[[Training], None]) -> None:
        """Learn a batch, cut where the curve has a point; one is at the end of a whole batch."""
        batch = part.batch
        if not len(batch.x):
            return
        if self.sample is None:
            self.sample = batch.batch
            if self._look is not None:
                self._look(self.sample)
        if self.pass_number == 0:
            self._first_pass.add(batch)
        examples, start = batch.labeled(self._of_classes), 0
        if self._to_finish is not None:
            examples, self._to_finish = self._to_finish.followed_by(examples), None
        seen, rows = self.examples, len(examples)
        points = batch_cuts(seen, rows)
        last_round = rows
        if part.is_last and self.passes == 1:
            last_round = round_start(seen + rows) - seen
        has_point = part.is_whole or rows in batch_cuts(seen, rows + 1)[:-1]
        for end in sorted({*points, *([last_round] if last_round > 0 else [])}):
            some = examples[start:end]
            if start == last_round:
                self._unfinished = Unfinished.before(self.estimator._model, some)
            if hasattr(self.estimator, "classes_"):
                some = self.estimator._weighted(some)
                count = self.pass_number == 0
                self.estimator._model.learn(some.x, some.y, some.weights, count=count)
            else:
                self.estimator.partial_fit(some.x, some.y, [0, 1], some.weights)
            start = end
            if end < rows and end in points:
                self._add_point(show)
        if self.examples < seen + rows:  # some have the weight 0, so rounds end elsewhere
            self._unfinished = None
        self.rows = batch.position.rows
        self.bytes_read, self.skipped = batch.position.bytes_read, batch.skipped
        if has_point:
            self._add_point(show)

    @property
    def _of_classes(self) -> tuple[float, float] | None:
        """The weights of both classes in a log of another rate than the model began with."""
        now, then = self.options.negative_rate, self.estimator.negative_rate
        return (then / now, 1.0) if isinstance(now, float) and now != then else None

    def _add_point(self, show: Callable[[Training], None]) -> None:
        last = self.curve[-1][0] if self.curve else 0.0
        counted = self._counted_before + self.learned
        if self.pass_number == 0 and counted > last:
            model = self.estimator._model
            self.curve = extended_curve(self.curve, model.progressive, counted, model.mixture)
        show(self)

    def _end_pass(self, validate: Callable[[], Log] | None) -> None:
        if self.pass_number == 0 and self.learned <= 0:
            why = broken_rows(self.log.skipped) if self.log.skipped else "the log has no rows"
            raise ValueError(f"{listed(self.log.paths, 3)}: no examples: {why}")
        self.skipped = self.log.skipped
        if self.pass_number == 0:
            sample, seed = self._first_pass.sample, self.options.seed
            fresh = None if self.start is None else self.start.model
            self.ordered = relearned(self.estimator, sample, seed, fresh)
        self.pass_number += 1
        self.rows = 0
        self.estimator.n_passes_ = self.pass_number
        if validate is not None:
            with validate() as log:
                rate = self.options.negative_rate
                # Rows of the same log that are held out lack the same share of negatives.
                is_same = log.paths == self.log.paths
                share = rate if isinstance(rate, float) and is_same else 1.0
                board = evaluate(self.estimator, log, negative_rate=share)
            self.validation.append(board.metrics())
            if self.best_pass in (0, self.pass_number):
                self.board = board
