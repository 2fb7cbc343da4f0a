"""Descents on functions that are given by their gradient.

AdaGrad itself is that of the core. The other rules are here for comparison, each in the form of the
textbook, with state arrays beside the params as in `adagrad.step`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from adagrad._arguments import check_integer, check_real
from adagrad.analysis.spectrum import real
from adagrad.optimizer import Adagrad
from adagrad.rule import Rule

Array = npt.NDArray[Any]


class Comparison(Protocol):
    """A rule for `trace`: the number of its state arrays, and a step in place."""

    slots: ClassVar[int]

    def step(self, w: Array, g: Array, t: int, *state: Array) -> None:
        """Take step number `t`, from 1; `state` is `slots` arrays like `w`, initially zeros."""


class Differentiable(Protocol):
    """A function that has a gradient, such as a `Quadratic`."""

    def gradient(self, x: Array, /) -> Array:
        """Return the gradient at `x` [d]."""


Gradient = Callable[[Array], Any]


def _check_fraction(name: str, value: object) -> None:
    if check_real(name, value) >= 1:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}")


@dataclass(frozen=True)
class SGD:
    r"""Gradient descent with one rate for all coordinates: ``w -= lr / t**power * g``.

    .. math::

        w \leftarrow w - \frac{\eta}{t^p}\, g

    Parameters
    ----------
    lr : float, default 0.1
        Step size :math:`\eta`, finite and not negative.
    power : float, default 0.0
        Exponent :math:`p` of the decay with the step number :math:`t = 1, 2, \ldots`: 0 is a
        constant rate, 0.5 the classical schedule :math:`\eta / \sqrt t`.
    """

    lr: float = 0.1
    power: float = 0.0
    slots: ClassVar[int] = 0

    def __post_init__(self) -> None:
        check_real("lr", self.lr)
        check_real("power", self.power)

    def step(self, w: Array, g: Array, t: int, *state: Array) -> None:
        """Take step number `t` of `w`, in place."""
        w -= self.lr / t**self.power * g


@dataclass(frozen=True)
class Momentum:
    r"""Gradient descent with a velocity: ``v = beta * v + g; w -= lr * v``.

    .. math::

        v &\leftarrow \beta v + g \\
        w &\leftarrow w - \eta v

    Parameters
    ----------
    lr : float, default 0.1
        Step size :math:`\eta`, finite and not negative.
    beta : float, default 0.5
        Fraction :math:`\beta` of the velocity that a step keeps, in [0, 1).

    References
    ----------
    Polyak, "Some methods of speeding up the convergence of iteration methods" (1964).
    """

    lr: float = 0.1
    beta: float = 0.5
    slots: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_real("lr", self.lr)
        _check_fraction("beta", self.beta)

    def step(self, w: Array, g: Array, t: int, *state: Array) -> None:
        """Take step number `t` of `w`, in place."""
        (v,) = state
        v *= self.beta
        v += g
        w -= self.lr * v


@dataclass(frozen=True)
class RMSProp:
    r"""A leaky AdaGrad: ``s = decay * s + (1 - decay) * g*g; w -= lr * g / sqrt(s + eps)``.

    .. math::

        s &\leftarrow \gamma s + (1 - \gamma)\, g^2 \\
        w &\leftarrow w - \frac{\eta}{\sqrt{s + \epsilon}}\, g

    Up to rounding it equals ``Rule(lr=lr / r, eps=eps / r**2, accumulator_decay=decay)`` with
    :math:`r = \sqrt{1 - \gamma}`. With ``decay = 0`` and ``eps = 0`` every step has the length
    `lr`.

    Parameters
    ----------
    lr : float, default 0.1
        Step size :math:`\eta`, finite and not negative.
    decay : float, default 0.9
        Fraction :math:`\gamma` of the mean square that a step keeps, in [0, 1).
    eps : float, default 1e-6
        Added under the root, finite and not negative.

    References
    ----------
    Tieleman and Hinton, "Lecture 6.5: rmsprop", Coursera (2012).
    """

    lr: float = 0.1
    decay: float = 0.9
    eps: float = 1e-6
    slots: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_real("lr", self.lr)
        _check_fraction("decay", self.decay)
        check_real("eps", self.eps)

    def step(self, w: Array, g: Array, t: int, *state: Array) -> None:
        """Take step number `t` of `w`, in place."""
        (s,) = state
        s *= self.decay
        s += (1 - self.decay) * g * g
        w -= self.lr * g / np.sqrt(s + self.eps)


@dataclass(frozen=True)
class Adadelta:
    r"""RMSProp with the root mean square of its own steps as the rate, so that there is no `lr`.

    .. math::

        s &\leftarrow \gamma s + (1 - \gamma)\, g^2 \\
        h &= \frac{\sqrt{d + \epsilon}}{\sqrt{s + \epsilon}}\, g \\
        w &\leftarrow w - h \\
        d &\leftarrow \gamma d + (1 - \gamma)\, h^2

    Parameters
    ----------
    decay : float, default 0.9
        Fraction :math:`\gamma` of both means that a step keeps, in [0, 1).
    eps : float, default 1e-5
        Added under the roots, finite and not negative. The first steps are proportional to its
        root.

    References
    ----------
    Zeiler, "ADADELTA: an adaptive learning rate method", arXiv:1212.5701 (2012).
    """

    decay: float = 0.9
    eps: float = 1e-5
    slots: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _check_fraction("decay", self.decay)
        check_real("eps", self.eps)

    def step(self, w: Array, g: Array, t: int, *state: Array) -> None:
        """Take step number `t` of `w`, in place."""
        s, d = state
        s *= self.decay
        s += (1 - self.decay) * g * g
        change = np.sqrt(d + self.eps) / np.sqrt(s + self.eps) * g
        w -= change
        d *= self.decay
        d += (1 - self.decay) * change * change


def trace(
    rule: Rule | Adagrad | Comparison,
    f: Differentiable | tuple[Any, Gradient],
    start: npt.ArrayLike,
    steps: int,
) -> Array:
    """Descend `f` from `start` and return the path.

    Parameters
    ----------
    rule : Rule, Adagrad, or a rule for comparison
        A `adagrad.Rule`, which a new `adagrad.Adagrad` runs; an optimizer with one param like
        `start`, which is overwritten and descends with its accumulators and step count; one of
        `SGD`, `Momentum`, `RMSProp`, `Adadelta`; or any object with `slots` and `step` like theirs.
    f : object with a method ``gradient``, or pair of functions (f, gradient)
        ``gradient(x)`` returns the gradient at ``x`` [d], and must not keep ``x``. The value of `f`
        is not used.
    start : array_like, shape [d]
        The first point; finite. float32 arrays descend in float32, all others in float64.
    steps : int
        Number of steps, at least 0.

    Returns
    -------
    ndarray of the dtype of the descent, shape [steps + 1, d]
        The points, starting with `start`. A diverging descent continues to infinity and NaN.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If `start` is not finite or not one-dimensional, `steps` is negative, a gradient has another
        shape than `start`, or the optimizer's param does.

    Examples
    --------
    >>> from adagrad.analysis import Quadratic, trace
    >>> f = Quadratic([[0.2, 0.0], [0.0, 4.0]])
    >>> trace(adagrad.Rule(lr=0.4, eps=0.0), f, start=[-5.0, -2.0], steps=1)
    array([[-5. , -2. ],
           [-4.6, -1.6]])
    """
    gradient = _gradient_of(f)
    w = real(start, "start")
    w = w.astype(np.float32 if w.dtype == np.float32 else np.float64)
    if w.ndim != 1 or not w.size:
        raise ValueError(f"start must have shape [d], got {w.shape}")
    if not np.isfinite(w).all():
        raise ValueError(f"start must be finite, got {start!r}")
    steps = check_integer("steps", steps, 0)
    w, advance = _stepper(rule, w)
    path = np.empty((steps + 1, len(w)), w.dtype)
    path[0] = w
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(1, len(path)):
            g = real(gradient(path[t - 1].copy()), "the gradient").astype(w.dtype)
            if g.shape != w.shape:
                raise ValueError(f"the gradient has shape {g.shape}, start has {w.shape}")
            advance(g, t)
            path[t] = w
    return path


def _gradient_of(f: Any) -> Gradient:
    gradient = f[1] if isinstance(f, tuple) and len(f) == 2 else getattr(f, "gradient", None)
    if not callable(gradient):
        raise TypeError(f"f must have a method gradient or be a pair (f, gradient), got {f!r}")
    return gradient  # type: ignore[no-any-return]


def _stepper(rule: Any, w: Array) -> tuple[Array, Callable[[Array, int], None]]:
    """Return the array that descends, and a function that takes step t with a gradient."""
    if isinstance(rule, Rule):
        rule = Adagrad(w, rule=rule)
    if isinstance(rule, Adagrad):
        shapes = [(param.dtype.name, param.shape) for param in rule.params]
        if shapes != [(w.dtype.name, w.shape)]:
            raise ValueError(
                f"the optimizer must have one param of {w.dtype} and shape {w.shape}, like start;"
                f" it has {shapes}"
            )
        optimizer: Adagrad = rule
        optimizer.params[0][...] = w
        return optimizer.params[0], lambda g, t: optimizer.step([g])
    if isinstance(rule, type):
        raise TypeError(f"rule must be an object, got a class: pass {rule.__name__}()")
    if not (callable(getattr(rule, "step", None)) and hasattr(rule, "slots")):
        raise TypeError(f"rule must be a Rule, an Adagrad or have slots and step, got {rule!r}")
    state = [np.zeros_like(w) for _ in range(rule.slots)]
    return w, lambda g, t: rule.step(w, g, t, *state)
