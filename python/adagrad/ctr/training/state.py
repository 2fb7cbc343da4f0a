"""What a model file says of the log that its model learned from, checked before it is used.

``adagrad train`` notes its options, columns and progress in the `extra` of a file. A learner that
is loaded, learns on in Python and is saved keeps the columns: they stay true, the progress does
not. Of a learner from Python, the encoder names the columns.
"""

from __future__ import annotations

import os
import reprlib
from typing import TYPE_CHECKING, Any, NamedTuple

from adagrad.ctr.learners.progressive import METRICS
from adagrad.ctr.training.curve import is_point
from adagrad.ctr.training.history import check_history, is_scores, with_last_run
from adagrad.tables.tensors import TableFileError

if TYPE_CHECKING:
    import pyarrow as pa

    from adagrad.ctr.learners.estimator import ClickLearner
    from adagrad.ctr.training.encoders import Encoder

__all__ = [
    "Trained",
    "carried",
    "check_classes",
    "damaged",
    "kept",
    "saved_training",
    "trained_with",
]

StrPath = str | os.PathLike[str]

INIT = ("model", "examples", "scores", "changed", "history")
"""What a file says of the model that its training began from: the size and the hash of its file,
the examples that it had learned and the runs that trained it; the options that this run changed,
and its scores."""


class Trained(NamedTuple):
    """What a log needs for a model.

    Attributes
    ----------
    label : str or None
        The column that the model was trained to predict, if that is known.
    features : pyarrow.Schema
        The feature columns; see `adagrad.ctr.training.columns.feature_columns`.
    encoder : HashingEncoder or SlotEncoder
        Turns the columns into examples.
    """

    label: str | None
    features: pa.Schema
    encoder: Encoder


def kept(extra: Any) -> Any:
    """Return the part of an `extra` that stays true when a learner learns on from Python."""
    if not isinstance(extra, dict):
        return None
    state = extra.get("training")
    if isinstance(state, dict) and isinstance(state.get("options"), dict):
        return {"columns": {"label": state["options"].get("label"), "schema": state.get("schema")}}
    return {"columns": extra["columns"]} if "columns" in extra else None


def carried(path: StrPath, estimator: ClickLearner, extra: Any) -> dict[str, Any]:
    """Return the `extra` of a learner that was loaded: its columns, and the runs that trained it.

    Raises
    ------
    adagrad.TableFileError
        An entry is missing or damaged.
    """
    saved_training(path, extra)
    return {**(kept(extra) or {}), "history": with_last_run(path, estimator, extra)}


def saved_training(path: StrPath, extra: Any) -> dict[str, Any] | None:
    """Return what ``adagrad train`` noted in a model file; None if another program wrote it.

    Raises
    ------
    adagrad.TableFileError
        An entry is missing or damaged.
    """
    from adagrad.ctr.training.columns import schema_from_text
    from adagrad.ctr.training.options import Options

    if not isinstance(extra, dict):
        return None
    if "training" not in extra:
        try:
            check_history(extra.get("history", []))
        except TypeError as error:
            raise damaged(path, error) from error
        return None
    state: Any = extra["training"]
    try:
        _check_progress(state)
        Options.from_json(state["options"])
        schema_from_text(state["schema"])
    except (TypeError, ValueError) as error:
        raise damaged(path, error) from error
    found: dict[str, Any] = state
    return found


def trained_with(path: StrPath, estimator: ClickLearner, extra: Any) -> Trained:
    """Return what a log needs for the model in a file.

    Parameters
    ----------
    path : str or PathLike
    estimator : ClickLearner
    extra : object
        What `adagrad.ctr.learners.files.read` has returned for this path.

    Raises
    ------
    adagrad.TableFileError
        What the file says of its columns is damaged.
    ValueError
        The columns are not known, or the model did not learn from a log.
    """
    from adagrad.ctr.training.columns import schema_from_text
    from adagrad.ctr.training.encoders import encoder_of, is_libsvm

    state = saved_training(path, extra)
    columns = extra.get("columns") if isinstance(extra, dict) else None
    if state is not None:
        kind, of_options = estimator._model.settings.kind, state["options"].get("model_type", "lr")
        if of_options != kind:
            raise damaged(path, ValueError(f"a model of type {of_options:.20}, not {kind}"))
        columns = {"label": state["options"]["label"], "schema": state["schema"]}
    if columns is None:
        return _of_python(path, estimator)
    try:
        if not isinstance(columns, dict) or not isinstance(columns.get("label"), str):
            raise TypeError(f"the columns are {reprlib.repr(columns)}")
        features = schema_from_text(columns.get("schema"))
        if estimator.encoder is None and not is_libsvm(features, None):
            raise ValueError("it has columns, but no encoder for them")
        fields = set(getattr(estimator.encoder, "fields_", ()))
        if lacking := sorted(fields.difference(features.names)):
            raise ValueError(f"its schema lacks {reprlib.repr(lacking)}")
    except (TypeError, ValueError) as error:
        raise damaged(path, error) from error
    return Trained(columns["label"], features, encoder_of(estimator))


