"""The oracle of distributed training: one process trains whole tables on the same batches.

It fixes which params a batch reads, and when its gradients step. The steps are those of
`adagrad.Table`, the gradients those that test_factorization.py compares with their own oracle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

import adagrad
from adagrad.ctr.learners.compiled import gradients
from adagrad.ctr.learners.layouts import layouts
from adagrad.ctr.learners.model import Model
from ctr_reference import ftrl_step


def batch_lengths(rows: int, first: int, batch_size: int, staleness: int) -> list[int]:
    """Lengths of the batches of a first pass, whose rounds are an eighth of what precedes them."""
    lengths, at = [], first
    while at < rows:
        length = min(batch_size, max(64, at // (8 * (staleness + 1))), rows - at)
        lengths.append(length)
        at += length
    return lengths


def trained(plan: Any, table: pa.Table, y: Any) -> Model:
    """Return the model that `sync` must give on any number of workers and shards, bit for bit."""
    settings, model = plan.settings, Model(plan.settings)
    x = plan.encoder.transform(table)
    first = model.learn(plan.first.x, plan.first.y, count=False)
    predicted = plan.first.margins
    model.progressive.add(first if predicted is None else predicted, plan.first.y)
    at = len(plan.first.x)
    lengths = batch_lengths(len(x), at, plan.cluster.batch_size, plan.cluster.staleness)
    for start in range(0, len(lengths), plan.cluster.staleness + 1):
        slots, sums, of_bias = [], {name: [] for name in layouts(settings)}, []
        for length in lengths[start : start + plan.cluster.staleness + 1]:
            some, labels = x[at : at + length], y[at : at + length]
            memory, bias = summed(model, some, labels)
            touched = np.unique(some.slots)
            slots.append(touched)
            for name, rows in memory.items():
                dim = rows.shape[1] // 2
                g = rows[touched, 1] if dim == 1 else rows[touched, dim:]
                sums[name].append(np.ascontiguousarray(g))
            of_bias.append(np.float32(0) if bias is None else bias[1])
            model.progressive.add(model.margins(some), labels)
            at += length
        for name, of_batches in sums.items():
            table, rows, g = model.tables[name], np.concatenate(slots), np.concatenate(of_batches)
            if name == "linear" and settings.is_penalized:
                coalesced, rows_of = np.unique(rows, return_inverse=True)
                sums_of = np.zeros(len(coalesced), np.float32)
                np.add.at(sums_of, rows_of, g)  # in order
                z, s = table.weights, table.state
                ftrl_step(settings.rule, (settings.l1, settings.l2), z, s, coalesced, sums_of)
            else:
                table.step(rows, g, "sum")
        if model.bias is not None:
            w, s = model.bias[:1], model.bias[1:]
            rule = settings.rule.replace(weight_decay=0.0)
            adagrad.step_rows(w, np.array(of_bias), s, np.zeros(len(of_bias), int), rule)
    model.examples = at
    return model


def summed(model: Model, x: Any, y: Any) -> tuple[dict[str, Any], Any]:
    """Return copies of all params with the summed gradients of a batch beside them."""
    memory = {}
    for name, table in model.tables.items():
        rows = table._memory.view(np.float32).reshape(table.rows, -1).copy()
        rows[:, rows.shape[1] // 2 :] = 0
        if name == "linear":
            rows[:, 0] = model.linear()[0]
        memory[name] = rows
    bias = None if model.bias is None else np.array([model.bias[0], 0], np.float32)
    gradients(model.settings, memory, bias, x, y)
    return memory, bias
