"""What tests of embedding bags on tables share: tables, their bytes, and torch's own module."""

from __future__ import annotations

import numpy as np
import torch

import adagrad

ROWS, DIM = 12, 4  # few rows: most ids of a batch repeat


def make(rows=ROWS, dim=DIM, seed=0, **options):
    """Return a table of normal params."""
    rule = options.pop("rule", adagrad.preset("torch", lr=0.1))
    return adagrad.Table(rows, dim, rule, init="normal", init_scale=1.0, seed=seed, **options)


def held(*tables):
    """Return all that a step or a load changes."""
    return [(t._memory.tobytes(), t.steps, t.skipped, t.seed, t.rule) for t in tables]


def theirs(table, **options):
    """Return torch's module with the params of the table, and its optimizer."""
    w = torch.from_numpy(np.array(table.weights)).reshape(table.rows, table.dim)
    module = torch.nn.EmbeddingBag.from_pretrained(w, freeze=False, **options)
    return module, torch.optim.Adagrad(module.parameters(), lr=0.1)
