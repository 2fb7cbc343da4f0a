"""The update of `adagrad.keras.Adagrad` on Keras' TensorFlow backend, and what it refuses there."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad._arguments import check_real
from adagrad.rule import Rule

tf = importlib.import_module("tensorflow")
_control_flow: Any = None  # it is private; without it, users see XLA's own error
with contextlib.suppress(ImportError):
    _control_flow = importlib.import_module("tensorflow.python.ops.control_flow_util")

Array = npt.NDArray[Any]
# (w, g, s) as TensorFlow's variables and gradients.
Triple = tuple[Any, Any, Any]

_NO_XLA = (
    "adagrad.keras.Adagrad cannot run in a function that XLA compiles: pass jit_compile=False"
    " to compile() or tf.function()"
)
_NO_STRATEGY = (
    "adagrad.keras.Adagrad does not support strategies of tf.distribute: use"
    " keras.optimizers.Adagrad, or create and compile the model outside their scope"
)


def check_scope() -> None:
    """Raise in the scope of a strategy, and where XLA compiles what is called."""
    if tf.distribute.has_strategy():
        raise RuntimeError(_NO_STRATEGY)
    is_compiled = getattr(_control_flow, "GraphOrParentsInXlaContext", None)
    if is_compiled is None or tf.executing_eagerly():
        return
    if is_compiled(tf.compat.v1.get_default_graph()):
        raise RuntimeError(_NO_XLA)


def refuse_at_compile(kind: type) -> None:
    """Let `keras.Model.compile` refuse what `check_scope` would refuse in the first step.

    Keras calls no method of an optimizer in `compile`, so `compile` itself is wrapped. It does what
    it did for every model that has no optimizer of this kind.
    """
    # Where Keras looks to see whether a model has a method of its own.
    owner = next(base for base in keras.Model.__mro__ if "compile" in vars(base))
    original = owner.compile
    signature = inspect.signature(original)

    @functools.wraps(original)
    def compile(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            call = signature.bind(self, *args, **kwargs)
        except TypeError:  # Keras names the method in its own error
            return original(self, *args, **kwargs)
        given = call.arguments
        if "optimizer" in given:
            given["optimizer"] = keras.optimizers.get(given["optimizer"])
            if any(isinstance(x, kind) for x in _with_inner(given["optimizer"])):
                if getattr(self, "_distribute_strategy", None) or tf.distribute.has_strategy():
                    raise RuntimeError(_NO_STRATEGY)
                if given.get("jit_compile", "auto") == "auto":
                    given["jit_compile"] = False
                if given["jit_compile"] and not given.get("run_eagerly"):
                    raise RuntimeError(_NO_XLA)
        return original(*call.args, **call.kwargs)

    owner.compile = compile


def _with_inner(optimizer: Any) -> Iterator[Any]:
    """Yield an optimizer and those that it wraps."""
    yield optimizer
    for inner in (
        getattr(optimizer, "inner_optimizer", None),
        *getattr(optimizer, "optimizers", ()),
    ):
        yield from () if inner is None else _with_inner(inner)


def update(
    triples: list[Triple], learning_rate: Any, rule: Rule, assign: Callable[[Any, Any], None]
) -> None:
    """Update all variables and accumulators of triples ``(w, g, s)``, or none if one is refused."""
    rate = keras.ops.cast(learning_rate, "float64")
    triples = [(w, tf.cast(g, w.dtype), s) for w, g, s in triples]
    assignments: list[tuple[Any, Any]] = []
    dense = [t for t in triples if not isinstance(t[1], tf.IndexedSlices)]
    if dense:
        w, g, s = zip(*dense, strict=True)
        step = functools.partial(_step_copies, rule)
        values = _call_back(step, [rate, *w, *g, *s], [x.dtype for x in (*w, *s)])
        for target, value in zip((*w, *s), values, strict=True):
            assignments.append((target, tf.ensure_shape(value, target.shape)))
    for w, g, s in triples:
        if isinstance(g, tf.IndexedSlices):
            # Only the rows that have a gradient, renumbered from 0.
            rows, ids = tf.unique(g.indices)
            # A 16-bit variable is updated in float32, the dtype of its accumulator.
            old = [tf.cast(tf.gather(x, rows), s.dtype) for x in (w, s)]
            step = functools.partial(_step_row_copies, rule)
            arguments = [rate, old[0], tf.cast(g.values, s.dtype), old[1], ids]
            values = _call_back(step, arguments, [s.dtype, s.dtype])
            for target, value, before in zip((w, s), values, old, strict=True):
                value = tf.cast(tf.ensure_shape(value, before.shape), target.dtype)
                assignments.append((target, tf.IndexedSlices(value, rows)))
    # No variable is written before every value is computed.
    with tf.control_dependencies([getattr(value, "values", value) for _, value in assignments]):
        for target, value in assignments:
            assign(target, value)


def _call_back(function: Callable[..., Any], arguments: list[Any], dtypes: list[Any]) -> Any:
    """Call a function of arrays: from a TensorFlow graph, or immediately in eager mode."""
    if tf.executing_eagerly():
        results = function(*(x.numpy() for x in arguments))
        return [tf.convert_to_tensor(x, dtype) for x, dtype in zip(results, dtypes, strict=True)]
    return tf.numpy_function(function, arguments, dtypes)


def _step_copies(rule: Rule, learning_rate: Any, *arrays: Any) -> list[Array]:
    """Return the stepped w and s of dense gradients, given all w, then all g, then all s."""
    n = len(arrays) // 3
    w, s = ([np.array(a, order="C") for a in part] for part in (arrays[:n], arrays[2 * n :]))
    # Not ascontiguousarray, which adds a dimension to a scalar.
    g = [np.asarray(a, order="C") for a in arrays[n : 2 * n]]
    rate = check_real("learning_rate", float(learning_rate))
    _core.step_many(list(zip(w, g, s, strict=True)), rule._compiled, [rate] * n)
    return [*w, *s]


def _step_row_copies(
    rule: Rule, learning_rate: Any, w: Array, g: Array, s: Array, rows: Array
) -> list[Array]:
    """Return the stepped w and s of a sparse gradient."""
    w, s = w.copy(), s.copy()
    # Flattened as views: the core takes rows of one dimension.
    shape = (math.prod(w.shape[1:]),) if w.ndim > 1 else ()
    flat_w, flat_g, flat_s = (x.reshape(len(x), *shape) for x in (w, g, s))
    rate = check_real("learning_rate", float(learning_rate))
    _core.step_rows(flat_w, flat_g, flat_s, rows, rule._compiled, rate)
    return [w, s]
