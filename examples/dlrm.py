"""Predict clicks with a small DLRM: embedding tables, interactions of their vectors, and an MLP.

Trains the same model twice from the same start, once with a `TableEmbeddingBag` and once with
torch.nn.EmbeddingBag and sparse gradients. Both predict each batch before they learn from it.

    python examples/dlrm.py [--quick]

Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems",
arXiv:1906.00091 (2019).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import adagrad
from adagrad.datasets import click_log, synthetic_clicks
from adagrad.metrics import measure
from adagrad.torch import Adagrad, TableEmbeddingBag

DIM, BATCH, LR = 16, 256, 0.02
BLOCK = 8  # batches
Bags = tuple[Tensor, Tensor, Tensor | None]  # input, offsets, per_sample_weights


@dataclass
class Clicks:
    """Labeled examples. Example i has ``ids[t][starts[t][i]:starts[t][i + 1]]`` of table t."""

    name: str
    dense: Tensor
    ids: list[np.ndarray]
    starts: list[np.ndarray]
    values: list[np.ndarray] | None
    labels: Tensor
    rows: int

    def bags(self, first: int, last: int) -> Bags:
        """Return the bags of examples ``first`` to ``last``, table by table."""
        parts = [slice(s[first], s[last]) for s in self.starts]
        before = np.cumsum([0, *(part.stop - part.start for part in parts)])
        offsets = [
            s[first:last] - s[first] + b for s, b in zip(self.starts, before[:-1], strict=True)
        ]

        def join(arrays: list[np.ndarray]) -> Tensor:
            pairs = zip(arrays, parts, strict=True)
            return torch.from_numpy(np.concatenate([array[part] for array, part in pairs]))

        weights = None if self.values is None else join(self.values)
        return join(self.ids), torch.from_numpy(np.concatenate(offsets)), weights


def made_up(examples: int, rows: int = 1 << 16) -> Clicks:
    """Return synthetic clicks with 13 numbers and 26 categories, one id per category."""
    log = synthetic_clicks(examples).read_all().combine_chunks()
    numbers = np.stack([log[f"I{k}"].fill_null(0).to_numpy() for k in range(1, 14)], axis=1)
    ids = []
    for k in range(1, 27):
        digits = "".join(log[f"C{k}"].fill_null("00000000").to_pylist())
        ids.append(np.frombuffer(bytes.fromhex(digits), ">u4").astype(np.int64) % rows)
    return Clicks(
        name="made-up clicks",
        dense=torch.from_numpy(np.log1p(numbers).astype(np.float32)),
        ids=ids,
        starts=[np.arange(examples + 1)] * 26,
        values=None,
        labels=torch.tensor(log["click"].to_numpy()),
        rows=rows,
    )


def shipped(tables: int = 8, rows: int = 1 << 16) -> Clicks:
    """Return the click log of the package. It has no fields, so each id is assigned to a table."""
    log = click_log()
    sizes = np.diff(log.indptr)
    owners = np.repeat(np.arange(len(log)), sizes)
    parts = [log.rows % tables == t for t in range(tables)]
    counts = [np.bincount(owners[part], minlength=len(log)) for part in parts]
    return Clicks(
        name="the click log of the package",
        dense=torch.tensor(sizes, dtype=torch.float32).log1p()[:, None],
        ids=[log.rows[part] // tables % rows for part in parts],
        starts=[np.r_[0, np.cumsum(count)] for count in counts],
        values=[log.values[part] for part in parts],
        labels=torch.from_numpy(log.labels),
        rows=rows,
    )


class TorchBags(nn.Module):
    """Do the same as `TableEmbeddingBag` with one torch.nn.EmbeddingBag per table."""

    def __init__(self, tables: list[adagrad.Table]) -> None:
        super().__init__()
        self.bags = nn.ModuleList(
            nn.EmbeddingBag.from_pretrained(
                torch.tensor(table.weights), freeze=False, mode="sum", sparse=True
            )
            for table in tables
        )

    def forward(self, input: Tensor, offsets: Tensor, weights: Tensor | None) -> Tensor:
        """Return the sums of the bags, with the tables side by side."""
        starts = offsets.view(len(self.bags), -1)
        ends = [*starts[1:, 0].tolist(), len(input)]
        out = []
        for bag, start, end in zip(self.bags, starts, ends, strict=True):
            part = slice(start[0], end)
            out.append(
                bag(input[part], start - start[0], None if weights is None else weights[part])
            )
        return torch.cat(out, 1)


class DLRM(nn.Module):
    """Compute the log-odds of a click from feature vectors and the products of their pairs."""

    def __init__(self, bags: nn.Module, tables: int, numbers: int) -> None:
        super().__init__()
        self.bags = bags
        self.bottom = nn.Sequential(nn.Linear(numbers, 64), nn.ReLU(), nn.Linear(64, DIM))
        self.pairs = tuple(torch.triu_indices(tables + 1, tables + 1, 1))
        inputs = (tables + 1) * DIM + len(self.pairs[0])
        self.top = nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, dense: Tensor, bags: Bags) -> Tensor:
        """Return the log-odds of each example."""
        vectors = torch.cat((self.bottom(dense), self.bags(*bags)), 1)
        by_feature = vectors.unflatten(1, (-1, DIM))
        products = (by_feature @ by_feature.mT)[(slice(None), *self.pairs)]
        return self.top(torch.cat((vectors, products), 1)).squeeze(1)


@dataclass
class Learner:
    """A model in training, its predictions before learning, and the time it took."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    predictions: np.ndarray
    seconds: list[float]  # of each block of batches

    def learn(self, first: int, dense: Tensor, bags: Bags, labels: Tensor) -> None:
        """Predict one batch, then learn from it."""
        odds = self.model(dense, bags)
        self.predictions[first : first + len(labels)] = odds.detach().sigmoid()
        self.optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(odds, labels).backward()
        self.optimizer.step()


