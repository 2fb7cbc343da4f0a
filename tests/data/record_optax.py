"""Record states of optax and the steps after them: tests/data/optax.npz.

Also let optax itself continue from what `adagrad.convert.to_optax` returns. In an environment with
adagrad:

    pip install optax flax && python tests/data/record_optax.py

For each case, `NAME` is JSON: the config for `from_optax`, a description of the state's containers,
in which number i stands for leaf i of `jax.tree.leaves`, the shapes and dtypes of these leaves, and
the shapes of the params. Arrays hold all leaves end to end: `NAME_state` as float64, and
`NAME_grads` [3, n], `NAME_w` [4, n] and `NAME_s` [4, n], the gradients, params and accumulators.
Row 0 of the last two is where the state was taken, after three steps; the others follow.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

import adagrad
from adagrad import convert


class Layer(NamedTuple):
    kernel: Any
    bias: Any


rng = np.random.default_rng(20110701)


def normal(*shape):
    return jnp.asarray(rng.standard_normal(shape), "f4")


PARAMS = {
    "layers": [normal(2) for _ in range(12)],  # "10" sorts before "2" where lists become dicts
    "head": Layer(normal(3, 2), None),
    "embed": OrderedDict(z=normal(4), a=(normal(), normal(1))),  # whose keys are not sorted
    "frozen": flax.core.FrozenDict(b=normal(1), a=normal(2)),
}
DECAY = optax.exponential_decay(0.5, 1, 0.5, staircase=True)
LABELS = {"layers": "x", "head": "y", "embed": "x", "frozen": "y"}
PARTS = {"x": optax.adagrad(0.1), "y": optax.adagrad(0.2)}


def chain(*parts):
    return optax.chain(*parts, optax.scale_by_learning_rate(0.1))


INJECTED = optax.inject_hyperparams(optax.adagrad)
RSS, DECAYED = optax.scale_by_rss(), optax.add_decayed_weights(0.25)
# The optimizer, the config for from_optax, and the part of the state that is converted.
CASES = {
    "adagrad": (optax.adagrad(0.1), {"learning_rate": 0.1}, None),
    "options": (
        optax.adagrad(0.5, initial_accumulator_value=0.0, eps=1e-3),
        {"learning_rate": 0.5, "initial_accumulator_value": 0.0, "eps": 1e-3},
        None,
    ),
    "scheduled": (optax.adagrad(DECAY), {"learning_rate": DECAY}, None),
    "clipped": (
        optax.chain(optax.clip(0.5), DECAYED, optax.adagrad(0.1)),
        {"learning_rate": 0.1, "max_delta": 0.5, "weight_decay": 0.25},
        None,
    ),
    "decoupled": (
        chain(RSS, DECAYED),
        {"learning_rate": 0.1, "weight_decay": 0.25, "weight_decay_mode": "decoupled"},
        None,
    ),
    "alone": (RSS, {"learning_rate": 1.0}, None),
    "named": (
        optax.named_chain(("rss", RSS), ("rate", optax.scale_by_learning_rate(0.1))),
        {"learning_rate": 0.1},
        None,
    ),
    "injected": (INJECTED(learning_rate=0.1), {}, None),
    "masked": (
        optax.masked(PARTS["x"], {name: label == "x" for name, label in LABELS.items()}),
        {"learning_rate": 0.1},
        None,
    ),
    "partitioned": (
        optax.partition(PARTS, LABELS),
        {"learning_rate": 0.2},
        lambda state: state.inner_states["y"],
    ),
    "finite": (
        optax.apply_if_finite(optax.adagrad(0.1), 3),
        {"learning_rate": 0.1},
        lambda state: state.inner_state,
    ),
    "restored": (
        optax.adagrad(0.1),
        {"learning_rate": 0.1},
        lambda state: flax.serialization.msgpack_restore(flax.serialization.to_bytes(state)),
    ),
}


def described(node):
    """Return the containers of a tree of integers as JSON."""
    if node is None or isinstance(node, int):
        return node
    if hasattr(node, "_fields"):
        fields = {name: described(getattr(node, name)) for name in node._fields}
        return {"kind": "namedtuple", "name": type(node).__name__, "children": fields}
    if isinstance(node, Mapping):
        children = {key: described(child) for key, child in node.items()}
        return {"kind": type(node).__name__, "children": children}
    return {"kind": type(node).__name__, "children": [described(child) for child in node]}


def flat(leaves):
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


def run(optimizer, params, state, grads):
    for g in grads:
        updates, state = optimizer.update(g, state, params)
        params = optax.apply_updates(params, updates)
        yield params, state


arrays = {}
for name, (optimizer, config, part) in CASES.items():
    part = part or (lambda state: state)
    params = {k: v for k, v in PARAMS.items() if (name, k) != ("restored", "embed")}  # flax cannot
    grads = [
        jax.tree.map(lambda w: np.float32(10.0 ** rng.integers(-4, 3)) * normal(*w.shape), params)
        for _ in range(6)
    ]
    if name == "alone":
        optimizer = optax.chain(optimizer, optax.scale(-1.0))
        part = lambda state: state[0]  # noqa: E731
    runs = list(run(optimizer, params, optimizer.init(params), grads))[2:]
    state = part(runs[0][1])
    if name == "scheduled":
        config = {"learning_rate": float(DECAY(3))}
    leaves, structure = jax.tree.flatten(state)
    numbered = described(jax.tree.unflatten(structure, range(len(leaves))))

    # The leaves that this optimizer has, by the order of jax in the form that the state has.
    def mine(tree, name=name):
        if name in ("masked", "partitioned"):
            tree = {k: v for k, v in tree.items() if (LABELS[k] == "x") == (name == "masked")}
        if name == "restored":
            tree = flax.serialization.msgpack_restore(flax.serialization.to_bytes(tree))
        return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]

    sums = [
        [np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(part(state))
         if "sum_of_squares" in jax.tree_util.keystr(path)]
        for _, state in runs
    ]  # fmt: skip
    about = {"config": config, "state": numbered, "params": [w.shape for w in mine(params)]}
    about["leaves"] = [(np.shape(leaf), np.asarray(leaf).dtype.name) for leaf in leaves]
    arrays[name] = json.dumps(about)
    arrays[f"{name}_state"] = flat(leaves).astype("f8")
    arrays[f"{name}_grads"] = np.stack([flat(mine(g)) for g in grads[3:]])
    arrays[f"{name}_w"] = np.stack([flat(mine(w)) for w, _ in runs])
    arrays[f"{name}_s"] = np.stack([flat(s) for s in sums])

    # And back.
    ours = convert.from_optax(config, state)
    options, back = convert.to_optax(ours, jax.tree.map(np.zeros_like, state))
    assert jax.tree.structure(back) == structure
    if name != "scheduled":
        theirs = {"initial_accumulator_value": 0.1, "eps": 1e-7, **config}
        assert name == "injected" or options == theirs, (options, theirs)
    for path, leaf in jax.tree_util.tree_leaves_with_path(back):
        assert isinstance(leaf, np.ndarray), path
    assert all(map(np.array_equal, jax.tree.leaves(back), leaves)), name
    if state is runs[0][1]:
        again = list(run(optimizer, runs[0][0], back, grads[3:]))[-1]
        assert all(map(np.array_equal, jax.tree.leaves(again), jax.tree.leaves(runs[-1])))

path = Path(__file__).with_name("optax.npz")
np.savez_compressed(path, version=f"optax {optax.__version__}, jax {jax.__version__}", **arrays)
print(path, path.stat().st_size, adagrad.__version__)
