"""The optimizer: Keras' own, except for its accumulators and its update.

The update in the memory of torch's tensors is in `adagrad.torch._keras`, the callback for
TensorFlow in `adagrad.keras._tensorflow`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import keras

from adagrad._arguments import check_real
from adagrad.presets import preset
from adagrad.rule import Duplicates, Rule

__all__ = ["Adagrad"]

# Keras chooses its backend once, on import.
_BACKEND: str = keras.backend.backend()
if _BACKEND == "torch":
    torch = importlib.import_module("torch")
    _on_torch = importlib.import_module("adagrad.torch._keras")
elif _BACKEND == "tensorflow":
    tf = importlib.import_module("tensorflow")
    _on_tensorflow = importlib.import_module("adagrad.keras._tensorflow")

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
    **kwargs
        For Keras, which ignores `decay` with a warning and refuses everything else.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.
    RuntimeError
        If Keras' backend is not torch or tensorflow, or under `tf.distribute` or
        `keras.distribution`. Later, from `keras.Model.compile`, if the model was made in the scope
        of a strategy of `tf.distribute`, or with ``jit_compile=True`` on TensorFlow.

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
    one. XLA cannot compile a callback, so ``jit_compile="auto"`` means False there.
    ``docs/keras.md`` has the cost.

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
        **kwargs: Any,
    ) -> None:
        _check_surroundings()
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
            **kwargs,
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
        RuntimeError
            As for `apply`.
        TypeError
            If the dtype of a variable is not supported.
        ValueError
            If a variable is not on the CPU.
        """
        _check_surroundings()
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

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Update variables from their gradients, as `keras.optimizers.Optimizer.apply` does.

        Parameters
        ----------
        grads : list of tensors
            A gradient for each variable; None leaves the variable as it is.
        trainable_variables : list of keras.Variable, optional
            The variables. By default, all that the optimizer was built with.

        Raises
        ------
        RuntimeError
            Under `keras.distribution`, and on TensorFlow under `tf.distribute` or in a function
            that XLA compiles.
        TypeError, ValueError, IndexError
            If a gradient does not match its variable. The update then writes no variable.
        """
        _check_surroundings()
        if _BACKEND == "torch" and self.built and keras.src.backend.in_stateless_scope():
            # There, values belong to the caller: what is written to in place is a copy.
            for variable in (*self._trainable_variables, *self._accumulators):
                if variable is not None:
                    value = variable.value.detach()
                    variable.assign(value.clone(memory_format=torch.contiguous_format))
        super().apply(grads, trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable. A subclass may override this, as with every optimizer of Keras.

        Parameters
        ----------
        gradient : tensor
            Dense or sparse.
        variable : keras.Variable
            One of those that the optimizer was built with.
        learning_rate : float or scalar tensor
            Finite and not negative.
        """
        self._update([gradient], [variable], learning_rate)

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        if type(self).update_step is Adagrad.update_step:
            self._update(grads, trainable_variables, learning_rate)
        else:
            for g, variable in zip(grads, trainable_variables, strict=True):
                self.update_step(g, variable, learning_rate)

    @_not_compiled
    def _update(self, grads: Sequence[Any], variables: Sequence[Any], learning_rate: Any) -> None:
        accumulators = [self._accumulators[self._get_variable_index(v)] for v in variables]
        for variable, g in zip(variables, grads, strict=True):
            _check_shape(variable, g)
        triples = list(zip(map(_value, variables), grads, map(_value, accumulators), strict=True))
        rule = _rule(self.epsilon, self.duplicates)
        if _BACKEND == "torch":
            rate = check_real("learning_rate", float(learning_rate))
            _on_torch.update(triples, [_path(v) for v in variables], rule, rate)
        else:
            _on_tensorflow.update(triples, learning_rate, rule, self.assign)

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


def _check_surroundings() -> None:
    if _BACKEND not in ("torch", "tensorflow"):
        raise RuntimeError(
            f"adagrad.keras.Adagrad does not run on Keras' {_BACKEND} backend: use"
            " keras.optimizers.Adagrad, or the torch or tensorflow backend"
        )
    if keras.distribution.distribution() is not None:
        raise RuntimeError(
            "adagrad.keras.Adagrad does not support keras.distribution: use"
            " keras.optimizers.Adagrad, or keras.distribution.set_distribution(None)"
        )
    if _BACKEND == "tensorflow":
        _on_tensorflow.check_scope()


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


if _BACKEND == "tensorflow":
    _on_tensorflow.refuse_at_compile(Adagrad)
