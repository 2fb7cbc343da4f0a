"""The options of ``adagrad train``: they make a learner, and a model file stores them."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import reprlib
import typing
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from adagrad._text import did_you_mean, listed
from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.learners.estimator import ClickLearner
from adagrad.ctr.learners.files import CLASSES
from adagrad.ctr.logs.multi import separators_in
from adagrad.ctr.training.encoders import is_libsvm
from adagrad.presets import preset

__all__ = ["Options", "as_typed", "option_name", "option_text"]


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of ``adagrad train`` that, with the log, decide the bits of a model.

    Attributes are named like the options, with underscores for dashes.
    """

    label: str
    model_type: str = "lr"
    lr: float | str = "auto"
    bits: int = 22
    l1: float = 0.0
    l2: float = 0.0
    half_life: float | None = None
    factors: int | None = None
    preset: str | None = None
    seed: int = 0
    columns: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    numeric: str = "log2-bins"
    calendar: tuple[str, ...] = ()
    cross: tuple[tuple[str, ...], ...] = ()
    multi: tuple[str, ...] = ()
    skip_bad: bool = False
    holdout_last: float | None = None
    weight: str | None = None
    negative_rate: float | str | None = None
    class_weight: tuple[str, ...] = ()

    @property
    def rate_column(self) -> str | None:
        """The column with the rates at which negatives were kept, if the log has one."""
        return self.negative_rate if isinstance(self.negative_rate, str) else None

    @property
    def has_weights(self) -> bool:
        """Whether examples weigh differently."""
        return bool(self.weight or self.rate_column or self.class_weight)

    @property
    def targets(self) -> dict[str, Any]:
        """The columns that are not features, by the keywords of `open_log`."""
        return {"label": self.label, "weight": self.weight, "negative_rate": self.rate_column}

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON reads them back, with lists for tuples."""
        return {name: _lists(value) for name, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Options:
        """Return the options that `to_json` wrote.

        Raises
        ------
        TypeError
            An option is not known, has a value of another type, or the label is missing.
        """
        if not isinstance(given, dict):
            raise TypeError(f"the options are {reprlib.repr(given)}")
        hints = typing.get_type_hints(cls)
        found = {name: _tuples(value) for name, value in given.items()}
        for name, value in found.items():
            if name not in hints or not _fits(value, hints[name]):
                raise TypeError(f"the option {name!r:.60} is {reprlib.repr(value)}")
        return cls(**found)

    def estimator(self, schema: pa.Schema, first: pa.Table | None = None) -> ClickLearner:
        """Return an untrained learner for a log with these columns, and these first rows.

        Raises
        ------
        ValueError
            The options contradict each other or the columns.
        """
        if self.lr == "auto":
            for name in ("preset", "l1", "l2"):
                if getattr(self, name):
                    raise ValueError(f"--{name} needs a fixed rate: give --lr, such as --lr 0.1")
        elif self.half_life is not None:
            raise ValueError("--half-life needs --lr auto")
        params: dict[str, Any] = {
            name: getattr(self, name) for name in ("lr", "l1", "l2", "half_life")
        }
        if isinstance(self.negative_rate, float):
            params["negative_rate"] = self.negative_rate
        elif self.negative_rate is not None and first is not None:
            params["negative_rate"] = _usual_rate(first, self.label, self.negative_rate)
        if self.class_weight:
            weights = (part.split(":") for part in self.class_weight)
            params["class_weight"] = {int(label): float(weight) for label, weight in weights}
        if self.preset is not None:
            params["rule"] = preset(self.preset, lr=self.lr)
        if not is_libsvm(schema, self.label):
            params["encoder"] = self.encoder(schema, first)
        elif self.model_type == "ffm":
            raise ValueError("--model-type ffm needs fields, which libsvm logs do not have")
        elif self.cross or self.categorical or self.numbers or self.calendar:
            raise ValueError(
                "--cross, --categorical, --numbers and --calendar need columns, but libsvm logs"
                " have ids"
            )
        estimator = self._learner(params)
        estimator._rule()  # raises now what would otherwise surface after the first batch
        return estimator

    def encoder(self, schema: pa.Schema, first: pa.Table | None = None) -> HashingEncoder:
        """Return an encoder of all columns but the label and the ignored ones.

        The first rows say which integers are ids; without them, all are numbers.
        """
        names = [name for name in schema.names if name not in self.targets.values()]
        kinds: dict[str, Any] = {name: None for name in names if name not in set(self.ignore)}
        given = (("categorical", self.categorical), ("numbers", self.numbers))
        for option, columns in (*given, ("calendar", self.calendar)):
            for name in columns:
                if name not in names:
                    raise ValueError(
                        f"--{option}: no column {name!r}; the columns are {listed(names, 50)}"
                        + did_you_mean(name, names)
                    )
                if kinds.get(name) is not None:
                    raise ValueError(f"--{option}: {name!r} is declared {kinds[name]} as well")
                if name in kinds:
                    kinds[name] = {"numbers": "numeric"}.get(option, option)
        if not kinds:
            raise ValueError(
                f"no feature column is left; the columns are {listed(schema.names, 50)}"
            )
        encoder = HashingEncoder(self.bits, kinds, numeric=self.numeric, crosses=self.cross)  # type: ignore[arg-type]
        encoder._fit(schema.empty_table() if first is None else _whole(first, self.numbers))
        separators = separators_in(schema)
        if known := {name: separators[name] for name in encoder.fields_ if name in separators}:
            encoder.separators_ = known
        return encoder

    def _learner(self, params: dict[str, Any]) -> ClickLearner:
        if self.model_type != "lr":
            params["seed"] = self.seed
        if self.factors is not None:
            if self.model_type == "lr":
                raise ValueError("--factors needs --model-type fm or ffm")
            params["factors"] = self.factors
        return CLASSES[self.model_type](**params)


def _whole(first: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return the first rows with integers for floats that are whole: they may look like ids."""
    for name in names:
        position = first.schema.get_field_index(name)
        if position >= 0 and pa.types.is_floating(first.schema.field(position).type):
            with contextlib.suppress(pa.ArrowInvalid):  # a fraction
                column = first.column(position).cast(pa.int64())
                first = first.set_column(position, name, column)
    return first


