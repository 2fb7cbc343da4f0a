"""The model of a click learner: tables, bias and counts, which learn from batches of examples.

The estimators, the training loop, the demo and the cluster train it, and `file_format` writes it.
It knows neither scikit-learn nor files.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad._arguments import check_storable
from adagrad.ctr.encoding.examples import REGIONS, Examples
from adagrad.ctr.learners.mixture import ROW_COLUMNS, Mixture
from adagrad.ctr.learners.pairs import PAIR_RULE, PairMixing
from adagrad.ctr.learners.progressive import Progressive
from adagrad.ctr.learners.stored_rows import differing
from adagrad.rule import Rule
from adagrad.tables.table import Table

__all__ = [
    "Kind",
    "Model",
    "Settings",
    "check_penalties",
    "gradients",
    "layouts",
    "learn_first",
    "linear_learner",
    "new_rows",
    "penalized_weights",
    "row_columns",
    "table_of",
    "tensor_shapes",
]

_RETUNABLE = frozenset({"l1", "l2", "lr", "lr_decay", "weight_decay"})
_FROM_EXAMPLES = frozenset({"n_slots", "n_fields", "parts", "rule"})
# The options that a rule must leave alone for l1 and l2.
_OF_PENALIZED_RULES = (
    *("lr_decay", "weight_decay", "power", "accumulator_decay", "lagged", "maximize"),
    *("scale", "clip_value", "statistic", "skip_zero_accumulator"),
)

_FTRL = "ftrl"  # the tensor of the table "linear" of a model with penalties
_LARGEST_ROUNDS = 1 << 20
"""Examples after which rounds grow no further."""

Kind = Literal["lr", "fm", "ffm"]
Floats = npt.NDArray[np.float32]
Slots = npt.NDArray[np.uint32]
Memory = Mapping[str, npt.NDArray[Any] | None]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that determines a model before its first example.

    Attributes
    ----------
    kind : {"lr", "fm", "ffm"}
        Logistic regression, factorization machine, field-aware factorization machine.
    n_slots : int
        Number of rows of each table.
    rule : Rule or None
        The update rule, including the rate. The bias is stepped without weight decay. None for a
        mixture of experts, which has no rate to choose.
    l1, l2 : float
        Penalties. Unless both are 0, the linear params are learned by FTRL-proximal, and `l2` is
        the coupled weight decay of factors.
    intercept : bool
        Whether there is a bias.
    factors : int
        Length of the vectors of a factorization machine; 0 for "lr".
    n_fields : int
        Number of fields of a field-aware factorization machine; 0 for the others.
    parts : int
        Number of parts into which its fields are divided: 2 if each field keeps to the slots of one
        region, as with `HashingEncoder`, else 1. Threads share the work by pairs of parts.
    init_scale : float
        Standard deviation of the initial factors.
    normalize : bool
        Whether the values of each example are divided by their Euclidean length in the pairs.
    seed : int
        Seed of the initial factors.
    half_life : float, optional
        Number of examples in which a mixture forgets half of what it has seen.
    """

    kind: Kind
    n_slots: int
    rule: Rule | None
    l1: float = 0.0
    l2: float = 0.0
    intercept: bool = True
    factors: int = 0
    n_fields: int = 0
    parts: int = 1
    init_scale: float = 0.0
    normalize: bool = False
    seed: int = 0
    half_life: float | None = None

    @property
    def fixed_rule(self) -> Rule:
        """The rule of a model that is not a mixture."""
        assert self.rule is not None
        return self.rule

    @property
    def is_penalized(self) -> bool:
        """Whether the linear params are learned by FTRL-proximal."""
        return bool(self.l1 or self.l2)

    def rule_of(self, table: str) -> Rule:
        """Return the rule of a table: that of factors has the L2 penalty as its weight decay."""
        if self.rule is None:
            return PAIR_RULE
        of_factors = self.l2 and table != "linear"
        return self.rule.replace(weight_decay=self.l2) if of_factors else self.rule

    def check_change(self, wanted: Settings) -> None:
        """Raise ValueError if a model with these settings cannot go on with others.

        Sizes that the examples decide are not compared.
        """
        if (self.rule is None) != (wanted.rule is None):
            before, after = (
                "auto" if rule is None else "a number" for rule in (self.rule, wanted.rule)
            )
            raise ValueError(
                f"lr was {before} when the model began and cannot become {after}: fit a new model,"
                " or a clone"
            )
        if self.is_penalized != wanted.is_penalized:
            before, after = (
                f"l1={x.l1!r} and l2={x.l2!r}" if x.is_penalized else "no penalty"
                for x in (self, wanted)
            )
            raise ValueError(
                f"the model began with {before} and cannot go on with {after}, because penalties"
                " need another state of every slot: fit a new model, or a clone"
            )
        pairs: list[tuple[Any, Any]] = [(self, wanted)]
        if self.rule is not None:
            pairs.append((self.rule, wanted.rule))
        for old_fields, new_fields in pairs:
            for name in (field.name for field in dataclasses.fields(old_fields)):
                old, new = getattr(old_fields, name), getattr(new_fields, name)
                if old != new and name not in _RETUNABLE | _FROM_EXAMPLES:
                    raise ValueError(
                        f"{name} was {old!r} when the model began and cannot become {new!r}: fit a"
                        " new model, or a clone"
                    )