def _of_python(path: StrPath, estimator: ClickLearner) -> Trained:
    """Return what a log needs for a learner that was trained in Python."""
    import pyarrow as pa

    from adagrad.ctr.encoding.fields import CALENDAR
    from adagrad.ctr.logs.libsvm import FEATURES
    from adagrad.ctr.training.encoders import SlotEncoder

    encoder, settings = estimator.encoder, estimator._model.settings
    if encoder is not None:
        if not hasattr(encoder, "fields_"):
            raise ValueError(
                f"{path}: the encoder of the model has seen no columns, because the model learned"
                " from Examples: fit the encoder on the columns before you save"
            )
        # Text spells an id as it was; a log without types would turn 007 into 7. A moment may be
        # text, and one that is a number may be spelled.
        types = {True: pa.string(), False: pa.float64()}
        texts = ("categorical", CALENDAR)
        fields = ((name, types[kind in texts]) for name, kind in encoder.fields_.items())
        return Trained(None, pa.schema(fields), encoder)
    if hasattr(estimator, "feature_names_in_") or settings.kind == "ffm":
        raise ValueError(
            f"{path}: the model has no encoder, so that it cannot read a log: train it with"
            " encoder=HashingEncoder(), or predict with it in Python"
        )
    return Trained(None, FEATURES, SlotEncoder(settings.n_slots, hashes=False))


def check_classes(path: StrPath, classes: list[Any]) -> None:
    """Raise ValueError if the labels of a log do not mean the two classes of a model."""
    if classes not in ([0, 1], [-1, 1]):
        raise ValueError(
            f"{path}: the classes of the model are {classes[0]!r:.30} and {classes[1]!r:.30}, but"
            " the labels of a log are 0 and 1, -1 and +1, or false and true: evaluate it in Python"
        )


def _check_progress(state: Any) -> None:
    """Raise if the progress of a training is not what `Training.save` writes."""
    if not isinstance(state, dict):
        raise TypeError(f"training is {reprlib.repr(state)}")
    expected = ("options", "schema", "log", "pass", "rows", "curve", "validation", "skipped")
    if missing := [name for name in expected if name not in state]:
        raise ValueError(f"training lacks {', '.join(missing)}")
    checks = {
        "log": _are(state["log"], _is_identity),
        "pass": _is_count(state["pass"]),
        "rows": _is_count(state["rows"]),
        "curve": _are(state["curve"], lambda x: _are(x, _is_number) and is_point(x)),
        "validation": _are(state["validation"], _are_metrics),
        "skipped": isinstance(state["skipped"], dict)
        and all(map(_is_count, state["skipped"].values())),
        "learned": isinstance(state.get("learned", ""), str),
        "ordered": "ordered" not in state or _is_order(state["ordered"]),
        "unfinished": isinstance(state.get("unfinished", {}), dict),
        "init": "init" not in state or _is_init(state["init"]),
    }
    for name, fits in checks.items():
        if not fits:
            raise TypeError(f"{name} is {reprlib.repr(state[name])}")


def _are(values: Any, fits: Any) -> bool:
    return isinstance(values, list) and all(map(fits, values))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**63)


def _is_identity(value: Any) -> bool:
    if not (isinstance(value, list) and len(value) == 3):
        return False
    name, size, ends = value
    return (
        isinstance(name, str)
        and (size is None or _is_count(size))
        and (ends is None or isinstance(ends, str))
    )


def _are_metrics(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {*METRICS}
        and _are([*value.values()], _is_number)
    )


def _is_init(value: Any) -> bool:
    """Return whether this is what `Training.save` notes of the model that a training began from."""
    if not isinstance(value, dict) or value.keys() != {*INIT}:
        return False
    check_history(value["history"])
    return (
        isinstance(value["model"], list)
        and _is_count(value["examples"])
        and is_scores(value["scores"])
        and isinstance(value["changed"], dict)
    )


def _is_order(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"changes", "expected", "sample"}
        and all(map(_is_count, value.values()))
    )


def damaged(path: StrPath, error: BaseException) -> TableFileError:
    """Return the error for a file that says something of its training that cannot be."""
    return TableFileError(f"{path} is corrupted: what it says of its training: {error}")
