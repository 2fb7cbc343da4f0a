"""AdaGrad for Keras 3: `keras.optimizers.Adagrad` with its update computed by the compiled core.

Runs on Keras' torch and TensorFlow backends. The in-place update of torch tensors is in
`adagrad.torch._keras`; the callback for TensorFlow is here.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad.presets import preset
from adagrad.rule import Duplicates, Rule

__all__ = ["Adagrad"]

Array = npt.NDArray[Any]
# (w, g, s) in the backend's own types.
Triple = tuple[Any, Any, Any]

# Keras chooses its backend once, on import.
_BACKEND: str = keras.backend.backend()
if _BACKEND == "torch":
    torch = importlib.import_module("torch")
    _on_torch = importlib.import_module("adagrad.torch._keras")
elif _BACKEND == "tensorflow":
    tf = importlib.import_module("tensorflow")

_HALVES = ("bfloat16", "float16")
_DTYPES = ("float32", "float64", *_HALVES)


def _not_compiled(method: Callable[..., None]) -> Callable[..., None]:
    """Exclude a method from torch.compile, which cannot trace writes through NumPy views."""
    return torch.compiler.disable(method) if _BACKEND == "torch" else method


@keras.saving.register_keras_serializable(package="adagrad")
class Adagrad(keras.optimizers.Adagrad):  # type: ignore[misc]
    r"""`keras.optimizers.Adagrad` with its update computed by the compiled core.

    The arguments, state and files are those of Keras' own optimizer. Schedules, clipping, weight
    decay, moving averages and gradient accumulation are Keras' own code, which runs before and
    after the update. A model saved with this optimizer loads after ``import adagrad.keras``.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable, default 0.001
        Step size.
    initial_accumulator_value : float, default 0.1
        Initial value of the accumulators; not negative.
    epsilon : float, default 1e-7
        Added to the accumulator under the root; not negative.
    weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum
        As for every optimizer of Keras.
    ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name
        As for every optimizer of Keras.
    duplicates : {"each", "sum", "sequential", "unique"}, default "each"
        Policy for repeated ids in a sparse gradient: a `tf.IndexedSlices`, or on torch a sparse COO
        tensor, which need not be coalesced. "each" is what Keras does. "sum" adds the gradients of
        an id and makes one update. See `adagrad.Rule` for all policies.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.
    RuntimeError
        If Keras' backend is not torch or tensorflow, or under `tf.distribute` or
        `keras.distribution`.

    Notes
    -----
    The update is that of ``adagrad.preset("keras")``:

    .. math::

        s &\leftarrow s + g^2 \\
        w &\leftarrow w - \frac{\eta}{\sqrt{s + \epsilon}}\, g

    Variables are float32, float64, float16 or bfloat16, on the CPU. Accumulators of 16-bit
    variables are float32, and the update is computed in float32 and rounded once. Keras' own
    accumulators have 16 bits, in which a sum of squares soon stops growing.

    On the torch backend, variables and accumulators are updated in place. All variables with a
    dense gradient take one call, without a copy. A variable may have any dense order in memory, and
    its accumulator has the same. TensorFlow owns its memory, so there the update is a callback that
    copies variables and accumulators once; for a sparse gradient it copies only the rows that have
    one. XLA cannot compile the callback (``jit_compile=True``). ``docs/keras.md`` has the cost.

    An update is all or nothing: if one gradient is refused, the update writes no variable. What
    Keras has done before, such as `weight_decay`, is not undone.

    Examples
    --------
    >>> import keras
    >>> from adagrad.keras import Adagrad
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.compile(optimizer=Adagrad(learning_rate=0.1), loss="mse")
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        *,
        duplicates: Duplicates = "each",
    ) -> None:
        _check_backend()
        preset(
            "keras",
            eps=epsilon,
            initial_accumulator=initial_accumulator_value,
            duplicates=duplicates,
        )
        super().__init__(
            learning_rate=learning_rate,
            initial_accumulator_value=initial_accumulator_value,
            epsilon=epsilon,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        self.duplicates = duplicates

    def build(self, variables: Sequence[Any]) -> None:
        """Create the accumulators.

        Parameters
        ----------
        variables : list of keras.Variable
            The variables to train.

        Raises
        ------
        TypeError
            If the dtype of a variable is not supported.
        ValueError
            If a variable is not on the CPU.
        """
        if self.built:
            return
        for variable in variables:
            _check_variable(variable)
        # Skips Keras' own Adagrad, whose accumulators have the dtypes of the variables.
        super(keras.optimizers.Adagrad, self).build(variables)
        self._accumulators = [self._new_accumulator(variable) for variable in variables]

    def _new_accumulator(self, variable: Any) -> Any:
        if self._overwrite_variable_with_gradient(variable):
            return None
        dtype = keras.backend.standardize_dtype(variable.dtype)
        name = _path(variable).replace("/", "_").replace(":", "_")
        accumulator = self.add_variable(
            variable.shape,
            keras.initializers.Constant(self.initial_accumulator_value),
            dtype="float32" if dtype in _HALVES else dtype,
            name=f"{name}_accumulator",
        )
        if _BACKEND == "torch":
            # With the strides of the variable, so that the update copies neither.
            data = accumulator.value.data
            accumulator.value.data = torch.empty_like(variable.value, dtype=data.dtype).copy_(data)
        return accumulator

    @_not_compiled
    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        accumulators = [
            self._accumulators[self._get_variable_index(v)] for v in trainable_variables
        ]
        triples = list(zip(trainable_variables, grads, accumulators, strict=True))
        update = _update_torch if _BACKEND == "torch" else _update_tensorflow
        for variable, g, _ in triples:
            _check_shape(variable, g)
        update(triples, learning_rate, _rule(self.epsilon, self.duplicates))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments from which `from_config` makes an equal optimizer.

        Returns
        -------
        dict
        """
        return {**super().get_config(), "duplicates": self.duplicates}


@functools.lru_cache(maxsize=64)
def _rule(epsilon: float, duplicates: Duplicates) -> Rule:
    return preset("keras", eps=epsilon, duplicates=duplicates)


def _path(variable: Any) -> str:
    path: str = getattr(variable, "path", variable.name)
    return path


def _value(variable: Any) -> Any:
    """Return the backend's variable; optimizers accept one instead of a keras.Variable."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def _check_backend() -> None:
    if _BACKEND not in ("torch", "tensorflow"):
        raise RuntimeError(
            f"adagrad.keras.Adagrad does not run on Keras' {_BACKEND} backend: use"
            " keras.optimizers.Adagrad, or the torch or tensorflow backend"
        )
    if keras.distribution.distribution() is not None:
        raise RuntimeError("adagrad.keras.Adagrad does not support keras.distribution")
    if _BACKEND == "tensorflow" and tf.distribute.has_strategy():
        raise RuntimeError("adagrad.keras.Adagrad does not support strategies of tf.distribute")


def _check_variable(variable: Any) -> None:
    name = _path(variable)
    dtype = keras.backend.standardize_dtype(variable.dtype)
    if dtype not in _DTYPES:
        raise TypeError(
            f"{name} must have dtype {', '.join(_DTYPES[:-1])} or {_DTYPES[-1]}, got {dtype}"
        )
    device = str(_value(variable).device)
    if "cpu" not in device.lower():
        raise ValueError(f"{name} is on {device}; adagrad trains variables on the CPU only")


def _check_shape(variable: Any, g: Any) -> None:
    """Raise if a gradient has another shape, as far as a graph knows it."""
    wanted = tuple(variable.shape)
    if _BACKEND != "tensorflow":
        shape = tuple(g.shape)
        fits = shape == wanted
    elif isinstance(g, tf.IndexedSlices):
        shape = tf.TensorShape(g.values.shape)
        fits = shape.is_compatible_with((None, *wanted[1:]))
    else:
        shape = tf.TensorShape(g.shape)
        fits = shape.is_compatible_with(wanted)
    if not fits:
        raise ValueError(
            f"the gradient of {_path(variable)} has shape {shape}, but the variable has {wanted}"
        )


def _rate(learning_rate: Any) -> float:
    rate = float(learning_rate)
    if not (math.isfinite(rate) and rate >= 0.0):
        raise ValueError(f"learning_rate must be finite and not negative, got {rate!r}")
    return rate


def _update_torch(triples: list[Triple], learning_rate: Any, rule: Rule) -> None:
    tensors = [(w.value, g, s.value) for w, g, s in triples]
    paths = [_path(variable) for variable, _, _ in triples]
    _on_torch.update(tensors, paths, rule, _rate(learning_rate))


def _step_copies(rule: Rule, learning_rate: Any, *arrays: Any) -> list[Array]:
    """Return the stepped w and s of dense gradients, given all w, then all g, then all s."""
    n = len(arrays) // 3
    w, s = ([np.array(a, order="C") for a in part] for part in (arrays[:n], arrays[2 * n :]))
    # Not ascontiguousarray, which adds a dimension to a scalar.
    g = [np.asarray(a, order="C") for a in arrays[n : 2 * n]]
    _core.step_many(list(zip(w, g, s, strict=True)), rule._compiled, [_rate(learning_rate)] * n)
    return [*w, *s]


def _step_row_copies(
    rule: Rule, learning_rate: Any, w: Array, g: Array, s: Array, rows: Array
) -> list[Array]:
    """Return the stepped w and s of a sparse gradient."""
    w, s = w.copy(), s.copy()
    # Flattened as views: the core takes rows of one dimension.
    shape = (math.prod(w.shape[1:]),) if w.ndim > 1 else ()
    flat_w, flat_g, flat_s = (x.reshape(len(x), *shape) for x in (w, g, s))
    _core.step_rows(flat_w, flat_g, flat_s, rows, rule._compiled, _rate(learning_rate))
    return [w, s]


def _call_back(function: Callable[..., Any], arguments: list[Any], dtypes: list[Any]) -> Any:
    """Call a function of arrays: from a TensorFlow graph, or immediately in eager mode."""
    if tf.executing_eagerly():
        results = function(*(x.numpy() for x in arguments))
        return [tf.convert_to_tensor(x, dtype) for x, dtype in zip(results, dtypes, strict=True)]
    return tf.numpy_function(function, arguments, dtypes)


def _update_tensorflow(triples: list[Triple], learning_rate: Any, rule: Rule) -> None:
    rate = keras.ops.cast(learning_rate, "float64")
    triples = [(_value(w), tf.cast(g, w.dtype), s.value) for w, g, s in triples]
    assignments: list[Any] = []  # pairs of an assigning method and its argument
    dense = [t for t in triples if not isinstance(t[1], tf.IndexedSlices)]
    if dense:
        w, g, s = zip(*dense, strict=True)
        step = functools.partial(_step_copies, rule)
        values = _call_back(step, [rate, *w, *g, *s], [x.dtype for x in (*w, *s)])
        for target, value in zip((*w, *s), values, strict=True):
            assignments.append((target.assign, tf.ensure_shape(value, target.shape)))
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
                assignments.append((target.scatter_update, tf.IndexedSlices(value, rows)))
    # No variable is written before every value is computed.
    with tf.control_dependencies([getattr(v, "values", v) for _, v in assignments]):
        for assign, value in assignments:
            assign(value)
