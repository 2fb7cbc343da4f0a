"""The options of ``adagrad train``: a learner from them, and from a file both again."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pyarrow as pa

from adagrad._text import did_you_mean
from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.learners.estimator import ClickLearner
from adagrad.ctr.learners.factorization import FactorizationMachine, FieldAwareFactorizationMachine
from adagrad.ctr.learners.logistic import LogisticRegression
from adagrad.ctr.training.pipeline import is_libsvm
from adagrad.presets import preset

__all__ = ["Options", "is_trained_on_logs", "packed", "plain"]


@dataclasses.dataclass(frozen=True)
class Options:
    """What decides the bits of a model, given its log: the options of ``adagrad train``.

    Attributes are named as there; `dashes` become underscores.
    """

    label: str
    model_type: str = "lr"
    lr: float | str = "auto"
    bits: int = 22
    l1: float = 0.0
    l2: float = 0.0
    factors: int | None = None
    preset: str | None = None
    seed: int = 0
    columns: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    numeric: str = "log2-bins"
    cross: tuple[tuple[str, ...], ...] = ()
    skip_bad: bool = False

    def estimator(self, schema: pa.Schema) -> ClickLearner:
        """Return a learner for a log with these columns, before its first example."""
        params: dict[str, Any] = {"lr": self.lr, "l1": self.l1, "l2": self.l2}
        if self.preset is not None:
            # Some presets have no rate of their own; "auto" finds one in any case.
            params["rule"] = preset(self.preset, lr=0.1 if self.lr == "auto" else self.lr)
        if not is_libsvm(schema, self.label):
            params["encoder"] = self._encoder(schema)
        elif self.model_type == "ffm":
            raise ValueError("a field-aware machine needs fields, which libsvm logs do not have")
        elif self.cross or self.categorical:
            raise ValueError("libsvm logs have ids, not columns: no --cross, no --categorical")
        estimator = self._learner(params)
        estimator._rule()  # tells now what is wrong with it, not after the first batch
        return estimator

    def _learner(self, params: dict[str, Any]) -> ClickLearner:
        if self.model_type == "lr":
            if self.factors is not None:
                raise ValueError("--factors is for --model-type fm and ffm")
            return LogisticRegression(**params)
        kind = {"fm": FactorizationMachine, "ffm": FieldAwareFactorizationMachine}[self.model_type]
        if self.factors is not None:
            params["factors"] = self.factors
        return kind(seed=self.seed, **params)

    def _encoder(self, schema: pa.Schema) -> HashingEncoder:
        names = [name for name in schema.names if name != self.label]
        for name in self.categorical:
            if name not in names:
                raise ValueError(
                    f"--categorical: the log has no column {name!r}, but {names}"
                    + did_you_mean(name, names)
                )
        kinds: dict[str, Any] = {
            name: "categorical" if name in self.categorical else None
            for name in names
            if name not in self.ignore
        }
        if not kinds:
            raise ValueError(f"no column is left as a feature; the log has {schema.names}")
        encoder = HashingEncoder(self.bits, kinds, numeric=self.numeric, crosses=self.cross)  # type: ignore[arg-type]
        return encoder.fit(schema.empty_table())


def is_trained_on_logs(extra: Any) -> tuple[Options, pa.Schema]:
    """Return the options and features of a model file, from its `extra`.

    Raises
    ------
    ValueError
        Where it was not written by ``adagrad train``.
    """
    if not isinstance(extra, dict) or "training" not in extra:
        raise ValueError("the model was not trained by adagrad train: its columns are unknown")
    state = extra["training"]
    given = {
        name: _tuples(value) if isinstance(value, list) else value
        for name, value in state["options"].items()
    }
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(state["schema"])))
    return Options(**given), schema


def plain(options: Options) -> dict[str, Any]:
    """Return options as JSON gives them back."""
    return {
        name: _lists(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(options).items()
    }


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def packed(schema: pa.Schema) -> str:
    """Return a schema as text, for a file."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()
