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
FIELDS |= {"clip_value", "scale"}


def load(name):
    with np.load(GOLDEN / f"{name}.npz") as z:
        arrays = {k: z[k] for k in z.files if k != "config"}
        return arrays, json.loads(str(z["config"]))


def rule_of(config):
    framework = config["framework"]
    given = {**config.get("defaults", {}), **config}
    fields = {NAMES.get(k, k): v for k, v in given.items()}
    return adagrad.preset(framework, **{k: v for k, v in fields.items() if k in FIELDS})


CASES = sorted(p.stem for p in GOLDEN.glob("*.npz"))
