"""AdaGrad for Keras 3: `keras.optimizers.Adagrad` with its update computed by the compiled core.

Runs on Keras' torch and TensorFlow backends.
"""

from __future__ import annotations

from adagrad.keras.optimizer import Adagrad

__all__ = ["Adagrad"]