class Model:
    """A model, the number of examples it has learned, and its progressive metrics.

    Parameters
    ----------
    settings : Settings
        What to begin with.

    Attributes
    ----------
    settings : Settings
        As given, or as last retuned.
    tables : dict of str to Table
        Params and accumulators by name: "linear" [n_slots]; for a factorization machine also
        "factors" [n_slots, factors]; for a field-aware one "factors0" and possibly "factors1", with
        `factors` numbers for each field of the part. With penalties, the params of "linear" are
        the z of FTRL-proximal (cpp/ctr/proximal.hpp): see `linear`. Beside a mixture there is no
        table "linear", and factors have the rule `PAIR_RULE`.
    mixture : Mixture or None
        The linear part of a model without a rule.
    pair_mixing : PairMixing or None
        How its margin and the pairs are combined, in a factorization machine without a rule.
    bias : ndarray of float32, shape [2], or None
        The bias and its accumulator; None as well for a mixture, which has its own.
    examples : int
        Number of examples learned, in all passes.
    progressive : Progressive
        Metrics of the predictions made before learning.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.examples = 0
        self.progressive = Progressive()
        self.mixture: Mixture | None = None
        self.pair_mixing: PairMixing | None = None
        self.tables = {
            name: Table(settings.n_slots, rule=settings.rule_of(name), **layout)
            for name, layout in layouts(settings).items()
        }
        self.bias: Floats | None = None
        if settings.rule is None:
            self.mixture = Mixture(settings.n_slots, settings.intercept, settings.half_life)
            if settings.kind != "lr":
                self.pair_mixing = PairMixing(settings.intercept, settings.half_life)
        elif settings.intercept:
            self.bias = np.array([0.0, settings.rule.initial_accumulator], np.float32)
        self._connect()

    def _connect(self) -> None:
        if self.mixture is None or self.pair_mixing is not None:
            self._learner = _learner(self.settings, self._memory, self.bias)

    @property
    def _memory(self) -> Memory:
        return {name: table._memory for name, table in self.tables.items()}

    def learn(
        self,
        x: Examples,
        y: Floats,
        weights: Floats | None = None,
        *,
        threads: int = 0,
        count: bool = True,
    ) -> Floats:
        """Predict each example, then learn from it, in order.

        Parameters
        ----------
        x : Examples
            n examples with as many slots as the model.
        y : ndarray of float32, shape [n]
            Labels, 0 or 1.
        weights : ndarray of float32, shape [n], optional
            Factors of the gradients, above 0: see `LabeledExamples.with_weight`.
        threads : int, default 0
            The most threads to use; 0 means `adagrad.get_num_threads()`. The bits do not depend on
            it.
        count : bool, default True
            Whether the predictions count in `progressive`, and teach the weights of a mixture's
            experts. False for examples learned before.

        Returns
        -------
        ndarray of float32, shape [n]
            The predicted margins; those of a mixture are guarded.
        """
        if self.mixture is not None:
            t, mixed = self.examples, None
            if self.pair_mixing is not None:
                self._learner.check(x)  # before anything learns
                mixed = np.empty(len(x), np.float32)
            margins = self.mixture.learn(
                x, y, weights, t, mixes=count, threads=threads, mixed=mixed
            )
            if self.pair_mixing is not None and mixed is not None:
                # Margins of the mixture do not depend on the pairs, so these may learn after it.
                pairs = self._learner.learn(x, y, weights, t, threads, mixed)
                margins = self.pair_mixing.mix(mixed, margins, pairs, y, weights, learns=count)
        else:
            margins = self._learner.learn(x, y, weights, self.examples, threads)
        self.examples += len(x)
        if count:
            self.progressive.add(margins, y, weights)
        return margins

    def margins(self, x: Examples, *, threads: int = 0) -> Floats:
        """Return the margins (log-odds) of n examples: float32, shape [n]."""
        if self.mixture is None:
            return self._learner.margins(x, threads)
        if self.pair_mixing is None:
            return self.mixture.margins(x, threads=threads)
        slope, offset, scale = self.pair_mixing.exported()
        linear = self.mixture.margins(x, slope, offset, threads=threads)
        return linear + scale * self._learner.margins(x, threads) if scale else linear

    def check(self, x: Examples) -> None:
        """Raise a ValueError if the examples do not fit the model."""
        if self.mixture is not None:
            self.mixture.check(x)
        if self.mixture is None or self.pair_mixing is not None:
            self._learner.check(x)

    def linear(self, slots: Slots | None = None) -> tuple[Floats, float]:
        """Return the weights of the linear part, of all or some slots, and the bias or 0.

        The weights are a view of the table, unless they are computed: those of a mixture, and of a
        model with penalties.
        """
        if self.pair_mixing is not None and self.mixture is not None:
            return self.mixture.linear(*self.pair_mixing.exported()[:2], slots)
        if self.mixture is not None:
            return self.mixture.linear(slots=slots)
        bias = 0.0 if self.bias is None else float(self.bias[0])
        if self.settings.is_penalized:
            return linear_learner(self.settings, self._memory).weights(slots), bias
        weights = self.tables["linear"].weights.reshape(-1)
        return weights if slots is None else weights[slots], bias

    def experts(self) -> list[dict[str, Any]]:
        """Return what a model without a rule mixes: see `ClickLearner.experts_`."""
        found = [] if self.mixture is None else self.mixture.experts()
        return found if self.pair_mixing is None else [*found, self.pair_mixing.expert()]

    def retune(self, settings: Settings) -> None:
        """Continue with another rate and other penalties; all other settings must be equal."""
        if self.mixture is None:
            self._learner = _learner(settings, self._memory, self.bias)  # or raise
        self.settings = settings

    def copy(self) -> Model:
        """Return an independent model with the same bits."""
        other = Model.__new__(Model)
        other.settings, other.examples = self.settings, self.examples
        other.tables = {name: table.copy() for name, table in self.tables.items()}
        other.bias = None if self.bias is None else self.bias.copy()
        other.progressive = Progressive.restore(self.progressive.state())
        other.mixture = None if self.mixture is None else self.mixture.copy()
        other.pair_mixing = None if self.pair_mixing is None else self.pair_mixing.copy()
        other._connect()
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_learner"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.bias is not None:  # joblib may have mapped it, and Table copies its own memory
            self.bias = np.array(self.bias, subok=False)
        self._connect()

    def row_tensors(self) -> dict[str, Floats]:
        """Return the state of each slot by name: views of the model, shape [n_slots, c]."""
        rows = {} if self.mixture is None else self.mixture.row_tensors()
        for name, table in self.tables.items():
            assert table._memory is not None
            rows[_tensor_of(name, self.settings)] = table._memory.view(np.float32).reshape(
                table.rows, -1
            )
        return rows

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Return the rest of the state by name: views of the model."""
        mixture = {} if self.mixture is None else self.mixture.tensors()
        pairs = {} if self.pair_mixing is None else {"mixing.pairs": self.pair_mixing.state}
        bias = {} if self.bias is None else {"bias": self.bias}
        return mixture | pairs | bias | self.progressive.state()

    def check_tensors(self) -> None:
        """Raise a ValueError if what was written into `tensors` is not the state of a model."""
        self.progressive.check()
        if self.mixture is not None:
            self.mixture.check_tensors()
        if self.pair_mixing is not None:
            self.pair_mixing.check_tensors()

    def touched(self) -> Slots:
        """Return the slots whose state does not have the bits of a new model's, ascending."""
        found = [] if self.mixture is None else [self.mixture.touched()]
        if self.tables:
            tensors = self.row_tensors().items()
            rows = {name: array for name, array in tensors if name not in ROW_COLUMNS}
            found.append(differing(rows, functools.partial(new_rows, self.settings)))
        return functools.reduce(np.union1d, found)

    def uncertainty(self, x: Examples, *, threads: int = 0) -> Floats:
        """Return the uncertainty of n examples, shape [n]; see `ClickLearner.uncertainty`."""
        if self.mixture is not None:
            return self.mixture.variances(x, threads=threads)
        linear = linear_learner(self.settings, self._memory, self.bias)
        return linear.rates(x, self.examples, threads)


