"""Steps of sharded params in two processes, each case compared with torch's and an unsharded run.

`python sharded_optimizers.py RANK FOLDER` runs every case of a rank, and writes to FOLDER what each
has raised. tests/torch/test_sharded.py starts both ranks.
"""

from __future__ import annotations

import copy
import functools
import itertools
import json
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint import state_dict as of_dcp
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor import parallel as tp

import adagrad
import adagrad.torch

OURS, THEIRS = adagrad.torch.Adagrad, torch.optim.Adagrad
TEXTBOOK = functools.partial(OURS, preset="textbook")
CASES: dict[str, Callable[[DeviceMesh, Path], None]] = {}


def case(function: Callable[[DeviceMesh, Path], None]) -> Callable[[DeviceMesh, Path], None]:
    CASES[function.__name__] = function
    return function


def full(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.detach()


def assert_equal(a: Any, b: Any) -> None:
    """Compare tensors, or lists of them, with every bit."""
    for x, y in zip(
        [a] if torch.is_tensor(a) else a, [b] if torch.is_tensor(b) else b, strict=True
    ):
        assert torch.equal(full(x), full(y)), (x, y)


def assert_close(a: list[torch.Tensor], b: list[torch.Tensor]) -> None:
    torch.testing.assert_close([full(x) for x in a], [full(x) for x in b], rtol=2e-6, atol=2e-7)


def placed(g: torch.Tensor, mesh: DeviceMesh, placement: Any) -> DTensor:
    """A gradient whose parts on the two ranks make up `g`."""
    if not placement.is_partial():
        return distribute_tensor(g.clone(), mesh, [placement])
    return DTensor.from_local(g * (0.25 + 0.5 * mesh.get_local_rank()), mesh, [placement])


def sharded_and_whole(
    mesh: DeviceMesh, shape: tuple[int, ...], placement: Any, dtype: torch.dtype = torch.float32
) -> list[nn.Parameter]:
    w = torch.randn(shape, dtype=dtype)
    return [nn.Parameter(distribute_tensor(w, mesh, [placement])), nn.Parameter(w.clone())]


ROWS, COLUMNS, COPIES, SUM = Shard(0), Shard(1), Replicate(), Partial()


@case
def one_param_with_any_gradient(mesh: DeviceMesh, folder: Path) -> None:
    # Even and uneven shards, and an empty one.
    for shape, own, other in itertools.product(
        ((6, 4), (7, 3), (1, 5), (3,)), (ROWS, COLUMNS, COPIES), (ROWS, COLUMNS, COPIES, SUM)
    ):
        if COLUMNS in (own, other) and len(shape) == 1:
            continue
        params = sharded_and_whole(mesh, shape, own)
        opts = [OURS([p], lr=0.1, lr_decay=0.1, weight_decay=0.01) for p in params]
        for _ in range(2):
            g = torch.randn(shape)
            params[0].grad, params[1].grad = placed(g, mesh, other), g
            for opt in opts:
                opt.step()
            assert_equal(*params)
        sums = [opt.state[p]["sum"] for opt, p in zip(opts, params, strict=True)]
        assert sums[0].placements == params[0].placements
        assert_equal(*sums)


@case
def torch_takes_the_same_steps(mesh: DeviceMesh, folder: Path) -> None:
    for own, other in itertools.product((ROWS, COLUMNS, COPIES), (ROWS, COLUMNS, COPIES, SUM)):
        (ours, _), opts = sharded_and_whole(mesh, (6, 4), own), []
        theirs = nn.Parameter(ours.detach().clone())
        opts = [OURS([ours], lr=0.1), THEIRS([theirs], lr=0.1)]
        for _ in range(3):
            g = torch.randn(6, 4)
            for p, opt in zip((ours, theirs), opts, strict=True):
                p.grad = placed(g, mesh, other)
                opt.step()
        assert_close([ours, opts[0].state[ours]["sum"]], [theirs, opts[1].state[theirs]["sum"]])


@case
def other_dtypes(mesh: DeviceMesh, folder: Path) -> None:
    for dtype, own in itertools.product(
        (torch.float64, torch.bfloat16, torch.complex64), (ROWS, COLUMNS)
    ):
        params = sharded_and_whole(mesh, (3, 4), own, dtype)
        opts = [OURS([p], lr=0.1, initial_accumulator_value=0.5) for p in params]
        for opt, p in zip(opts, params, strict=True):
            torch.manual_seed(1)
            g = torch.randn(3, 4, dtype=dtype)
            p.grad = placed(g, mesh, COPIES) if p is params[0] else g
            opt.step()
        assert_equal(*params)
        assert_equal(*(opt.state[p]["sum"] for opt, p in zip(opts, params, strict=True)))


@case
def sharded_and_plain_params_in_one_step(mesh: DeviceMesh, folder: Path) -> None:
    params = [sharded_and_whole(mesh, (5, 2), ROWS)[i] for i in (0, 1)]
    whole = [nn.Parameter(full(p).clone()) for p in params]
    for options in ({}, {"foreach": True}):
        opts = [
            OURS([{"params": ps[:1]}, {"params": ps[1:], "weight_decay": 0.1}], **options)
            for ps in (params, whole)
        ]
        for p, q in zip(params, whole, strict=True):
            q.grad = torch.randn(5, 2)
            p.grad = placed(q.grad, mesh, ROWS) if isinstance(p, DTensor) else q.grad
        for opt in opts:
            opt.step()
        assert_equal(params, whole)
    before = [full(p).clone() for p in params]
    params[1].grad.data = torch.ones(2, 5)
    with pytest.raises(ValueError, match=r"g of params\[1\] has shape"):
        opts[0].step()
    assert_equal(params, before)


@case
def accumulators_per_row(mesh: DeviceMesh, folder: Path) -> None:
    for own in (ROWS, COPIES):
        params = sharded_and_whole(mesh, (5, 3), own)
        opts = [OURS([p], preset="fbgemm_rowwise") for p in params]
        params[1].grad = torch.randn(5, 3)
        params[0].grad = placed(params[1].grad, mesh, SUM)
        for opt in opts:
            opt.step()
        sums = [opt.state[p]["sum"] for opt, p in zip(opts, params, strict=True)]
        assert sums[0].shape == (5,)
        assert sums[0].placements == params[0].placements
        assert_equal(*params)
        assert_equal(*sums)
    columns = sharded_and_whole(mesh, (5, 4), COLUMNS)[0]
    text = "a process that has parts of rows cannot have their accumulators"
    with pytest.raises(ValueError, match=text):
        OURS([columns], preset="fbgemm_rowwise")


@case
def refusals(mesh: DeviceMesh, folder: Path) -> None:
    parts = nn.Parameter(DTensor.from_local(torch.ones(2), mesh, [SUM]))
    with pytest.raises(ValueError, match="redistribute it"):
        OURS([parts])
    p, w = sharded_and_whole(mesh, (4, 2), ROWS)
    opts = [OURS([p]), OURS([w])]
    before = full(p).clone()
    state = opts[1].state_dict()
    text = "needs an accumulator that is a DTensor, but that of the state is not one"
    with pytest.raises(TypeError, match=text):
        opts[0].load_state_dict(state)
    state = opts[0].state_dict()
    text = "needs an accumulator that is not one, but that of the state is a DTensor"
    with pytest.raises(TypeError, match=text):
        opts[1].load_state_dict(state)
    w.grad = distribute_tensor(torch.ones(4, 2), mesh, [ROWS])
    with pytest.raises(TypeError, match=r"params\[0\] is a Tensor, but its gradient"):
        opts[1].step()
    assert_equal([p, w], [before, before])


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 4), nn.Linear(4, 1))


