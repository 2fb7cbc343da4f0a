"""Time of a Keras optimizer's step, ours and Keras' own, on each backend that is installed.

A process can load only one Keras backend, so each backend runs in a separate process, on one
processor. An update is the part of a training step that the optimizer runs: `apply` on torch,
`apply` in a graph on TensorFlow. For comparison, the core updates NumPy arrays of the same shapes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import adagrad
from bench import data
from bench.harness import Report
from bench.machine import one_processor, peer
from bench.picture import Panel
from bench.results import US, Result, Shape, Variant

BACKENDS = ("torch", "tensorflow")
KERAS = "Keras"
BARE = "NumPy arrays"
LR = 0.01
LAYERS, WIDTH = 20, 64  # the small model: kernels and biases
TABLE_DIM, IDS = 16, 65_536


def sizes(smoke: bool) -> dict[str, list[tuple[int, ...]]]:
    """Return the shapes of the params of each model."""
    small = [(WIDTH, WIDTH), (WIDTH,)] * (2 if smoke else LAYERS)
    width, rows = (64, 2000) if smoke else (2048, 1 << 20)
    return {"small": small, "large": [(width, width)] * 4, "table": [(rows, TABLE_DIM)]}


def arrays(shapes: list[tuple[int, ...]], seed: int) -> list[np.ndarray]:
    """Return normal float32 arrays."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


def facts(name: str, shapes: list[tuple[int, ...]]) -> Shape:
    """Return a shape of one element, so that times are ns per update."""
    elements = sum(int(np.prod(shape)) for shape in shapes)
    label = {
        "small": f"{len(shapes)} variables, {data.thousands(elements)}",
        "large": f"{len(shapes)} variables, {data.thousands(elements)}",
        "table": f"table of {data.thousands(shapes[0][0])} rows, sparse",
        "fit": "training step of the small model",
    }[name]
    return Shape(label, 1, {"model": name, "elements": elements})


def bare(report: Report) -> None:
    """Measure the core on the same arrays."""
    rule = adagrad.preset("keras", lr=LR)
    for name, shapes in sizes(report.smoke).items():
        w, g = arrays(shapes, 1), arrays(shapes, 2)
        s = [np.full_like(x, 0.1) for x in w]
        if name == "table":
            rows = np.random.default_rng(3).integers(0, len(w[0]), IDS)
            h = arrays([(IDS, TABLE_DIM)], 4)[0]

            def call(_: Any, w: Any = w, s: Any = s, rows: Any = rows, h: Any = h) -> None:
                adagrad.step_rows(w[0], h, s[0], rows, rule)
        else:
            triples = list(zip(w, g, s, strict=True))

            def call(_: Any, triples: Any = triples) -> None:
                adagrad.step_many(triples, rule)

        report.measure(facts(name, shapes), [Variant(US, call, group=BARE)], repeat=True)


def updates(backend: str, optimizer: Any, variables: list[Any], g: list[Any]) -> Callable[[], None]:
    """Return a call that updates all variables as a training step of the backend does."""
    if backend == "tensorflow":
        import tensorflow as tf

        graph = tf.function(lambda: optimizer.apply(g, variables))
        optimizer.build(variables)
        return lambda: graph() and None
    import torch

    def apply() -> None:
        with torch.no_grad():
            optimizer.apply(g, variables)

    return apply


def gradients(backend: str, name: str, shapes: list[tuple[int, ...]]) -> list[Any]:
    """Return gradients in the backend's form: sparse for a table."""
    import keras

    if name != "table":
        return [keras.ops.convert_to_tensor(x) for x in arrays(shapes, 2)]
    rows = np.random.default_rng(3).integers(0, shapes[0][0], IDS)
    h = arrays([(IDS, TABLE_DIM)], 4)[0]
    if backend == "tensorflow":
        import tensorflow as tf

        return [tf.IndexedSlices(tf.constant(h), tf.constant(rows), tf.constant(shapes[0]))]
    import torch

    pair = torch.from_numpy(rows)[None], torch.from_numpy(h)
    return [torch.sparse_coo_tensor(*pair, shapes[0], check_invariants=False)]


def child(backend: str, report: Report) -> None:
    """Measure the backend of this process and print the results as JSON."""
    import keras

    from adagrad.keras import Adagrad

    kinds = {US: Adagrad, KERAS: keras.optimizers.Adagrad}
    array = keras.ops.convert_to_numpy
    for name, shapes in sizes(report.smoke).items():
        g = gradients(backend, name, shapes)
        variants, after = [], {}
        for label, kind in kinds.items():
            if backend == "torch" and name == "table" and label == KERAS:
                # On torch, Keras' update takes no sparse gradients: its layers make dense ones.
                g = [x.to_dense() for x in g]
            variables = [keras.Variable(x) for x in arrays(shapes, 1)]
            call = updates(backend, kind(LR), variables, g)
            call()
            after[label] = [array(v).copy() for v in variables]
            variants.append(Variant(label, lambda _, call=call: call(), group=backend))
        if not (backend == "torch" and name == "table"):  # to_dense() summed duplicates
            for ours, theirs in zip(after[US], after[KERAS], strict=True):
                np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6)
        report.measure(facts(name, shapes), variants, repeat=True)
    shapes = sizes(report.smoke)["small"]
    x, y = arrays([(64, WIDTH), (64, 1)], 5)
    variants = []
    for label, kind in kinds.items():
        layers = [keras.layers.Dense(WIDTH, "relu") for _ in range(len(shapes) // 2)]
        model = keras.Sequential([*layers, keras.layers.Dense(1)])
        model.compile(optimizer=kind(LR), loss="mse")
        model.train_on_batch(x, y)
        variants.append(
            Variant(label, lambda _, model=model: model.train_on_batch(x, y), group=backend)
        )
    report.measure(facts("fit", shapes), variants, repeat=True)
    results = [
        {"label": r.shape.label, "facts": r.shape.facts, "name": r.variant.name, "s": r.seconds}
        for r in report.results
    ]
    print(json.dumps(results))


def is_here(name: str) -> bool:
    """Return whether a package is installed; the report names the missing ones."""
    return importlib.util.find_spec(name) is not None or peer(name) is not None


def run(report: Report) -> list[Panel]:
    """Measure the core, then each backend, and print a table for each."""
    bare(report)
    report.by_shape("the core on NumPy arrays: ns per update", BARE)
    here = [name for name in ("keras", *BACKENDS) if is_here(name)]
    for backend in here[1:] if here[:1] == ["keras"] else []:
        forms = (str(int(form)) for form in (report.smoke, report.short))
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "bench.keras_fit",
                backend,
                *forms,
                str(report.args.budget or 0),
            ],
            env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{backend}: {done.stderr[-2000:]}")
        for r in json.loads(done.stdout.splitlines()[-1]):
            variant = Variant(r["name"], lambda _: None, group=backend)
            shape = Shape(r["label"], 1, r["facts"])
            report.results.append(Result(shape, variant, tuple(r["s"])))
        report.by_shape(f"{backend}: ns per update or step, and time / adagrad's", backend)
    return []


if __name__ == "__main__":
    backend, smoke, quick, budget = sys.argv[1:]
    arguments = argparse.Namespace(
        question="keras_fit",
        smoke=smoke == "1",
        quick=quick == "1",
        budget=float(budget) or None,
        only=None,
    )
    with one_processor():
        child(backend, Report(arguments, backend))
