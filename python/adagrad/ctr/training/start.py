"""What a training begins from: the model of earlier logs, with its options and its columns."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import adagrad._core as _core
from adagrad.ctr.learners import files
from adagrad.ctr.learners.progressive import Progressive
from adagrad.ctr.training.history import hash_of_log, with_last_run
from adagrad.ctr.training.identity import is_recognized
from adagrad.ctr.training.options import Options, as_typed, option_name
from adagrad.ctr.training.state import check_classes, damaged, saved_training, trained_with
from adagrad.ctr.training.unfinished import Unfinished

if TYPE_CHECKING:
    import pyarrow as pa

    from adagrad.ctr.encoding.encoder import HashingEncoder
    from adagrad.ctr.learners.estimator import ClickLearner
    from adagrad.ctr.learners.model import Model
    from adagrad.ctr.training.encoders import Encoder

__all__ = ["Start"]

RETUNED = ("lr", "l1", "l2")
"""The options that a run may change, if a model can learn on with the change."""

OF_LOG = ("weight", "negative_rate")
"""The options that say what the log of a run is like, if they are given."""

PER_RUN: dict[str, Any] = {"skip_bad": False, "holdout_last": None}
"""The options that say nothing of the model and are those of each run, with their defaults."""

_CHUNK = 16 << 20


@dataclasses.dataclass
class Start:
    """The model that a training begins from.

    Attributes
    ----------
    path : Path
        Its file.
    identity : list
        Size and hash of the file.
    version : tuple of int
        What differs as soon as the file is replaced or written.
    estimator : ClickLearner
        The model with the options of this run, up to the round that this run finishes.
    options : Options
        Its options and those of this run.
    changed : dict
        The options that this run changes, as JSON.
    features : pyarrow.Schema
        Its feature columns.
    encoder : HashingEncoder or SlotEncoder
        Turns them into examples.
    examples : int
        Number of examples that it has learned.
    progressive : Progressive
        The metrics of its predictions.
    history : list of dict
        The runs that trained it; see `with_last_run`.
    state : dict or None
        What ``adagrad train`` noted in the file.
    unfinished : Unfinished or None
        The last round, which the estimator has still to learn.
    """

    path: Path
    identity: list[Any]
    version: tuple[int, ...]
    estimator: ClickLearner
    options: Options
    changed: dict[str, Any]
    features: pa.Schema
    encoder: Encoder
    examples: int
    progressive: Progressive
    history: list[dict[str, Any]]
    state: dict[str, Any] | None
    unfinished: Unfinished | None

    @classmethod
    def read(cls, path: str | os.PathLike[str], given: dict[str, Any]) -> Start:
        """Read a model file.

        Parameters
        ----------
        path : str or PathLike
            From ``adagrad train`` or the `save` of a learner.
        given : dict
            The options of `Options` that the user has given; those of the model hold for all
            others.

        Raises
        ------
        adagrad.TableFileError
            The file does not hold a model, or is damaged.
        ValueError
            An option contradicts the model, which may also lack a label or an encoder.
        """
        path = Path(path)
        version, identity = _version(path), _identity(path)
        estimator, extra = files.read(path)
        trained = trained_with(path, estimator, extra)
        state = saved_training(path, extra)
        if state is not None and state["rows"]:
            raise ValueError(
                f"{path} holds a training that has stopped after {state['rows']:,} rows of a pass:"
                " continue it with --resume, before another log begins from it"
            )
        check_classes(path, estimator.classes_.tolist())
        if isinstance(estimator.class_weight, str):
            raise ValueError(
                f"{path} was trained with class_weight={estimator.class_weight!r}, which needs all"
                " labels at once: learn on in Python, with weights for the classes"
            )
        label = trained.label or given.get("label")
        if label is None:
            raise ValueError(
                f"{path} was saved from Python and does not say which column is the label: name it"
                " with --label"
            )
        if state is not None:
            before = Options.from_json(state["options"])
        else:
            before = _options_of(estimator, label)
        options = _combined(path, before, estimator._model.settings.factors, given)
        one, other = before.to_json(), options.to_json()
        changed = {name: value for name, value in other.items() if value != one[name]}
        _retune(path, estimator, options, changed)
        model = estimator._model
        examples, progressive = model.examples, Progressive.restore(model.progressive.state())
        history = with_last_run(path, estimator, extra)
        unfinished = _taken_back(path, model, state)
        return cls(
            path,
            identity,
            version,
            estimator,
            options,
            changed,
            trained.features,
            trained.encoder,
            examples,
            progressive,
            history,
            state,
            unfinished,
        )

    def is_file(self, path: Path) -> bool:
        """Return whether a path is the file of the model, by any name."""
        return path.exists() and path.samefile(self.path)

    def is_current(self) -> bool:
        """Return whether the file of the model is still what the training began from."""
        try:
            return _version(self.path) == self.version or _identity(self.path) == self.identity
        except FileNotFoundError:
            return False

    def run_of(self, log: list[list[Any]]) -> int | None:
        """Return the number of the last run that has learned exactly this log, from 1, if any."""
        wanted, number, found = hash_of_log(log), 0, None
        for entry in self.history if is_recognized(log) else ():
            number += entry["runs"]
            if entry["log"] is not None and entry["log"]["hash"] == wanted:
                found = number
        return found

    def model(self) -> Model:
        """Return the model as it was at the start.

        Raises
        ------
        ValueError
            Its file has changed.
        """
        if not self.is_current():
            raise ValueError(f"{self.path} has changed since the training began from it")
        estimator, _ = files.read(self.path)
        _retune(self.path, estimator, self.options, self.changed)
        return estimator._model


def _taken_back(path: Path, model: Model, state: dict[str, Any] | None) -> Unfinished | None:
    """Take the last round back from a model, and return it; None if the model has none."""
    if state is None or "unfinished" not in state:
        return None
    try:
        unfinished = Unfinished.from_json(state["unfinished"], model)
        unfinished.undo(model)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise damaged(path, error) from error
    return unfinished


def _version(path: Path) -> tuple[int, ...]:
    """Return what tells a file from those before it, without reading it."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _identity(path: Path) -> list[Any]:
    """Return the size and a hash of a file."""
    size = found = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size, found = size + len(chunk), _core.xxh64(chunk, found)
    return [size, f"{found:016x}"]


