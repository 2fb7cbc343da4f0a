"""What tests of steps on torch share: params, gradients, and comparisons."""

from __future__ import annotations

import numpy as np
import torch

from checks import wide_range


def params(rng, dtype="float32", shapes=((7, 3), (5,), ())):
    return [torch.nn.Parameter(torch.tensor(rng.standard_normal(s).astype(dtype))) for s in shapes]


def copies(tensors):
    return [torch.nn.Parameter(t.detach().clone()) for t in tensors]


def set_grads(rng, *models):
    for tensors in zip(*models, strict=True):
        dtype = str(tensors[0].dtype).removeprefix("torch.")
        g = torch.tensor(wide_range(rng, tuple(tensors[0].shape), dtype))
        for t in tensors:
            t.grad = g.clone()


def assert_close(a, b, tolerance=5e-7):
    for x, y in zip(a, b, strict=True):
        x, y = (t.detach().double().numpy() for t in (x, y))
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def snapshot(opt):
    tensors = [p for group in opt.param_groups for p in group["params"]]
    state = [opt.state[p][k] for p in tensors for k in ("sum", "step")]
    return [t.detach().clone() for t in (*tensors, *state)]


def assert_unchanged(opt, before):
    assert all(torch.equal(a, b) for a, b in zip(snapshot(opt), before, strict=True))