def trained(
    model: nn.Module, opt: torch.optim.Optimizer, steps: int = 3, mean: bool = True
) -> None:
    """Train on a batch, of which each rank has half if their gradients are averaged."""
    torch.manual_seed(4)
    for _ in range(steps):
        x = torch.randn(8, 5)
        opt.zero_grad()
        half = slice(4 * dist.get_rank(), 4 * dist.get_rank() + 4) if mean else slice(8)
        model(x[half]).square().mean().backward()
        opt.step()


@case
def fully_sharded(mesh: DeviceMesh, folder: Path) -> None:
    whole = network()
    opt = OURS(whole.parameters(), lr=0.1)
    trained(whole, opt, mean=False)
    for cls, policy in itertools.product((OURS, THEIRS), (None, MixedPrecisionPolicy())):
        model = network()
        for layer in model:
            fully_shard(layer, mesh=mesh, mp_policy=policy or MixedPrecisionPolicy())
        fully_shard(model, mesh=mesh)
        trained(model, cls(model.parameters(), lr=0.1))
        assert_close(list(model.parameters()), list(whole.parameters()))
    half = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.bfloat16)
    models = [network(), network()]
    for model, cls in zip(models, (OURS, THEIRS), strict=True):
        fully_shard(model, mesh=mesh, mp_policy=half)
        trained(model, cls(model.parameters(), lr=0.1))
    assert_close(*(list(model.parameters()) for model in models))