def learn(learners: list[Learner], clicks: Clicks) -> None:
    """Pass once over the clicks, block by block, so that noise of the machine affects all learners.

    The learners take turns to go first. Batches are made before the clock starts.
    """
    n = len(clicks.labels)
    for begin in range(0, n, BLOCK * BATCH):
        batches = []
        for first in range(begin, min(begin + BLOCK * BATCH, n), BATCH):
            last = min(first + BATCH, n)
            bags = clicks.bags(first, last)
            batches.append((first, clicks.dense[first:last], bags, clicks.labels[first:last]))
        learners = learners[::-1]
        for learner in learners:
            start = time.perf_counter()
            for batch in batches:
                learner.learn(*batch)
            learner.seconds.append((time.perf_counter() - start) / len(batches))


def compare(clicks: Clicks) -> list[np.ndarray]:
    """Train both models, print their curves and times, and return their predictions."""
    rule = adagrad.preset("torch", lr=LR)
    tables = [
        adagrad.Table(clicks.rows, DIM, rule, init="uniform", init_scale=clicks.rows**-0.5, seed=t)
        for t in range(len(clicks.ids))
    ]
    labels = clicks.labels.numpy()
    learners = []
    bags: nn.Module
    for bags, optimizer in (
        (TorchBags(tables), torch.optim.Adagrad),
        (TableEmbeddingBag(tables, mode="sum"), Adagrad),
    ):
        torch.manual_seed(0)
        model = DLRM(bags, len(tables), clicks.dense.shape[1])
        parameters = optimizer(model.parameters(), lr=LR)
        learners.append(Learner(model, parameters, np.empty(len(labels)), []))
    learn(learners, clicks)
    theirs, ours = learners
    print(f"\n{clicks.name}: {len(labels)} examples, {len(tables)} tables of {clicks.rows} rows")
    print(f"{'':>10}{'TableEmbeddingBag':>22}{'torch':>22}")
    print(f"{'examples':>10}" + f"{'logloss':>13}{'AUC':>9}" * 2)
    for n in (len(labels) * k // 5 for k in range(1, 6)):
        scores = [measure(labels[:n], each.predictions[:n]) for each in (ours, theirs)]
        print(f"{n:>10}" + "".join(f"{s.logloss:13.5f}{s.auc:9.4f}" for s in scores))
    # The first block is the warm-up.
    times = [np.array(each.seconds[1:]) for each in (ours, theirs)]
    print(f"{'ms a batch':>10}" + "".join(f"{np.median(t) * 1e3:22.2f}" for t in times))
    low, middle, high = np.quantile(times[1] / times[0], [0.25, 0.5, 0.75])
    print(f"torch takes {middle:.2f} times as long (quartiles of blocks {low:.2f}, {high:.2f})")
    return [ours.predictions, theirs.predictions]


def main(arguments: list[str] | None = None) -> list[list[np.ndarray]]:
    """Compare the models on both logs, on one thread."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few synthetic clicks: takes seconds")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.sparse.check_sparse_tensor_invariants.disable()  # the default, but without its warning
    adagrad.set_num_threads(1)
    return [compare(made_up(4096 if args.quick else 200_000)), compare(shipped())]


if __name__ == "__main__":
    main()
