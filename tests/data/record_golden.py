"""Record the AdaGrad of a framework that lacks an adapter here: tests/data/golden.

Each framework in an environment of its own, without adagrad:

    pip install tensorflow-cpu tf_keras && python tests/data/record_golden.py tensorflow
    pip install paddlepaddle && python tests/data/record_golden.py paddle
    pip install torch torchrec && python tests/data/record_golden.py torchrec
    pip install torch deepspeed && DS_ACCELERATOR=cpu python tests/data/record_golden.py deepspeed
    pip install lightfm && python tests/data/record_golden.py lightfm
    pip install chainer==7.8.1 'numpy<1.24' && python tests/data/record_golden.py chainer

The README of the folder describes the files. `preset` in a config is the preset that reproduces the
run, with the other entries of the config as its fields.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

STEPS, ROWS = 40, 50
FOLDER = Path(__file__).with_name("golden")


def wide(rng, shape):
    scaled = rng.standard_normal(shape) * 10.0 ** rng.integers(-4, 4, shape)
    return np.where(rng.random(shape) < 0.125, 0.0, scaled).astype("f4")


def dense(name, start, step, **config):
    """Record `step(w, s, g)`, which updates both in place, on 64 params."""
    rng = np.random.default_rng(20110701)
    w = rng.standard_normal(64).astype("f4")
    grads = wide(rng, (STEPS, 64))
    record(name, w, start, [(step, g) for g in grads], {"grads": grads}, config)


def sparse(name, start, step, **config):
    """Record `step(w, s, (rows, g))` on 50 rows of 6, with duplicates."""
    rng = np.random.default_rng(20110702)
    w = rng.standard_normal((ROWS, 6)).astype("f4")
    rows = rng.integers(0, ROWS, (STEPS, 24))
    values = wide(rng, (STEPS, 24, 6))
    steps = [(step, pair) for pair in zip(rows, values)]  # noqa: B905 (Python 3.8 records Chainer)
    record(name, w, start, steps, {"indices": rows, "values": values}, config)


def record(name, w0, start, steps, arrays, config):
    w, s = w0.copy(), np.full_like(w0, start)
    ws, sums = [], []
    for step, g in steps:
        w, s = step(w, s, g)
        ws.append(np.array(w))
        sums.append(np.array(s))
    about = json.dumps({**config, "initial_accumulator_value": start})
    arrays = {**arrays, "w0": w0, "w": np.stack(ws), "s": np.stack(sums)}
    np.savez_compressed(FOLDER / f"{name}.npz", config=about, **arrays)
    print(name, config)


def tensorflow():
    import tensorflow as tf
    import tf_keras

    about = {"framework": "tensorflow", "version": tf.__version__, "lr": 0.1}
    old = {**about, "preset": "tf1"}
    new = {**about, "preset": "torch", "eps": 1e-7}

    def stepper(make):
        held = {}

        def step(w, s, g):
            if not held:
                held["w"], held["optimizer"] = tf.Variable(w), make()
            g = tf.IndexedSlices(g[1], g[0], w.shape) if isinstance(g, tuple) else tf.constant(g)
            held["optimizer"].apply_gradients([(g, held["w"])])
            if hasattr(held["optimizer"], "get_slot"):
                s = held["optimizer"].get_slot(held["w"], "accumulator")
            else:
                (s,) = (v for v in held["optimizer"].variables if "accumulator" in v.name)
            return held["w"].numpy(), s.numpy()

        return step

    def v1():
        return tf.compat.v1.train.AdagradOptimizer(0.1)

    def v2():
        return tf_keras.optimizers.legacy.Adagrad(0.1)

    dense("tensorflow-dense-v1", 0.1, stepper(v1), **old)
    sparse("tensorflow-sparse-v1", 0.1, stepper(v1), **old)
    dense("tensorflow-dense-legacy", 0.1, stepper(v2), **new)
    sparse("tensorflow-sparse-legacy", 0.1, stepper(v2), **new)

    def v3():
        return tf_keras.optimizers.Adagrad(0.1, jit_compile=False)

    keras2 = {**about, "preset": "keras", "duplicates": "sum"}
    dense("tensorflow-dense-keras2", 0.1, stepper(v3), **keras2)
    sparse("tensorflow-sparse-keras2", 0.1, stepper(v3), **keras2)

    def raw(w, s, g):
        w, s = tf.Variable(w), tf.Variable(s)
        tf.raw_ops.ResourceApplyAdagradV2(
            var=w.handle, accum=s.handle, lr=0.1, epsilon=1e-7, grad=tf.constant(g)
        )
        return w.numpy(), s.numpy()

    def proximal(w, s, g):
        w, s = tf.Variable(w), tf.Variable(s)
        tf.raw_ops.ResourceApplyProximalAdagrad(
            var=w.handle, accum=s.handle, lr=0.1, l1=0.0, l2=0.0, grad=tf.constant(g)
        )
        return w.numpy(), s.numpy()

    dense("tensorflow-dense-raw_v2", 0.0, raw, **new)
    dense("tensorflow-dense-proximal", 0.1, proximal, **old)


def paddle():
    import paddle

    held = {}

    def step(w, s, g):
        if not held:
            start = paddle.nn.initializer.Assign(w)
            held["w"] = paddle.create_parameter([64], "float32", default_initializer=start)
            held["optimizer"] = paddle.optimizer.Adagrad(0.1, parameters=[held["w"]])
        (held["w"] * paddle.to_tensor(g)).sum().backward()
        held["optimizer"].step()
        held["optimizer"].clear_grad()
        (s,) = (v for k, v in held["optimizer"].state_dict().items() if "moment" in k)
        return held["w"].numpy(), s.numpy()

    about = {"framework": "paddle", "version": paddle.__version__, "preset": "torch"}
    dense("paddle-dense-lr", 0.0, step, **about, lr=0.1, eps=1e-6)


def torchrec():
    import importlib.metadata
    import runpy

    import torch

    # The file itself, which needs nothing but torch: the package needs fbgemm's operators.
    package = importlib.metadata.distribution("torchrec")
    names = runpy.run_path(str(package.locate_file("torchrec/optim/rowwise_adagrad.py")))
    held = {}

    def step(w, s, pair):
        if not held:
            held["w"] = torch.nn.Parameter(torch.from_numpy(w.copy()))
            held["optimizer"] = names["RowWiseAdagrad"]([held["w"]], lr=0.1)
        rows, values = pair
        held["w"].grad = torch.zeros(w.shape)
        held["w"].grad.index_add_(0, torch.from_numpy(rows), torch.from_numpy(values))
        held["optimizer"].step()
        (state,) = held["optimizer"].state.values()
        return held["w"].detach().numpy(), state["sum"].numpy().reshape(-1)

    about = {"framework": "torchrec", "version": package.version, "preset": "torchrec_rowwise"}
    sparse("torchrec-sparse-lr", 0.0, step, **about, lr=0.1)


def deepspeed():
    import deepspeed
    import torch
    from deepspeed.ops.adagrad import DeepSpeedCPUAdagrad

    held = {}

    def step(w, s, g):
        if not held:
            held["w"] = torch.nn.Parameter(torch.from_numpy(w.copy()))
            held["optimizer"] = DeepSpeedCPUAdagrad([held["w"]], lr=0.1)
        held["w"].grad = torch.from_numpy(g.copy())  # it writes to gradients
        held["optimizer"].step()
        return held["w"].detach().numpy(), held["optimizer"].state[held["w"]]["exp_avg_sq"].numpy()

    about = {"framework": "deepspeed", "version": deepspeed.__version__, "preset": "torch"}
    dense("deepspeed-dense-lr", 0.0, step, **about, lr=0.1)


def lightfm():
    import lightfm
    from scipy import sparse as matrices

    model = lightfm.LightFM(no_components=64, loss="logistic", random_state=0)
    one = matrices.coo_matrix(np.ones((1, 1), "f4"))
    model.fit_partial(one, epochs=0)
    model.user_embeddings[:] = np.random.default_rng(0).standard_normal((1, 64))
    start = model.user_embeddings[0].copy()
    rng, grads, ws, sums = np.random.default_rng(1), [], [], []
    for _ in range(STEPS):  # one example: the gradient of the user is the loss times the item
        item = wide(rng, (1, 64)) / np.float32(1e3)
        model.item_embeddings[:] = item
        model.item_biases[:] = model.user_biases[:] = 0.0
        score = float(model.user_embeddings[0].astype("f8") @ item[0])
        grads.append(((1.0 / (1.0 + np.exp(-score)) - 1.0) * item[0].astype("f8")).astype("f4"))
        model.fit_partial(one, epochs=1)
        ws.append(model.user_embeddings[0].copy())
        sums.append(model.user_embedding_gradients[0].copy())
    about = {"framework": "lightfm", "version": lightfm.__version__, "preset": "lightfm"}
    arrays = {"grads": np.stack(grads), "w0": start, "w": np.stack(ws), "s": np.stack(sums)}
    np.savez_compressed(FOLDER / "lightfm-dense-defaults.npz", config=json.dumps(about), **arrays)


def chainer():
    import chainer

    held = {}

    def step(w, s, g):
        if not held:
            held["link"] = chainer.Link()
            with held["link"].init_scope():
                held["link"].w = chainer.Parameter(w.copy())
            held["optimizer"] = chainer.optimizers.AdaGrad().setup(held["link"])
        held["link"].w.grad = g
        held["optimizer"].update()
        return held["link"].w.data, held["link"].w.update_rule.state["h"]

    about = {"framework": "chainer", "version": chainer.__version__, "preset": "torch"}
    dense("chainer-dense-defaults", 0.0, step, **about, lr=0.001, eps=1e-8)


globals()[sys.argv[1]]()
