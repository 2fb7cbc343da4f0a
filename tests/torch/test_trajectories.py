"""The core compared with torch itself: the same trajectories from the same gradients."""

from __future__ import annotations

import numpy as np
import pytest

import adagrad
from checks import need_packages, wide_range

need_packages("torch")

import torch

# torch's own optimizer makes sparse tensors without this choice, and warns.
torch.sparse.check_sparse_tensor_invariants.disable()

CASES = [
    {},
    {"lr": 0.1, "lr_decay": 0.05},
    {"lr": 0.1, "weight_decay": 0.01},
    {"lr": 0.1, "weight_decay": 0.01, "maximize": True},
    {"lr": 0.05, "initial_accumulator_value": 0.1, "eps": 1e-6},
]


def ours(options):
    names = {"initial_accumulator_value": "initial_accumulator"}
    return adagrad.preset("torch", **{names.get(k, k): v for k, v in options.items()})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", CASES, ids=str)
def test_dense(options, dtype, rng):
    w = rng.standard_normal(300).astype(dtype)
    param = torch.nn.Parameter(torch.from_numpy(w.copy()))
    theirs = torch.optim.Adagrad([param], **options)
    opt = adagrad.Adagrad([w], rule=ours(options))
    for _ in range(20):
        g = wide_range(rng, 300, dtype)
        param.grad = torch.from_numpy(g)
        theirs.step()
        opt.step([g])
        tolerance = 2.5e-7 if dtype == "float32" else 1e-15
        np.testing.assert_allclose(w, param.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("options", CASES[:2], ids=str)
def test_sparse(options, rng):
    w = rng.standard_normal((40, 4)).astype("f4")
    param = torch.nn.Parameter(torch.from_numpy(w.copy()))
    theirs = torch.optim.Adagrad([param], **options)
    opt = adagrad.Adagrad([w], rule=ours(options))
    for _ in range(20):
        rows, g = rng.integers(0, 40, 60), wide_range(rng, (60, 4), "float32")
        param.grad = torch.sparse_coo_tensor(
            torch.from_numpy(rows)[None], torch.from_numpy(g), w.shape, check_invariants=True
        )
        theirs.step()
        opt.step_rows(0, rows, g)
        np.testing.assert_allclose(w, param.detach().numpy(), rtol=5e-7, atol=5e-7)


def test_memory_of_a_tensor_is_updated_in_place():
    tensor = torch.ones(5)
    adagrad.step(tensor.numpy(), np.ones(5, "f4"), np.zeros(5, "f4"), lr=0.5, eps=0.0)
    assert tensor.tolist() == [0.5] * 5
    with pytest.raises(TypeError, match=r"got Tensor .*Tensor.numpy\(\)"):
        adagrad.step(tensor, np.ones(5, "f4"), np.zeros(5, "f4"))
