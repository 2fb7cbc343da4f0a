"""AdaGrad for Keras 3 models: `keras.optimizers.Adagrad`, its update made by the compiled core."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from adagrad import _core
from adagrad.presets import preset
from adagrad.rule import Duplicates, Rule

Array = npt.NDArray[Any]
# w, g and s in the backend's own types.
Triple = tuple[Any, Any, Any]

# Keras takes its backend when it is imported, and keeps it.
_BACKEND: str = keras.backend.backend()
if _BACKEND == "torch":
    torch = importlib.import_module("torch")
    _on_torch = importlib.import_module("adagrad.torch._keras")
elif _BACKEND == "tensorflow":
    tf = importlib.import_module("tensorflow")
elif _BACKEND == "jax":
    jax = importlib.import_module("jax")

_HALVES = ("bfloat16", "float16")
_DTYPES = ("float32", "float64", *_HALVES)


def _not_compiled(method: Callable[..., None]) -> Callable[..., None]:
    """Keep torch.compile, which may trace the rest of a training step, from views of memory."""
    return torch.compiler.disable(method) if _BACKEND == "torch" else method


@keras.saving.register_keras_serializable(package="adagrad")
class Adagrad(keras.optimizers.Adagrad):  # type: ignore[misc]
    """`keras.optimizers.Adagrad` with its update made by the compiled core.

    Arguments, state and files are those of Keras' own, whose schedules, clipping, weight decay,
    moving averages and accumulation of gradients go before and after the update as they do there.
    A model that was saved with it loads after ``import adagrad.keras``.

    Parameters
    ----------
    learning_rate : float, keras.optimizers.schedules.LearningRateSchedule or callable
        Step size, by default 0.001.
    initial_accumulator_value : float, default 0.1
        What accumulators start from; not negative.
    epsilon : float, default 1e-7
        Added to the accumulator under the root; not negative.
    weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum, \
ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name
        As for every optimizer of Keras.
    duplicates : {"each", "sum", "sequential"}, default "each"
        What repeated ids in a sparse gradient mean (`tf.IndexedSlices`; with torch, sparse COO
        tensors, which are taken uncoalesced): see `adagrad.Rule`. "each" is what Keras does; "sum"
        is what the sum of the gradients means. "unique" is a promise that there are none.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong type or is out of range.
    RuntimeError
        Where the backend is not torch, tensorflow or jax; where JAX dispatches asynchronously, in
        which its callbacks can wait for ever, until
        ``jax.config.update("jax_cpu_enable_async_dispatch", False)`` before Keras is imported; or
        under `tf.distribute` or `keras.distribution`.

    Notes
    -----
    The update is that of ``adagrad.preset("keras")``, ``s += g*g; w -= (lr*g) / sqrt(s + eps)``.
    Variables are float32, float64, float16 or bfloat16, on the CPU. Accumulators of 16-bit
    variables are float32, and the update is made in float32 and rounded once; Keras' own are of 16
    bits, in which an accumulator soon stops to grow.

    On the torch backend variables and accumulators are updated in place, all that have a dense
    gradient in one call and without a copy. A variable and its accumulator may be in any dense
    order in memory. TensorFlow and JAX own their memory: there the update is a callback that copies
    variables and accumulators once (of a sparse gradient the rows that have one), so it cannot be
    part of what XLA compiles for TensorFlow (``jit_compile=True``). docs/keras.md has the cost.

    An update is all or nothing: where one gradient is refused, the update writes no variable. What
    Keras does before it, such as `weight_decay`, stays.

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
            What will be trained.

        Raises
        ------
        TypeError
            Where the dtype of one is not supported.
        ValueError
            Where one is not on the CPU.
        """
        if self.built:
            return
        for variable in variables:
            _check_variable(variable)
        # Not Keras' own Adagrad, whose accumulators have the dtypes of the variables.
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
            # In the order of the variable in memory, so that neither needs a copy.
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
        update = {"torch": _update_torch, "tensorflow": _update_tensorflow, "jax": _update_jax}
        for variable, g, _ in triples:
            _check_shape(variable, g)
        update[_BACKEND](triples, learning_rate, _rule(self.epsilon, self.duplicates))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this optimizer again.

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
    """Return the backend's own variable, which optimizers of Keras take too."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def _check_backend() -> None:
    if _BACKEND not in ("torch", "tensorflow", "jax"):
        raise RuntimeError(
            "adagrad.keras.Adagrad needs Keras on torch, tensorflow or jax, and its backend is"
            f" {_BACKEND}"
        )
    if _BACKEND == "jax" and jax.config.values["jax_cpu_enable_async_dispatch"]:
        # https://github.com/jax-ml/jax/issues/25861; on one processor it is certain.
        raise RuntimeError(
            "adagrad.keras.Adagrad calls back from JAX, which may wait for ever in a callback: call"
            " jax.config.update('jax_cpu_enable_async_dispatch', False) before keras is imported"
        )
    if keras.distribution.distribution() is not None:
        raise RuntimeError("adagrad.keras.Adagrad does not train under keras.distribution")
    if _BACKEND == "tensorflow" and tf.distribute.has_strategy():
        raise RuntimeError("adagrad.keras.Adagrad does not train under a strategy of tf.distribute")


