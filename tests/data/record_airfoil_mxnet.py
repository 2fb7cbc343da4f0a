"""Record MXNet's runs of the airfoil regression: python/adagrad/data/airfoil_mxnet.npz.

The textbook replays them. MXNet 1.9.1, the last release, needs NumPy before 1.24, so it has an
environment of its own, in which adagrad runs although it asks for a newer NumPy:

    python3.11 -m venv mxnet
    mxnet/bin/pip install --no-deps mxnet==1.9.1 adagrad
    mxnet/bin/pip install 'numpy==1.23.5' 'graphviz<0.9' requests
    mxnet/bin/python tests/data/record_airfoil_mxnet.py

The file has MXNet's `version` and, for each of the two programs, `NAME_grads` and `NAME_params`:
float32 arrays of shape [300, 6] with the gradient and the params after each step, five weights and
the bias. The gradients of the concise program are sums over the ten examples.
"""

from __future__ import annotations

from pathlib import Path

import mxnet
import numpy
from mxnet import autograd, gluon, np, npx

import adagrad
from adagrad.textbook import airfoil_with_program

LR = 0.1
grads, params = {}, {}


def keep(name, g, p):
    """Append a gradient and the params after its step; return the weights and the bias."""
    g, p = (numpy.concatenate([part.asnumpy().ravel() for part in pair]) for pair in (g, p))
    grads.setdefault(name, []).append(g)
    params.setdefault(name, []).append(p)
    return p[:5], p[5:]


def from_scratch(w, b):
    """The update written out, on the mean of the halved squares."""
    w, b = np.array(w), np.array(b)
    sums = np.zeros_like(w), np.zeros_like(b)
    w.attach_grad()
    b.attach_grad()

    def step(x, y):
        with autograd.record():
            loss = ((np.dot(np.array(x), w) + b - np.array(y)) ** 2 / 2).mean()
        loss.backward()
        for p, s in zip((w, b), sums, strict=True):
            s += np.square(p.grad)
            p -= LR * p.grad / np.sqrt(s + 1e-6)
        return keep("scratch", (w.grad, b.grad), (w, b))

    return step


def concise(w, b):
    """A layer, a loss and a trainer of Gluon, which divides the gradient by the batch size."""
    net = gluon.nn.Dense(1, in_units=5)
    net.initialize()
    net.weight.set_data(np.array(w.reshape(1, 5)))
    net.bias.set_data(np.array(b))
    trainer = gluon.Trainer(net.collect_params(), "adagrad", {"learning_rate": LR})
    halved_square = gluon.loss.L2Loss()

    def step(x, y):
        with autograd.record():
            loss = halved_square(net(np.array(x)), np.array(y))
        loss.backward()
        trainer.step(len(y))
        params = net.weight, net.bias
        return keep("concise", [p.grad() for p in params], [p.data() for p in params])

    return step


npx.set_np()
for program in (from_scratch, concise):
    print(program.__name__, airfoil_with_program(program).losses[-1])
numpy.savez_compressed(
    Path(adagrad.__file__).with_name("data") / "airfoil_mxnet.npz",
    version=mxnet.__version__,
    **{f"{name}_grads": numpy.array(rows) for name, rows in grads.items()},
    **{f"{name}_params": numpy.array(rows) for name, rows in params.items()},
)
