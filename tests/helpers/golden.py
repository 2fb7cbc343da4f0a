"""Trajectories recorded from the frameworks themselves (tests/data/golden)."""

from __future__ import annotations

import json

import numpy as np

import adagrad
from checks import DATA

GOLDEN = DATA / "golden"

# Names in the recordings that differ from the names of the fields of Rule.
NAMES = {
    "learning_rate": "lr",
    "epsilon": "eps",
    "initial_accumulator_value": "initial_accumulator",
    "wd": "weight_decay",
    "clip_gradient": "clip_value",
    "clipvalue": "clip_value",
    "rescale_grad": "scale",
}
FIELDS = {"lr", "eps", "initial_accumulator", "lr_decay", "weight_decay", "maximize"}
FIELDS |= {"clip_value", "scale", "duplicates"}

# (absolute, relative) tolerance; (0, 0) is bit for bit. The reasons stand in golden/README.md:
# torch and XLA fuse or reorder operations, TensorFlow 1 multiplies by a reciprocal root, Keras
# reduces norms and decays in a graph of its own.
TOLERANCE = {
    "torch": (2.5e-7, 0.0),
    "torchrec": (2.5e-7, 0.0),
    "optax": (4e-7, 0.0),
    "fbgemm": (2.5e-7, 0.0),
    "paddle": (2.5e-7, 0.0),
    "lightfm": (2.5e-7, 0.0),
    "deepspeed": (2.5e-7, 0.0),
    "tensorflow-dense-v1": (2.5e-7, 0.0),
    "tensorflow-sparse-v1": (2.5e-7, 0.0),
    "tensorflow-dense-proximal": (2.5e-7, 0.0),
    "keras-dense-weight_decay": (0.0, 3e-6),
    "keras-dense-clipnorm": (0.0, 3e-6),
}


def load(name):
    with np.load(GOLDEN / f"{name}.npz") as z:
        arrays = {k: z[k] for k in z.files if k != "config"}
        return arrays, json.loads(str(z["config"]))


def rule_of(config):
    """The rule of a recording: its preset, that of the framework unless it names one."""
    name = config.get("preset", config["framework"])
    given = {**config.get("defaults", {}), **config}
    fields = {NAMES.get(k, k): v for k, v in given.items()}
    return adagrad.preset(name, **{k: v for k, v in fields.items() if k in FIELDS})


CASES = sorted(p.stem for p in GOLDEN.glob("*.npz"))


def tolerance(name):
    return TOLERANCE.get(name, TOLERANCE.get(name.split("-")[0], (0.0, 0.0)))
