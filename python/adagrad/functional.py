"""Steps on the caller's own arrays. Every argument is checked before anything is written."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Iterable
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad._arguments import check_integer, check_threads
from adagrad.rule import Duplicates, Rule

Array = npt.NDArray[Any]
Id = TypeVar("Id", np.int32, np.int64, np.uint32, np.uint64)
Real = TypeVar("Real", np.float32, np.float64)


@functools.lru_cache(maxsize=256, typed=True)
def _textbook(lr: float | None, eps: float | None) -> Rule:
    given: dict[str, Any] = {"lr": lr, "eps": eps}
    return Rule(**{name: value for name, value in given.items() if value is not None})


def _resolve(lr: float | Rule | None, eps: float | None, rule: Rule | None, t: int | None) -> Rule:
    """Return the rule that the arguments of a call name."""
    if isinstance(lr, Rule):
        if rule is not None:
            raise TypeError("rule is given twice, by position and by name")
        rule = lr
    elif rule is not None and lr is not None:
        raise TypeError("lr belongs to the rule: use rule.replace(lr=...)")
    if rule is None:
        try:
            return _textbook(lr, eps)
        except TypeError as error:
            if isinstance(lr, numbers.Real) or lr is None:
                raise
            raise TypeError(f"lr must be a real number or a Rule, got {lr!r}") from error
    if not isinstance(rule, Rule):
        raise TypeError(f"rule must be an adagrad.Rule, got {rule!r}")
    if eps is not None:
        raise TypeError("eps belongs to the rule: use rule.replace(eps=...)")
    if rule.lr_decay != 0.0 and t is None:
        raise TypeError(
            "a rule with lr_decay needs the step number t; adagrad.Adagrad counts steps"
        )
    return rule


def _rate(rule: Rule, t: int | None) -> float:
    if t is None:
        return rule.lr
    return rule.lr_at(check_integer("t", t, 1))


def _compile(
    lr: float | Rule | None, eps: float | None, rule: Rule | None, t: int | None
) -> tuple[_core.Hyperparameters, float]:
    """Return what a call of the core takes for these arguments of a function."""
    rule = _resolve(lr, eps, rule, t)
    return rule._compiled, _rate(rule, t)


# The core reads the usual arguments of a call on its own: a float or a rule.
_core.register_rules(Rule, Rule()._compiled, _compile, check_threads)


@overload
def step(
    w: Array,
    g: Array,
    s: Array,
    lr: float = ...,
    eps: float | None = ...,
    *,
    t: int | None = ...,
    threads: int | None = ...,
) -> int | None: ...
@overload
def step(
    w: Array, g: Array, s: Array, lr: Rule, *, t: int | None = ..., threads: int | None = ...
) -> int | None: ...
@overload
def step(
    w: Array, g: Array, s: Array, *, rule: Rule, t: int | None = ..., threads: int | None = ...
) -> int | None: ...
def step(
    w: Array,
    g: Array,
    s: Array,
    lr: float | Rule | None = None,
    eps: float | None = None,
    *,
    rule: Rule | None = None,
    t: int | None = None,
    threads: int | None = None,
) -> int | None:
    r"""Take one AdaGrad step in place: ``s += g*g; w -= (lr*g) / sqrt(s + eps)``.

    In mathematical notation, element by element,

    .. math::

        s &\leftarrow s + g^2 \\
        w &\leftarrow w - \frac{\eta}{\sqrt{s + \epsilon}}\, g

    Parameters
    ----------
    w : ndarray of float32, float64, float16 or bfloat16, any shape
        Param: C-contiguous, aligned and writeable. Updated in place. A 16-bit param is updated in
        float32 and rounded to nearest even when it is stored. bfloat16 is the dtype of ml_dtypes.
    g : ndarray, dtype and shape of `w`; float32 is also accepted if `w` has 16 bits
        Gradient. Never modified.
    s : ndarray, dtype as for `g`; shape of `w`, or [N] for a `w` of shape [N, D]
        Accumulator. Updated in place. With one entry per row, it accumulates the mean of
        :math:`g^2` over the row, summed in NumPy's pairwise order.
    lr : float or Rule, default 0.1
        Step size of the textbook rule, or the rule itself.
    eps : float, default 1e-6
        Added to the accumulator under the root. Not together with a rule.
    rule : Rule, optional
        The rule, as a keyword.
    t : int, optional
        Step number, from 1. Required if ``rule.lr_decay`` is not 0.
    threads : int, optional
        The most threads that the call may use, from 1 to 1024; by default
        `adagrad.get_num_threads()`. The result does not depend on it.

    Returns
    -------
    None or int
        None. If ``rule.on_nonfinite`` is "skip", the number of coordinates that were skipped, or of
        rows if there is one accumulator per row.

    Raises
    ------
    TypeError
        If an argument is not an ndarray, or the dtypes differ or are not supported.
    ValueError
        If the shapes differ, an array is not contiguous, aligned or writeable, arrays overlap, or a
        hyperparameter is out of range. After an error, no array has changed.

    Notes
    -----
    The result equals NumPy's ``s += g*g; w -= (lr*g) / np.sqrt(s + eps)`` with ``==``, for every
    instruction set, length, alignment and number of threads. The GIL is released for 4,096 elements
    or more. Takes time linear in the size and allocates nothing.

    Examples
    --------
    >>> w, g, s = np.ones(3), np.array([1.0, -2.0, 0.0]), np.zeros(3)
    >>> adagrad.step(w, g, s, lr=0.5, eps=0.25)
    >>> s
    array([1., 4., 0.])
    """
    return _core.step(w, g, s, lr, eps, rule, t, threads)


def step_many(
    tensors: Iterable[tuple[Array, Array, Array]],
    lr: float | Rule | None = None,
    eps: float | None = None,
    *,
    rule: Rule | None = None,
    t: int | None = None,
    threads: int | None = None,
) -> int | None:
    """Take one step of several tensors in a single call.

    Parameters
    ----------
    tensors : iterable of (w, g, s)
        Arrays as for `step`. Dtypes may differ between triples.
    lr, eps, rule, t, threads
        As for `step`, for all triples.

    Returns
    -------
    None or int
        As for `step`, summed over the triples.

    Raises
    ------
    TypeError, ValueError
        As for `step`, or if two triples share memory that is written. After an error, no array has
        changed.

    Examples
    --------
    >>> model = [(np.ones(2), np.ones(2), np.zeros(2)), (np.ones(1), np.zeros(1), np.zeros(1))]
    >>> adagrad.step_many(model, adagrad.preset("torch", lr=0.5))
    >>> model[0][0]
    array([0.5, 0.5])
    """
    if not isinstance(tensors, Iterable):
        raise TypeError(f"tensors must be an iterable of (w, g, s), got {tensors!r}")
    tensors = list(tensors)
    rule = _resolve(lr, eps, rule, t)
    skipped = _core.step_many(
        tensors, rule._compiled, [_rate(rule, t)] * len(tensors), threads=check_threads(threads)
    )
    return skipped if rule.on_nonfinite == "skip" else None


def step_rows(
    w: Array,
    g: Array,
    s: Array,
    rows: Array,
    lr: float | Rule | None = None,
    duplicates: Duplicates | None = None,
    *,
    eps: float | None = None,
    rule: Rule | None = None,
    t: int | None = None,
    threads: int | None = None,
    check_unique: bool = False,
) -> int | None:
    """Take one AdaGrad step of some rows of a table, in place.

    Parameters
    ----------
    w : ndarray of float32 or float64, shape [N] or [N, D]
        Table of params. The rows in `rows` are updated.
    g : ndarray, dtype of `w`, shape [n] or [n, D]
        ``g[i]`` is a gradient of row ``rows[i]``. Never modified.
    s : ndarray, dtype of `w`, shape of `w`, or [N] for a `w` of shape [N, D]
        Accumulators, per element or per row. The rows in `rows` are updated.
    rows : ndarray of int32, int64, uint32 or uint64, shape [n]
        Row numbers in [0, N), in any order. N may exceed :math:`2^{31}`, and the table may exceed
        4 GiB.
    lr : float or Rule, default 0.1
        Step size of the textbook rule, or the rule itself.
    duplicates : {"sum", "sequential", "each", "unique"}, optional
        How repeated ids are handled; by default as the rule says, and the default rule says "sum".
        See `Rule`. Under "unique" a repeated id is not detected: it gets one update per occurrence.
    eps, rule, t, threads
        As for `step`.
    check_unique : bool, default False
        Check that no id repeats before anything is written. :math:`O(n)` time and memory.

    Returns
    -------
    None or int
        None. If ``rule.on_nonfinite`` is "skip", the number of skipped updates: under "sum" one per
        row, otherwise one per occurrence.

    Raises
    ------
    IndexError
        If an id is negative or not below N. The message gives its position and value.
    TypeError, ValueError
        As for `step`. After an error, no array has changed.

    Notes
    -----
    Takes :math:`O(n D)` time. "sum" needs 8 to 16 bytes of memory per id; the other policies need
    none.

    Examples
    --------
    >>> w, s = np.zeros(4), np.zeros(4)
    >>> rows, g = np.array([2, 0, 2]), np.array([1.0, 3.0, 1.0])
    >>> adagrad.step_rows(w, g, s, rows, lr=1.0)
    >>> s
    array([9., 0., 4., 0.])
    """
    return _core.step_rows_of(w, g, s, rows, lr, duplicates, eps, rule, t, threads, check_unique)


def coalesce(
    rows: npt.NDArray[Id], g: npt.NDArray[Real]
) -> tuple[npt.NDArray[Id], npt.NDArray[Real]]:
    """Sum the gradients of repeated ids.

    Parameters
    ----------
    rows : ndarray of int32, int64, uint32 or uint64, shape [n]
        Ids, not negative, in any order.
    g : ndarray of float32 or float64, shape [n] or [n, D]
        ``g[i]`` is a gradient of ``rows[i]``.

    Returns
    -------
    unique_rows : ndarray, dtype of `rows`, shape [u]
        The distinct ids, ascending.
    summed : ndarray, dtype of `g`, shape [u] or [u, D]
        The sum of each id's gradients in order of appearance, rounded after each addition.

    Raises
    ------
    IndexError
        If an id is negative. The message gives its position and value.
    TypeError, ValueError
        If an array has the wrong dtype or shape, or is not contiguous or aligned.

    Notes
    -----
    Takes :math:`O(n D)` time for ids that are spread out, and 8 to 16 bytes of memory per id.

    Examples
    --------
    >>> adagrad.coalesce(np.array([7, 3, 7]), np.array([1.0, 2.0, 0.5]))
    (array([3, 7]), array([2. , 1.5]))
    """
    return _core.coalesce(rows, g)