def _usual_rate(first: pa.Table, label: str, rate: str) -> float:
    """Return the median rate of the negatives in the first rows of a log.

    The model learns as if all negatives had been kept at this rate: the weights of most are near 1,
    at which learners are best, and a column of one rate gives the bits of that rate.
    """
    rates = first.column(rate).filter(pc.equal(first.column(label), 0.0)).to_numpy()
    # By its digits, so that 0.1 in float32 is 0.1.
    return float(str(np.sort(rates)[len(rates) // 2])) if len(rates) else 1.0


def option_name(field: str) -> str:
    """Return the option that sets a field of `Options`."""
    return "--" + field.replace("_", "-")


def option_text(value: Any) -> str:
    """Return the value of an option as it is typed: ``"site,ad"``, ``"site*ad"``."""
    if not isinstance(value, (list, tuple)):
        return str(value)
    return ",".join("*".join(item) if not isinstance(item, str) else item for item in value)


def as_typed(name: str, value: Any) -> str:
    """Return an option as it is typed: "with --lr 0.1", "without --skip-bad"."""
    if value is None or value is False or value in ((), []):
        return f"without {option_name(name)}"
    return f"with {option_name(name)}" + ("" if value is True else f" {option_text(value):.200}")


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value from JSON has the type of an option."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:  # of any length
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if arguments:  # a union
        return any(_fits(value, one) for one in arguments)
    if hint is float:
        return type(value) in (int, float) and -math.inf < value < math.inf
    return type(value) is hint


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
