"""The update rule: an immutable, validated set of hyperparameters."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad._arguments import check_flag, check_real

Array = npt.NDArray[Any]
EpsPosition = Literal["inside", "outside"]
WeightDecayMode = Literal["coupled", "decoupled"]
WeightDecayRows = Literal["touched", "all"]
Statistic = Literal["square", "scaled_square", "count"]
Evaluation = Literal["lr*g/d", "lr/d*g", "g/d*lr"]
RowStatistic = Literal["mean", "max"]
AccumulatorShape = Literal["element", "row"]
Duplicates = Literal["sum", "sequential", "each", "unique"]
NonFinite = Literal["propagate", "raise", "skip"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "eps_position": get_args(EpsPosition),
    "weight_decay_mode": get_args(WeightDecayMode),
    "weight_decay_rows": get_args(WeightDecayRows),
    "statistic": get_args(Statistic),
    "row_statistic": get_args(RowStatistic),
    "evaluation": get_args(Evaluation),
    "accumulator": get_args(AccumulatorShape),
    "duplicates": get_args(Duplicates),
    "on_nonfinite": get_args(NonFinite),
}
_FLAGS = ("lagged", "maximize", "skip_zero_accumulator")
_NOT_NEGATIVE = ("lr", "eps", "initial_accumulator", "lr_decay", "weight_decay")
# The core applies a power one binary digit at a time, and keeps 64 digits.
_SMALLEST_POWER = 2.0**-11


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Rule:
    r"""An AdaGrad update rule.

    The textbook rule, which the defaults give, updates a param :math:`w` with gradient :math:`g`
    and accumulator :math:`s` by

    .. math::

        s &\leftarrow s + g^2 \\
        w &\leftarrow w - \frac{\eta}{\sqrt{s + \epsilon}}\, g

    or ``s += g*g; w -= (lr*g) / sqrt(s + eps)``. The parameters below change every part of it.
    Step number ``t`` = 1, 2, ... is::

        eta = lr / (1 + (t - 1) * lr_decay)
        h = clip(scale * g, clip_value)          # -g instead of g if maximize
        h = h + weight_decay * w                 # weight_decay_mode="coupled"
        a = h * h                                # statistic="square"
        s_new = accumulator_decay * s + a
        d = (s_new + eps) ** power               # s instead of s_new if lagged
        w = w - eta * h / d

    Hyperparameters are cast to the dtype of the arrays, and every operation is rounded once in that
    dtype.

    Parameters
    ----------
    lr : float, default 0.1
        Step size, finite and not negative.
    eps : float, default 1e-6
        Finite and not negative. `eps_position` says where it is added.
    eps_position : {"inside", "outside"}, default "inside"
        The divisor is :math:`(s + \epsilon)^p` or :math:`s^p + \epsilon` for :math:`p` = `power`.
    initial_accumulator : float, default 0.0
        Initial value of the accumulators that `adagrad.Adagrad` and `adagrad.Table` allocate.
    lr_decay : float, default 0.0
        With decay :math:`\delta`, step :math:`t` has the rate
        :math:`\eta / (1 + (t - 1)\,\delta)`, computed in double precision.
    weight_decay : float, default 0.0
        L2 penalty, finite and not negative.
    weight_decay_mode : {"coupled", "decoupled"}, default "coupled"
        ``"coupled"`` adds ``weight_decay * w`` to the gradient. ``"decoupled"`` does not touch the
        gradient: the step first takes ``w -= w * weight_decay * eta`` or, if `evaluation` is
        ``"g/d*lr"``, is ``w -= eta * (h / d + w * weight_decay)``.
    weight_decay_rows : {"touched", "all"}, default "touched"
        Which rows decay in a sparse step. ``"touched"``: rows that have a gradient, once per
        update. ``"all"``: every row of the table, before the step, including rows whose update is
        skipped; decoupled only, not with `evaluation` ``"g/d*lr"``, :math:`O(N)` per step.
    power : float, default 0.5
        Exponent :math:`p` of the divisor: 0 (a constant rate), or from :math:`2^{-11}` to 1. A
        power is computed as a product of square roots, one per binary digit, so that every machine
        gets the same bits.
    accumulator_decay : float, default 1.0
        Factor of the old accumulator, in (0, 1]. Below 1 the accumulator forgets.
    lagged : bool, default False
        Divide by the accumulator as it was before this gradient.
    maximize : bool, default False
        Negate the gradient first: ascend instead of descend.
    scale : float, default 1.0
        Factor of the gradient.
    clip_value : float or None, default None
        Clip the scaled gradient to ``[-clip_value, clip_value]``. Positive.
    statistic : {"square", "scaled_square", "count"}, default "square"
        What a coordinate accumulates: :math:`h^2`; :math:`(\eta h)^2`; or 1 if :math:`h \ne 0`,
        which gives the counter clock :math:`\eta / \sqrt{n + \epsilon}` after :math:`n` such
        gradients.
    row_statistic : {"mean", "max"}, default "mean"
        What a row with one accumulator accumulates: the mean or the maximum of the statistics of
        its elements. With `statistic` "count" it is 1 in both cases if any element is not zero.
    evaluation : {"lr*g/d", "lr/d*g", "g/d*lr"}, default "lr*g/d"
        The order of operations, read from the left. The three are equal in exact arithmetic and
        differ in the last bit.
    skip_zero_accumulator : bool, default False
        Take no step if the accumulator that divides is 0.
    accumulator : {"element", "row"}, default "element"
        Whether `adagrad.Adagrad` and `adagrad.Table` allocate one accumulator per element or per
        row of a two-dimensional param. Functions take this from the shape of ``s``.
    duplicates : {"sum", "sequential", "each", "unique"}, default "sum"
        How repeated ids in a sparse gradient are handled:

        - ``"sum"``: add their gradients in order of appearance, then update once;
        - ``"sequential"``: update once per occurrence, in order;
        - ``"each"``: accumulate all occurrences, then step once per occurrence with the final
          accumulator. If lagged, step with the accumulator from before, then accumulate. Not with
          coupled weight decay;
        - ``"unique"``: the caller promises that no id repeats.
    on_nonfinite : {"propagate", "raise", "skip"}, default "propagate"
        What an infinite or NaN gradient does. ``"propagate"``: it follows IEEE arithmetic.
        ``"raise"``: ValueError, before anything is written. ``"skip"``: the coordinate is not
        updated, but counted; in a sparse step, or with one accumulator per row, the whole row.

    Raises
    ------
    TypeError
        If a value has the wrong type.
    ValueError
        If a value is out of range or not finite. A value that float32 cannot hold (it overflows, or
        is not zero and rounds to 0) raises when the rule is used on float32 arrays.

    See Also
    --------
    adagrad.preset : The rules of other systems, by name.

    References
    ----------
    Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization", JMLR 12 (2011), section 1.1.

    Examples
    --------
    >>> import adagrad, numpy as np
    >>> w, g, s = np.ones(2), np.array([0.5, -2.0]), np.zeros(2)
    >>> adagrad.step(w, g, s, adagrad.Rule(lr=0.5, eps=0.0))
    >>> w
    array([0.5, 1.5])
    """

    lr: float = 0.1
    eps: float = 1e-6
    eps_position: EpsPosition = "inside"
    initial_accumulator: float = 0.0
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    weight_decay_mode: WeightDecayMode = "coupled"
    weight_decay_rows: WeightDecayRows = "touched"
    power: float = 0.5
    accumulator_decay: float = 1.0
    lagged: bool = False
    maximize: bool = False
    scale: float = 1.0
    clip_value: float | None = None
    statistic: Statistic = "square"
    row_statistic: RowStatistic = "mean"
    evaluation: Evaluation = "lr*g/d"
    skip_zero_accumulator: bool = False
    accumulator: AccumulatorShape = "element"
    duplicates: Duplicates = "sum"
    on_nonfinite: NonFinite = "propagate"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in _CHOICES:
                check_choice(field.name, value)
            elif field.name in _FLAGS:
                object.__setattr__(self, field.name, check_flag(field.name, value))
            elif not (field.name == "clip_value" and value is None):
                signed = field.name not in _NOT_NEGATIVE
                number = check_real(field.name, value, negative=signed)
                object.__setattr__(self, field.name, number)
        if self.power != 0.0 and not _SMALLEST_POWER <= self.power <= 1.0:
            raise ValueError(f"power must be 0 or in [2**-11, 1], got {self.power!r}")
        if not 0.0 < self.accumulator_decay <= 1.0:
            raise ValueError(f"accumulator_decay must be in (0, 1], got {self.accumulator_decay!r}")
        if self.clip_value is not None and self.clip_value <= 0.0:
            raise ValueError(f"clip_value must be positive or None, got {self.clip_value!r}")
        if self.weight_decay_rows == "all" and self.weight_decay_mode == "coupled":
            raise ValueError(
                "weight_decay_rows='all' needs weight_decay_mode='decoupled': coupled decay is"
                " added to a gradient, and the other rows have none"
            )
        if self.weight_decay_rows == "all" and self.evaluation == "g/d*lr":
            raise ValueError(
                "weight_decay_rows='all' decays before the step, but evaluation='g/d*lr' decays"
                " within it: choose another evaluation, or weight_decay_rows='touched'"
            )
        if self.duplicates == "each" and self.weight_decay and self.weight_decay_mode == "coupled":
            raise ValueError(
                "duplicates='each' accumulates before the first step, but coupled weight_decay"
                " makes a gradient depend on the steps before it: use weight_decay_mode='decoupled'"
            )

    @functools.cached_property
    def _compiled(self) -> _core.Hyperparameters:
        return _core.Hyperparameters(**dataclasses.asdict(self))

    def __repr__(self) -> str:
        changed = (f for f in dataclasses.fields(self) if getattr(self, f.name) != f.default)
        return f"Rule({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in changed)})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the compiled hyperparameters: they cannot be pickled, and are made when needed.
        return _rebuild, (dataclasses.asdict(self),)

    def replace(self, **changes: Any) -> Rule:
        """Return a copy with some fields changed.

        Parameters
        ----------
        **changes
            Fields of the rule by name.

        Returns
        -------
        Rule

        Raises
        ------
        TypeError
            If a name is not a field. Other errors are those of the constructor.
        """
        names = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise TypeError(f"Rule has no field {name!r}; its fields are {', '.join(names)}")
        return dataclasses.replace(self, **changes)

    def lr_at(self, t: int) -> float:
        r"""Return the step size of step number `t`, counted from 1.

        Parameters
        ----------
        t : int
            Step number, at least 1.

        Returns
        -------
        float
            :math:`\eta / (1 + (t - 1)\,\delta)` for the rate `lr` and the decay `lr_decay`.
        """
        return self.lr / (1 + (t - 1) * self.lr_decay)

    def rate(self, s: npt.ArrayLike, lr: float | None = None) -> Array:
        r"""Return the effective rate of each coordinate, ``lr / sqrt(s + eps)`` by default.

        It is what a step multiplies the gradient by, up to the rounding that `evaluation` names:
        :math:`\eta / (s + \epsilon)^p` with the exponent `power`, or :math:`\eta / (s^p +
        \epsilon)` if `eps_position` is "outside".

        Parameters
        ----------
        s : array_like, any shape
            Accumulators that divide, not negative: after the step, or before it if `lagged`.
        lr : float, optional
            Step size, finite and not negative; by default the rule's `lr`. Pass ``lr_at(t)`` for a
            rule with `lr_decay`.

        Returns
        -------
        ndarray of float32 or float64, shape of `s`
            float32 for accumulators of float32 or 16 bits, else float64. Every operation is rounded
            once, so a step under ``evaluation="lr/d*g"`` subtracts exactly ``rate * h``. The rate
            is 0 where `skip_zero_accumulator` skips the step, and infinite where the divisor is 0.

        Raises
        ------
        TypeError, ValueError
            If `lr` is not a number in its range, or an accumulator is negative.

        Examples
        --------
        >>> adagrad.Rule(lr=0.5, eps=0.0).rate([0.25, 1.0, 4.0])
        array([1.  , 0.5 , 0.25])
        """
        lr = self.lr if lr is None else check_real("lr", lr)
        s = np.asarray(s)
        small = s.dtype.kind in "fV" and s.dtype.itemsize <= 4  # bfloat16 is of kind V
        s = s.astype(np.float32 if small else np.float64, copy=False)
        if (s < 0).any():
            at = tuple(np.argwhere(s < 0)[0].tolist())
            raise ValueError(f"s{list(at)} = {s[at]} is negative, and accumulators are not")
        real = s.dtype.type
        eps, power = real(self.eps), float(real(self.power))
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            if self.eps_position == "inside":
                divisor = _power(s + eps, power)
            else:
                divisor = _power(s, power) + eps
            rate: Array = real(lr) / divisor
        if self.skip_zero_accumulator:
            rate = np.where(s == 0, real(0), rate)
        return rate


def _power(x: Array, power: float) -> Array:
    """Return x ** power as the core computes it: a square root for each binary digit."""
    if power == 1.0:
        return x
    product = np.ones_like(x)
    while power:
        x = np.sqrt(x)
        power *= 2.0
        if power >= 1.0:
            product = product * x
            power -= 1.0
    return product


def _rebuild(fields: dict[str, Any]) -> Rule:
    return Rule(**fields)


def check_choice(name: str, value: object, shown: str | None = None) -> None:
    """Raise ValueError if `value` is not one of the words that the field takes."""
    if not isinstance(value, str) or value not in _CHOICES[name]:
        known = ", ".join(repr(choice) for choice in _CHOICES[name])
        raise ValueError(f"{shown or name} must be one of {known}, got {value!r}")
