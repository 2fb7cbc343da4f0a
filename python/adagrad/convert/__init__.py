"""Conversion of the state of other systems' AdaGrad optimizers to ours and back.

Each ``from_`` function returns a state for `adagrad.Adagrad.load_state_dict`, with the rule that
belongs to the accumulators. Each ``to_`` function takes the result of `adagrad.Adagrad.state_dict`.
The functions take and return arrays, and import no framework. Copy the params yourself.
"""

from adagrad.convert._keras import from_keras, to_keras
from adagrad.convert._mxnet import from_mxnet, to_mxnet
from adagrad.convert._optax import from_optax, to_optax
from adagrad.convert._torch import TORCH as TORCH
from adagrad.convert._torch import from_torch, to_torch

__all__ = [
    "from_keras",
    "from_mxnet",
    "from_optax",
    "from_torch",
    "to_keras",
    "to_mxnet",
    "to_optax",
    "to_torch",
]