def _check_variable(variable: Any) -> None:
    name = _path(variable)
    dtype = keras.backend.standardize_dtype(variable.dtype)
    if dtype not in _DTYPES:
        raise TypeError(f"{name} must be of {', '.join(_DTYPES)}, got {dtype}")
    value = _value(variable)
    device = next(iter(value.devices())).platform if _BACKEND == "jax" else str(value.device)
    if "cpu" not in device.lower():
        raise ValueError(f"{name} is on {device}: adagrad trains variables on the CPU")


def _check_shape(variable: Any, g: Any) -> None:
    """Raise where a gradient has another shape, as far as a graph knows shapes."""
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


# torch: in place.


def _update_torch(triples: list[Triple], learning_rate: Any, rule: Rule) -> None:
    tensors = [(w.value, g, s.value) for w, g, s in triples]
    paths = [_path(variable) for variable, _, _ in triples]
    _on_torch.update(tensors, paths, rule, _rate(learning_rate))


# TensorFlow and JAX: a callback that makes copies and updates them.


def _step_copies(rule: Rule, learning_rate: Any, *arrays: Any) -> list[Array]:
    """Return all w, then all s, from all w, all g and all s."""
    n = len(arrays) // 3
    w, s = ([np.array(a, order="C") for a in part] for part in (arrays[:n], arrays[2 * n :]))
    # asarray and not ascontiguousarray, which gives a scalar a dimension
    g = [np.asarray(a, order="C") for a in arrays[n : 2 * n]]
    _core.step_many(list(zip(w, g, s, strict=True)), rule._compiled, [_rate(learning_rate)] * n)
    return [*w, *s]


def _step_row_copies(
    rule: Rule, learning_rate: Any, w: Array, g: Array, s: Array, rows: Array
) -> list[Array]:
    w, s = w.copy(), s.copy()
    # Views: the core takes rows of one dimension.
    shape = (math.prod(w.shape[1:]),) if w.ndim > 1 else ()
    flat_w, flat_g, flat_s = (x.reshape(len(x), *shape) for x in (w, g, s))
    _core.step_rows(flat_w, flat_g, flat_s, rows, rule._compiled, _rate(learning_rate))
    return [w, s]


def _call_back(function: Callable[..., Any], arguments: list[Any], dtypes: list[Any]) -> Any:
    """Call a function of arrays from a TensorFlow graph, or at once where there is none."""
    if tf.executing_eagerly():
        results = function(*(x.numpy() for x in arguments))
        return [tf.convert_to_tensor(x, dtype) for x, dtype in zip(results, dtypes, strict=True)]
    return tf.numpy_function(function, arguments, dtypes)


def _update_tensorflow(triples: list[Triple], learning_rate: Any, rule: Rule) -> None:
    rate = keras.ops.cast(learning_rate, "float64")
    triples = [(_value(w), tf.cast(g, w.dtype), s.value) for w, g, s in triples]
    assignments: list[Any] = []  # a method that assigns, and what
    dense = [t for t in triples if not isinstance(t[1], tf.IndexedSlices)]
    if dense:
        w, g, s = zip(*dense, strict=True)
        step = functools.partial(_step_copies, rule)
        values = _call_back(step, [rate, *w, *g, *s], [x.dtype for x in (*w, *s)])
        for target, value in zip((*w, *s), values, strict=True):
            assignments.append((target.assign, tf.ensure_shape(value, target.shape)))
    for w, g, s in triples:
        if isinstance(g, tf.IndexedSlices):
            # Only the rows that have a gradient, under ids of their own.
            rows, ids = tf.unique(g.indices)
            # A variable of 16 bits is updated in the float32 of its accumulator.
            old = [tf.cast(tf.gather(x, rows), s.dtype) for x in (w, s)]
            step = functools.partial(_step_row_copies, rule)
            arguments = [rate, old[0], tf.cast(g.values, s.dtype), old[1], ids]
            values = _call_back(step, arguments, [s.dtype, s.dtype])
            for target, value, before in zip((w, s), values, old, strict=True):
                value = tf.cast(tf.ensure_shape(value, before.shape), target.dtype)
                assignments.append((target.scatter_update, tf.IndexedSlices(value, rows)))
    # No variable is written before every value is there.
    with tf.control_dependencies([getattr(v, "values", v) for _, v in assignments]):
        for assign, value in assignments:
            assign(value)


def _update_jax(triples: list[Triple], learning_rate: Any, rule: Rule) -> None:
    variables, g, accumulators = zip(*triples, strict=True)
    targets = (*variables, *accumulators)
    w, s = ([x.value for x in part] for part in (variables, accumulators))
    values = jax.pure_callback(
        functools.partial(_step_copies, rule),
        [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (*w, *s)],
        keras.ops.convert_to_tensor(learning_rate),
        *w,
        *(keras.ops.cast(x, y.dtype) for x, y in zip(g, w, strict=True)),
        *s,
    )
    for target, value in zip(targets, values, strict=True):
        target.assign(value)