def _combined(path: Path, before: Options, factors: int, given: dict[str, Any]) -> Options:
    """Return the options of a model, with those of a new run that it may change."""
    options = dataclasses.replace(
        before, **{name: given.get(name, default) for name, default in PER_RUN.items()}
    )
    for name, value in given.items():
        known = getattr(before, name)
        if name == "cross":
            known = tuple(map("*".join, known))
        elif name == "factors":
            known = factors
        if name in PER_RUN or value == known or not (value or known):
            continue
        if name in OF_LOG:
            options = dataclasses.replace(options, **{name: value})
            continue
        if name not in RETUNED or "auto" in (known, value) or not (value and known):
            raise ValueError(
                f"{path} was trained {as_typed(name, known)}, not {as_typed(name, value)}: leave"
                f" {option_name(name)} out, or train a new model"
            )
        options = dataclasses.replace(options, **{name: value})
    return options


def _retune(path: Path, estimator: ClickLearner, options: Options, changed: dict[str, Any]) -> None:
    """Give a learner the rate and the penalties of the options."""
    retuned = {name: getattr(options, name) for name in RETUNED if name in changed}
    if not retuned:
        return
    estimator.set_params(**retuned)
    model = estimator._model
    wanted = dataclasses.replace(
        model.settings, rule=estimator._rule(), l1=options.l1, l2=options.l2
    )
    model.settings.check_change(wanted)
    model.retune(wanted)


def _options_of(estimator: ClickLearner, label: str) -> Options:
    """Return the options that come closest to a learner from Python."""
    settings = estimator._model.settings
    encoder: HashingEncoder | None = estimator.encoder
    of_encoder: dict[str, Any] = {}
    if encoder is not None:
        crosses = tuple(map(tuple, encoder.crosses))
        of_encoder = {"bits": encoder.bits, "numeric": encoder.numeric, "cross": crosses}
    return Options(
        label=label,
        model_type=settings.kind,
        lr="auto" if settings.rule is None else settings.rule.lr,
        l1=settings.l1,
        l2=settings.l2,
        half_life=settings.half_life,
        factors=settings.factors or None,
        seed=settings.seed,
        negative_rate=None if settings.negative_rate == 1.0 else settings.negative_rate,
        class_weight=_class_weights(estimator),
        **{"bits": (settings.n_slots - 1).bit_length(), **of_encoder},
    )


def _class_weights(estimator: ClickLearner) -> tuple[str, ...]:
    """Return the class weights of a learner as an option, with 0 and 1 for its classes."""
    given = estimator.class_weight
    if not isinstance(given, Mapping):
        return ()
    weights = [float(given.get(label, 1.0)) for label in estimator.classes_.tolist()]
    return tuple(f"{k}:{weight:g}" for k, weight in enumerate(weights))