@case
def tensor_parallel(mesh: DeviceMesh, folder: Path) -> None:
    plan = {
        "0": tp.ColwiseParallel(output_layouts=Shard(0)),
        "1": tp.SequenceParallel(sequence_dim=0),
        "2": tp.RowwiseParallel(input_layouts=Shard(0)),
    }
    models = [network() for _ in range(3)]
    for model, cls in zip(models, (OURS, THEIRS, OURS), strict=True):
        if model is not models[2]:
            tp.parallelize_module(model, mesh, plan)
            kinds = {isinstance(p, DTensor) for p in model.parameters()}
            assert kinds == {False, True}
        trained(model, cls(model.parameters(), lr=0.1), mean=False)
    assert_close(*(list(model.parameters()) for model in models[:2]))
    assert_close(*(list(model.parameters()) for model in models[::2]))


@case
def two_dimensions_of_a_mesh(mesh: DeviceMesh, folder: Path) -> None:
    whole = network()
    trained(whole, OURS(whole.parameters(), lr=0.1), mean=False)
    for shape in ((2, 1), (1, 2)):
        grid = init_device_mesh("cpu", shape, mesh_dim_names=("data", "tensor"))
        model = network()
        plan = {"2": tp.ColwiseParallel(), "3": tp.RowwiseParallel()}
        tp.parallelize_module(model, grid["tensor"], plan)
        fully_shard(model, mesh=grid["data"])
        trained(model, OURS(model.parameters(), lr=0.1), mean=shape == (2, 1))
        assert_close(list(model.parameters()), list(whole.parameters()))


def sharded_network(mesh: DeviceMesh) -> nn.Module:
    model = network()
    fully_shard(model, mesh=mesh)
    return model


Pair = tuple[list[nn.Module], list[torch.optim.Optimizer]]


def sharded_pair(mesh: DeviceMesh, *classes: Any) -> Pair:
    """Return equal models with optimizers of these two classes; the first model has trained."""
    models = [sharded_network(mesh) for _ in classes]
    opts = [cls(m.parameters(), lr=0.1) for cls, m in zip(classes, models, strict=True)]
    trained(models[0], opts[0])
    return models, opts


def assert_the_second_goes_on(pair: Pair, of_model: Any, of_opt: Any, options: Any = None) -> None:
    """Load the states of the first into the second, and train both."""
    models, opts = pair
    of_dcp.set_state_dict(
        models[1], opts[1], model_state_dict=of_model, optim_state_dict=of_opt, options=options
    )
    for model, opt in zip(models, opts, strict=True):
        trained(model, opt)
    assert_close(*(list(model.parameters()) for model in models))


@case
def states_pass_between_the_classes(mesh: DeviceMesh, folder: Path) -> None:
    kinds = (OURS, THEIRS, TEXTBOOK)
    for first, second, whole in itertools.product(kinds, kinds, (False, True)):
        if (first is TEXTBOOK) != (second is TEXTBOOK):
            continue
        if first is second is THEIRS:
            continue
        models, opts = pair = sharded_pair(mesh, first, second)
        options = of_dcp.StateDictOptions(full_state_dict=whole, broadcast_from_rank0=whole)
        # torch's own optimizer shares the tensors that it loads.
        states = copy.deepcopy(of_dcp.get_state_dict(models[0], opts[0], options=options))
        assert_the_second_goes_on(pair, *states, options)
        assert {float(state["step"]) for state in opts[1].state.values()} == {6.0}


