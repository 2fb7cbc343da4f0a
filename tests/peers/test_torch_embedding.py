"""What PyTorch's own tests of embedding bags ask, of `adagrad.torch.TableEmbeddingBag`.

The arguments are those of the installed torch: the samples of its operator, and the modules of its
tests of gradients. torch's tests themselves are not installed with it.
"""

from __future__ import annotations

import pytest

from adagrad import Rule
from checks import need_packages

need_packages("torch")

import torch

from adagrad.torch import TableEmbeddingBag

# The samples take seconds to import, so only the worker that runs these tests does it.
pytestmark = pytest.mark.xdist_group("torch_optim")
torch.sparse.check_sparse_tensor_invariants.disable()

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# A step subtracts the gradient, which torch shows in weight.grad.
DESCENT = Rule(lr=1.0, power=0.0)


@pytest.fixture(scope="module")
def samples():
    """Return the arguments of torch.nn.functional.embedding_bag that torch tests."""
    need_packages("expecttest")
    from torch.testing._internal import common_methods_invocations as samples

    def draw(dtype):
        for x in samples.sample_inputs_embedding_bag(None, "cpu", dtype, requires_grad=False):
            yield x.input, *x.args, x.kwargs

    return draw


@pytest.fixture(scope="module")
def modules():
    """Return the embedding bags of torch's tests of modules, each with a function for its input."""
    need_packages("expecttest")
    from torch.testing._internal import common_nn

    def named(test):
        return test.get("fullname") or test["module_name"]

    found = [t for t in common_nn.get_new_module_tests() if named(t).startswith("EmbeddingBag")]
    return [
        (
            test.get("constructor")
            or (lambda of=test: torch.nn.EmbeddingBag(*of["constructor_args"])),
            test["input_fn"],
        )
        for test in found
    ]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(2022)


def take_step(weight, ids, offsets, factors, g=None, **options):
    """Return the output, what the step of a table subtracts, and the gradient of the factors."""
    bags = TableEmbeddingBag.from_pretrained(weight, freeze=False, rule=DESCENT, **options)
    wide = torch.float64 if weight.dtype is torch.float64 else torch.float32
    if factors is not None:
        factors = factors.detach().to(wide).requires_grad_()
    out = bags(ids, offsets, factors)
    assert out.dtype is wide
    before = torch.from_numpy(bags.tables[0].gather(torch.arange(len(weight)).numpy()))
    out.backward(torch.ones_like(out) if g is None else g)
    after = torch.from_numpy(bags.tables[0].gather(torch.arange(len(weight)).numpy()))
    return out, before - after, None if factors is None else factors.grad


def expect(weight, ids, offsets, factors, g=None, **options):
    wide = torch.float64 if weight.dtype is torch.float64 else torch.float32
    weight = weight.detach().to(wide, copy=True).requires_grad_()
    if factors is not None:
        factors = factors.detach().to(wide).requires_grad_()
    out = torch.nn.functional.embedding_bag(
        ids, weight, offsets, per_sample_weights=factors, **options
    )
    out.backward(torch.ones_like(out) if g is None else g)
    return out, weight.grad.to_dense(), None if factors is None else factors.grad


def compare(weight, ids, options):
    given = (options.pop("offsets", None), options.pop("per_sample_weights", None))
    ours = take_step(weight, ids, *given, **options)
    theirs = expect(weight, ids, *given, **options)
    # A table of 16 bits rounds what it stores, and torch renormalizes in 16 bits.
    of_values, of_steps = {}, {}
    if weight.dtype.itemsize == 2:
        of_steps = {"rtol": 0.02, "atol": 0.1}
        of_values = {"rtol": 0.02, "atol": 0.02} if options.get("max_norm") else {}
    torch.testing.assert_close(ours[0], theirs[0], **of_values)
    torch.testing.assert_close(ours[1], theirs[1], **of_steps)
    if ours[2] is not None:
        torch.testing.assert_close(ours[2], theirs[2], **of_values)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_samples(samples, dtype):
    checked = 0
    for weight, ids, options in samples(dtype):
        if not options.get("scale_grad_by_freq"):
            compare(weight, ids, options)
            checked += 1
    assert checked > 40


def test_samples_scaled_by_frequency(samples):
    for weight, ids, options in samples(torch.float32):
        if options.get("scale_grad_by_freq") and not options.get("sparse"):
            compare(weight, ids, options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_modules(modules, dtype):
    assert len(modules) >= 8
    for construct, draw in modules:
        module, ids = construct(), draw()
        names = ("max_norm", "norm_type", "mode", "sparse", "padding_idx", "include_last_offset")
        options = {name: getattr(module, name) for name in names}
        compare(module.weight.detach().to(dtype), ids, options)
