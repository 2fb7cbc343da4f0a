"""The optimizer that keeps accumulators and step counts for the caller's params."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad.presets import preset as preset_rule
from adagrad.rule import Duplicates, Rule, check_choice

Array = npt.NDArray[Any]

STATE_VERSION = 1


class Adagrad:
    r"""AdaGrad over a list of arrays.

    Each param has an accumulator of its own. By default a step is, element by element,

    .. math::

        s &\leftarrow s + g^2 \\
        w &\leftarrow w - \frac{\eta}{\sqrt{s + \epsilon}}\, g

    Parameters
    ----------
    params : ndarray or iterable of ndarray
        Params, float32 or float64, C-contiguous and writeable. They are updated in place and never
        copied.
    lr : float, optional
        Step size; by default 0.1, or that of the preset. Not together with `rule`.
    preset : str, optional
        Name of a preset; by default "textbook". Not together with `rule`.
    rule : Rule, optional
        The whole rule.
    **overrides
        Fields of `Rule` that replace the preset's. Not together with `rule`.

    Attributes
    ----------
    params : list of ndarray
        The caller's arrays.
    accumulators : list of ndarray
        One per param, of its shape; or of shape [N] for a param of shape [N, D] if
        ``rule.accumulator`` is "row".
    steps : list of int
        Number of updates of each param.
    skipped : int
        Number of coordinates or rows that ``on_nonfinite="skip"`` has skipped.
    rule : Rule

    Raises
    ------
    TypeError
        If `params` holds anything but arrays, or arguments contradict each other.
    ValueError
        As for `adagrad.step`, or if two params share memory.

    Examples
    --------
    >>> w = np.ones(2)
    >>> opt = adagrad.Adagrad([w], lr=0.5, eps=0.0)
    >>> opt.step([np.array([1.0, -1.0])])
    >>> w
    array([0.5, 1.5])
    """

    def __init__(
        self,
        params: Array | Iterable[Array],
        lr: float | None = None,
        *,
        preset: str | None = None,
        rule: Rule | None = None,
        **overrides: Any,
    ) -> None:
        if lr is not None:
            overrides["lr"] = lr
        if rule is None:
            rule = preset_rule(preset or "textbook", **overrides)
        elif not isinstance(rule, Rule):
            raise TypeError(f"rule must be an adagrad.Rule, got {rule!r}")
        elif preset is not None or overrides:
            names = ", ".join((["preset"] if preset is not None else []) + list(overrides))
            raise TypeError(f"rule sets every hyperparameter: it cannot be combined with {names}")
        self.rule = rule
        if not isinstance(params, Iterable):
            raise TypeError(f"params must be an array or an iterable of arrays, got {params!r}")
        self.params: list[Array] = [params] if isinstance(params, np.ndarray) else list(params)
        _core.check_params(self.params)
        self.accumulators: list[Array] = [self._new_accumulator(w) for w in self.params]
        self.steps: list[int] = [0] * len(self.params)
        self.skipped = 0

    def _new_accumulator(self, w: Array) -> Array:
        by_row = self.rule.accumulator == "row" and w.ndim == 2
        shape = w.shape[:1] if by_row else w.shape
        return np.full(shape, self.rule.initial_accumulator, dtype=w.dtype)

    def step(self, grads: Array | Sequence[Array | None]) -> None:
        """Update every param that has a gradient.

        Parameters
        ----------
        grads : ndarray or sequence of ndarray or None
            A gradient for each param, in order, with its shape and dtype; None leaves the param
            and its step count alone. A single array for a single param.

        Raises
        ------
        TypeError, ValueError
            As for `adagrad.step`, or if the number of gradients is wrong. After an error, nothing
            has changed, step counts included.
        """
        if isinstance(grads, np.ndarray):
            grads = [grads]
        if not isinstance(grads, Sequence):
            raise TypeError(f"grads must be an array or a sequence of arrays, got {grads!r}")
        if len(grads) != len(self.params):
            raise ValueError(f"grads has {len(grads)} entries for {len(self.params)} params")
        given = [i for i, g in enumerate(grads) if g is not None]
        triples = [(self.params[i], grads[i], self.accumulators[i]) for i in given]
        rates = [self.rule.lr_at(self.steps[i] + 1) for i in given]
        self.skipped += _core.step_many(triples, self.rule._compiled, rates, given)
        for i in given:
            self.steps[i] += 1

    def step_rows(
        self, i: int, rows: Array, g: Array, duplicates: Duplicates | None = None
    ) -> None:
        """Update some rows of param number `i`.

        Parameters
        ----------
        i : int
            Position in `params`.
        rows : ndarray of int32, int64, uint32 or uint64, shape [n]
            Row numbers.
        g : ndarray, dtype of the param, shape [n] or [n, D]
            ``g[k]`` is a gradient of row ``rows[k]``.
        duplicates : {"sum", "sequential", "each", "unique"}, optional
            How repeated ids are handled; by default as the rule says. See `Rule`.

        Raises
        ------
        IndexError
            If there is no param `i`, or an id is out of range.
        TypeError, ValueError
            As for `adagrad.step_rows`. After an error, nothing has changed, step counts included.
        """
        if not 0 <= i < len(self.params):
            raise IndexError(f"there is no param {i}: there are {len(self.params)}")
        if duplicates is not None:
            check_choice("duplicates", duplicates)
        rate = self.rule.lr_at(self.steps[i] + 1)
        self.skipped += _core.step_rows(
            self.params[i], g, self.accumulators[i], rows, self.rule._compiled, rate, duplicates
        )
        self.steps[i] += 1

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state.

        Returns
        -------
        dict
            ``version`` (int), ``rule`` (dict of `Rule` fields), ``steps`` (ndarray of int64, [k]),
            ``skipped`` (int) and ``accumulators`` (list of k ndarrays). It does not hold the
            params, which belong to the caller.
        """
        return {
            "version": STATE_VERSION,
            "rule": dataclasses.asdict(self.rule),
            "steps": np.array(self.steps, dtype=np.int64),
            "skipped": self.skipped,
            "accumulators": [s.copy() for s in self.accumulators],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace the state, the rule included.

        Parameters
        ----------
        state : dict
            The result of `state_dict`. Its arrays are copied.

        Raises
        ------
        KeyError
            If an entry is missing.
        TypeError, ValueError
            If the version is unknown, the rule is not valid, or dtypes or shapes do not fit the
            params. After an error, nothing has changed.
        """
        if state["version"] != STATE_VERSION:
            raise ValueError(
                f"state has version {state['version']}, but this adagrad reads {STATE_VERSION}"
            )
        rule = Rule(**state["rule"])
        steps = np.asarray(state["steps"])
        accumulators = list(state["accumulators"])
        skipped = state["skipped"]
        if isinstance(skipped, bool) or not isinstance(skipped, numbers.Integral) or skipped < 0:
            raise ValueError(f"skipped must be an integer from 0, got {skipped!r}")
        if steps.dtype.kind not in "iu" or steps.shape != (len(self.params),) or (steps < 0).any():
            raise ValueError(f"steps must be {len(self.params)} integers from 0, got {steps!r}")
        if len(accumulators) != len(self.params):
            raise ValueError(
                f"state has {len(accumulators)} accumulators for {len(self.params)} params"
            )
        for i, (w, s) in enumerate(zip(self.params, accumulators, strict=True)):
            if not isinstance(s, np.ndarray) or s.dtype != w.dtype:
                raise TypeError(f"accumulators[{i}] must be an ndarray of {w.dtype}, got {s!r:.60}")
            shapes = (w.shape, w.shape[:1]) if w.ndim == 2 else (w.shape,)
            if s.shape not in shapes:
                raise ValueError(
                    f"accumulators[{i}] has shape {s.shape}, but the param has {w.shape}"
                )
        self.rule = rule
        self.accumulators = [np.array(s, order="C") for s in accumulators]
        self.steps = [int(t) for t in steps]
        self.skipped = int(skipped)

    def __repr__(self) -> str:
        shapes = ", ".join(str(w.shape) for w in self.params[:4])
        more = ", ..." if len(self.params) > 4 else ""
        return f"Adagrad([{shapes}{more}], {self.rule})"