@case
def files_pass_between_the_classes(mesh: DeviceMesh, folder: Path) -> None:
    pairs = ((OURS, THEIRS), (THEIRS, OURS), (TEXTBOOK, TEXTBOOK))
    for k, (first, second) in enumerate(pairs):
        pair = sharded_pair(mesh, first, second)
        saved, loaded = (
            dict(zip(("model", "opt"), of_dcp.get_state_dict(m, opt), strict=True))
            for m, opt in zip(*pair, strict=True)
        )
        dcp.save(saved, checkpoint_id=str(folder / str(k)))
        dcp.load(loaded, checkpoint_id=str(folder / str(k)))
        assert_the_second_goes_on(pair, loaded["model"], loaded["opt"])


@case
def flat_states_keep_the_rule(mesh: DeviceMesh, folder: Path) -> None:
    options = of_dcp.StateDictOptions(flatten_optimizer_state_dict=True)
    models, opts = pair = sharded_pair(mesh, TEXTBOOK, TEXTBOOK)
    states = of_dcp.get_state_dict(models[0], opts[0], options=options)
    assert_the_second_goes_on(pair, *states, options)


@case
def a_state_is_copied(mesh: DeviceMesh, folder: Path) -> None:
    model = sharded_network(mesh)
    opt = OURS(model.parameters(), lr=0.1)
    trained(model, opt, 1)
    other = OURS(model.parameters())
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    for p in model.parameters():
        assert_equal(opt.state[p]["sum"], other.state[p]["sum"])
        assert opt.state[p]["sum"].to_local() is not other.state[p]["sum"].to_local()


@case
def replicas(mesh: DeviceMesh, folder: Path) -> None:
    whole, model = network(), network()
    trained(whole, THEIRS(whole.parameters(), lr=0.1), mean=False)
    ddp = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    trained(ddp, OURS(ddp.parameters(), lr=0.1))
    assert_close(list(model.parameters()), list(whole.parameters()))
    for p in model.parameters():
        both = [torch.empty_like(p) for _ in range(2)]
        dist.all_gather(both, p.detach())
        assert_equal(*both)


@case
def zero_redundancy_of_another_rule(mesh: DeviceMesh, folder: Path) -> None:
    whole = network()
    trained(whole, TEXTBOOK(whole.parameters(), lr=0.1), mean=False)
    for arguments in (
        {"preset": "textbook", "lr": 0.1},
        {"rule": adagrad.preset("textbook", lr=0.1)},
    ):
        model = network()
        opt = ZeroRedundancyOptimizer(model.parameters(), optimizer_class=OURS, **arguments)
        trained(nn.parallel.DistributedDataParallel(model), opt)
        assert_close(list(model.parameters()), list(whole.parameters()))


@case
def zero_redundancy(mesh: DeviceMesh, folder: Path) -> None:
    whole, model = network(), network()
    trained(whole, OURS(whole.parameters(), lr=0.1), mean=False)
    opt = ZeroRedundancyOptimizer(model.parameters(), optimizer_class=OURS, lr=0.1)
    trained(nn.parallel.DistributedDataParallel(model), opt)
    assert_close(list(model.parameters()), list(whole.parameters()))
    opt.consolidate_state_dict(to=0)
    if dist.get_rank() == 0:
        state = opt.state_dict()
        assert len(state["state"]) == len(list(model.parameters()))
        THEIRS(whole.parameters()).load_state_dict(state)
        opt.load_state_dict(state)


def main(rank: int, folder: Path) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    raised = {}
    for name, run in CASES.items():
        torch.manual_seed(0)
        try:
            run(mesh, folder)
        except Exception:
            raised[name] = traceback.format_exc()
        dist.barrier()
    (folder / f"{rank}.json").write_text(json.dumps(raised))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
