"""Train LeNet on Fashion-MNIST with adagrad.torch.Adagrad and with torch.optim.Adagrad.

Both start from the same weights and see the same batches, so their curves are the same.
``python examples/lenet.py`` reads the four files of the Debian package dataset-fashion-mnist, or of
the folder given with ``--data``. ``--quick`` trains on 2,048 images for one epoch.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

import adagrad.torch

DATA = Path("/usr/share/datasets/fashion-mnist")


def read(folder: Path, part: str, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return n images [n, 1, 28, 28], scaled to [0, 1], and labels of part "train" or "t10k"."""

    def array(name: str, header: int, size: int) -> np.ndarray:
        with gzip.open(folder / f"{part}-{name}-ubyte.gz") as file:
            return np.frombuffer(file.read(header + n * size), np.uint8, offset=header)

    images = array("images-idx3", 16, 28 * 28).reshape(n, 1, 28, 28).astype(np.float32) / 255
    return torch.from_numpy(images), torch.from_numpy(array("labels-idx1", 8, 1).astype(np.int64))


def lenet(seed: int) -> nn.Sequential:
    """Return the network of LeCun et al. (1998), initialized as by Glorot and Bengio (2010)."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.Sigmoid(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Sigmoid(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.Sigmoid(),
        nn.Linear(120, 84),
        nn.Sigmoid(),
        nn.Linear(84, 10),
    )
    for layer in net:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
    return net


def batches(n: int, size: int, seed: int) -> Iterator[torch.Tensor]:
    """Return batches of the indices of one epoch, in a seeded order."""
    return iter(torch.randperm(n, generator=torch.Generator().manual_seed(seed)).split(size))


def accuracy(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of images whose predicted class is right."""
    with torch.no_grad():
        right = sum(
            int((net(x).argmax(1) == y).sum())
            for x, y in zip(images.split(1000), labels.split(1000), strict=True)
        )
    return right / len(labels)


def train(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    train_set: tuple[torch.Tensor, torch.Tensor],
    test_set: tuple[torch.Tensor, torch.Tensor],
    epochs: int,
    batch: int = 256,
    report: Callable[[int, float, float, float], None] | None = None,
) -> list[float]:
    """Train in place, and return the loss of every batch, in nats."""
    images, labels = train_set
    losses: list[float] = []
    for epoch in range(epochs):
        start = time.perf_counter()
        before = len(losses)
        for rows in batches(len(labels), batch, seed=epoch):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(images[rows]), labels[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if report is not None:
            seconds = time.perf_counter() - start
            mean = float(np.mean(losses[before:]))
            report(epoch + 1, mean, accuracy(net, *test_set), seconds)
    return losses


def main(arguments: list[str] | None = None) -> dict[str, list[float]]:
    """Train one network with each optimizer, print every epoch, and return the losses of both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, metavar="FOLDER")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="2,048 images, one epoch")
    args = parser.parse_args(arguments)
    if not (args.data / "train-images-idx3-ubyte.gz").is_file():
        parser.error(
            f"no Fashion-MNIST files in {args.data}: install the Debian package"
            " dataset-fashion-mnist, or give the folder that has them with --data"
        )
    if args.quick:
        args.epochs = 1
    train_set = read(args.data, "train", 2_048 if args.quick else 60_000)
    test_set = read(args.data, "t10k", 1_000 if args.quick else 10_000)

    start = lenet(args.seed)
    losses = {}
    makers = {"torch.optim": torch.optim.Adagrad, "adagrad.torch": adagrad.torch.Adagrad}
    print(f"{'optimizer':14} {'epoch':>5} {'loss':>8} {'accuracy':>9} {'seconds':>8}")
    for name, make in makers.items():
        net = copy.deepcopy(start)

        def report(epoch: int, loss: float, right: float, seconds: float, name: str = name) -> None:
            print(f"{name:14} {epoch:5} {loss:8.4f} {right:9.4f} {seconds:8.2f}", flush=True)

        optimizer = make(net.parameters(), lr=args.lr)
        losses[name] = train(net, optimizer, train_set, test_set, args.epochs, report=report)
    ours, theirs = losses["adagrad.torch"], losses["torch.optim"]
    print(f"Largest difference in a batch loss: {np.abs(np.subtract(ours, theirs)).max():.2g}")
    return losses


if __name__ == "__main__":
    main()