def check_penalties(rule: Rule | None, l1: float, l2: float) -> None:
    """Raise ValueError if a model cannot have these penalties under this rule, or without one."""
    check_storable("l1", l1, "float32")
    check_storable("l2", l2, "float32")
    if l1 == 0.0 == l2:
        return
    if rule is None:
        raise ValueError("l1 and l2 need a fixed rate: give lr, such as lr=0.1")
    for name in _OF_PENALIZED_RULES:
        if getattr(rule, name) != getattr(Rule, name):
            raise ValueError(
                "l1 and l2 need a rule whose effective rate is lr / sqrt(s + eps) or"
                f" lr / (sqrt(s) + eps), with a constant lr and no other option: this one has"
                f" {name}={getattr(rule, name)!r}"
            )
    check_storable("lr * l1", rule.lr * l1, "float32")
    check_storable("lr * l2", rule.lr * l2, "float32")


def layouts(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the arguments of each table of a model, besides its rows and rule."""
    k, scale = settings.factors, settings.init_scale
    tables: dict[str, dict[str, Any]] = {} if settings.rule is None else {"linear": {"dim": 1}}
    drawn = {"init": "normal", "init_scale": scale}
    if settings.kind == "fm":
        tables["factors"] = {"dim": k, "seed": settings.seed, **drawn}
    elif settings.kind == "ffm":
        part_of_field, _ = _parts(settings)
        for part in range(settings.parts):
            dim = max(1, part_of_field.count(part)) * k
            tables[f"factors{part}"] = {"dim": dim, "seed": settings.seed + part, **drawn}
    return tables


def penalized_weights(settings: Settings, pairs: Floats) -> Floats:
    """Return the weights of some rows of a model with penalties, from their z and accumulators."""
    some = dataclasses.replace(settings, n_slots=len(pairs))
    return linear_learner(some, {"linear": pairs}).weights()


def table_of(tensor: str) -> str:
    """Return the table of one of a model's `Model.row_tensors`."""
    return "linear" if tensor == _FTRL else tensor


def _tensor_of(table: str, settings: Settings) -> str:
    return _FTRL if table == "linear" and settings.is_penalized else table


def row_columns(settings: Settings) -> dict[str, int]:
    """Return the number of columns of each of a model's `Model.row_tensors`."""
    columns = {
        _tensor_of(name, settings): 2 * layout["dim"] for name, layout in layouts(settings).items()
    }
    return {**ROW_COLUMNS, **columns} if settings.rule is None else columns


def tensor_shapes(settings: Settings) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the dtype and the shape of each of a model's `Model.tensors`."""
    scores = Progressive().state()
    shapes = {name: (array.dtype.name, array.shape) for name, array in scores.items()}
    if settings.rule is None:
        pairs = {} if settings.kind == "lr" else PairMixing.tensor_shapes()
        return Mixture.tensor_shapes(settings.intercept) | pairs | shapes
    return {"bias": ("float32", (2,)), **shapes} if settings.intercept else shapes


def new_rows(settings: Settings, name: str, first: int, last: int) -> Floats:
    """Return the rows [first, last) of a table of a new model, or one if they are all alike."""
    of_table = table_of(name)
    layout = layouts(settings)[of_table]
    start = settings.rule_of(of_table).initial_accumulator
    dim = layout["dim"]
    if "init" not in layout:
        return np.array([[0.0] * dim + [start] * dim], np.float32)
    rows = np.empty((last - first, 2 * dim), np.float32)
    memory = rows.reshape(-1).view(np.uint8)
    table = _core.Table(memory, last - first, dim, "float32", False, False, False, first)
    table.initialise(layout["init"], layout["init_scale"], layout["seed"], start, 0)
    return rows


def gradients(
    settings: Settings, memory: Mapping[str, Floats], bias: Floats | None, x: Examples, y: Floats
) -> Floats:
    """Add up the gradients of a batch, all at the same params, and return the margins.

    Parameters
    ----------
    settings : Settings
        Settings of the model, with `n_slots` equal to the rows of `memory`. The rule and the
        penalties are not applied: they belong to the step.
    memory : dict of str to ndarray of float32, shape [n_slots, 2 * dim]
        Arrays by the names of `layouts`. A row holds its params, then the sum of its gradients.
    bias : ndarray of float32, shape [2], or None
        The bias and the sum of its gradients.
    x, y
        As for `Model.learn`. The gradients of a row are added in the order of the examples.
    """
    # No param changes, so the largest rounds give the same sums.
    return _learner(settings, memory, bias, sums=True).learn(x, y, None, _LARGEST_ROUNDS, 1)


def learn_first(
    settings: Settings, memory: Mapping[str, Floats], bias: Floats | None, x: Examples, y: Floats
) -> Floats:
    """Learn the first examples of a model of which some rows are here, and return the margins.

    Parameters
    ----------
    settings, x, y
        As for `gradients`.
    memory, bias
        Params, then accumulators.
    """
    return _learner(settings, memory, bias).learn(x, y, None, 0, 1)


def _parts(settings: Settings) -> tuple[list[int], list[int]]:
    """Return the part of each field, and its position among the fields of that part."""
    half = REGIONS // settings.parts
    part_of_field = [field % REGIONS // half for field in range(settings.n_fields)]
    places, taken = [], [0] * settings.parts
    for part in part_of_field:
        places.append(taken[part])
        taken[part] += 1
    return part_of_field, places


def linear_learner(
    settings: Settings, memory: Memory, bias: Floats | None = None, sums: bool = False
) -> _core.LinearLearner:
    """Return the linear part of a model whose table "linear" is in `memory`."""
    linear = memory["linear"]
    return _core.LinearLearner(linear, settings.n_slots, bias, *_steps(settings, sums))


def _steps(
    settings: Settings, sums: bool
) -> tuple[_core.Hyperparameters, float, float, tuple[float, float] | None]:
    """Return the last arguments of a learner: rule, rate, decay of the rate, penalties."""
    rule = settings.rule_of("linear" if settings.kind == "lr" else "factors")
    if sums:
        return rule._compiled.sums(), rule.lr, 0.0, None
    penalties = (settings.l1, settings.l2) if settings.is_penalized else None
    return rule._compiled, rule.lr, rule.lr_decay, penalties


def _learner(
    settings: Settings, memory: Memory, bias: Floats | None, sums: bool = False
) -> _core.Learner:
    if settings.kind == "lr":
        return linear_learner(settings, memory, bias, sums)
    linear, k, steps = memory.get("linear"), settings.factors, _steps(settings, sums)
    if settings.kind == "fm":
        memory_of_fm = linear, settings.n_slots, bias, memory["factors"], k
        return _core.FMLearner(*memory_of_fm, settings.normalize, *steps)
    part_of_field, places = _parts(settings)
    return _core.FFMLearner(
        [memory[f"factors{part}"] for part in range(settings.parts)],
        settings.n_slots,
        k,
        part_of_field,
        places,
        linear,
        bias,
        settings.normalize,
        *steps,
    )
