"""The learners of bench/quality.py: each predicts every example of a log before it learns it.

What a learner said of each example is kept, so that two learners are compared example by example.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np

from adagrad.ctr import (
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    LogisticRegression,
)
from adagrad.ctr.learners.progressive import Progressive
from bench.clicks import Clicks, nats, vw_lines
from bench.machine import leave_out, peer

Floats = np.ndarray

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
AUTO, FIXED, BEST = "LR auto", "LR 0.1", "LR best rate"
FM, FFM = "FM", "FFM"
VW, VW_BEST = "VW", "VW best"
RIVER, SGD, SGD_BEST = "river", "SGD", "SGD best"
LIBFFM = "libffm"
LEARNERS = (AUTO, FIXED, BEST, FM, FFM, VW, VW_BEST, RIVER, SGD, SGD_BEST, LIBFFM)

VW_OPTIONS = (
    *(f"-l {rate}" for rate in (0.05, 0.1, 0.2, 1, 2, 5)),
    *("--ftrl", "--ftrl --ftrl_alpha 0.1", "--coin"),
    *("--sgd -l 0.1", "--adaptive --invariant -l 0.1"),
)
SGD_RATES = (0.003, 0.01, 0.03, 0.1, 0.3)


@dataclass(frozen=True)
class Losses:
    """Nats of each example: predicted before it was learned, and of the part held out."""

    progressive: Floats | None
    held_out: Floats | None = None
    setting: str = ""

    def mean(self, part: str = "progressive") -> float | None:
        """Return the logloss of a part, or None if there is none."""
        nats = getattr(self, part)
        return None if nats is None else float(nats.mean())


def against(losses: Floats, base: Floats) -> tuple[float, float]:
    """Return the mean difference of two learners on the same examples, and its standard error."""
    difference = losses - base
    return float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))


def base_rate(of: Clicks) -> float:
    """Return the logloss of always predicting the share of positives."""
    share = float(of.y.mean())
    return -float(sum(p * np.log(p) for p in (share, 1 - share) if p > 0))


def fit(learner: Any, of: Clicks) -> None:
    """Let a learner make one pass in one call."""
    learner.fit(of.x, of.y)


def margins_of(learner: Any, of: Clicks, learn: Callable[[Any, Clicks], None] = fit) -> Floats:
    """Return the margins that a learner counts in its progressive metrics while it learns."""
    found = []
    add = Progressive.add

    def record(self: Progressive, margins: Floats, y: Floats, weights: Any = None) -> None:
        found.append(margins.copy())
        add(self, margins, y, weights)

    with mock.patch.object(Progressive, "add", record):
        learn(learner, of)
    margins = np.concatenate(found)
    if len(margins) != len(of):
        raise RuntimeError(f"{len(margins)} predictions for {len(of)} examples")
    return margins


def ours(make: Callable[[], Any], of: Clicks, test: Clicks | None) -> Losses:
    """Let one of our learners make one pass."""
    learner = make()
    margins = margins_of(learner, of)
    held_out = None if test is None else nats(learner.decision_function(test.x), test.y)
    return Losses(nats(margins, of.y), held_out)


def best(found: Mapping[str, Losses]) -> Losses:
    """Return the losses of the setting whose progressive logloss is the lowest."""

    def rank(setting: str) -> float:
        mean = found[setting].mean()
        return np.inf if mean is None or not np.isfinite(mean) else mean

    setting = min(found, key=rank)
    return Losses(found[setting].progressive, found[setting].held_out, setting)


def all_of_ours(of: Clicks, test: Clicks | None, rates: tuple[float, ...]) -> Iterator[Any]:
    """Yield the names and losses of our learners."""
    yield AUTO, ours(lambda: LogisticRegression("auto"), of, test)
    swept = {f"{lr:g}": ours(lambda lr=lr: LogisticRegression(lr), of, test) for lr in rates}
    yield FIXED, swept["0.1"]
    yield BEST, best(swept)
    yield FM, ours(lambda: FactorizationMachine(), of, test)
    if of.x.fields is not None:
        yield FFM, ours(lambda: FieldAwareFactorizationMachine(), of, test)


def vowpal_wabbit(of: Clicks, test: Clicks | None, options: tuple[str, ...]) -> Iterator[Any]:
    """Yield Vowpal Wabbit's losses with its defaults, and with the best of some settings."""
    from vowpalwabbit import Workspace

    with TemporaryDirectory() as folder:
        parts = {name: Path(folder) / name for name in ("log", "test", "said", "model")}
        for part, name in ((of, "log"), (test, "test")):
            if part is not None:
                with parts[name].open("w") as file:
                    file.writelines(vw_lines(part))

        def said(part: Clicks) -> Floats:
            return nats(np.loadtxt(parts["said"], ndmin=1), part.y)

        def learn(setting: str) -> Losses:
            common = f"--quiet -p {parts['said']}"
            how = f"--loss_function logistic -b 22 -f {parts['model']} {setting}"
            Workspace(f"{common} -d {parts['log']} {how}").finish()
            progressive, held_out = said(of), None
            if test is not None:
                Workspace(f"{common} -t -d {parts['test']} -i {parts['model']}").finish()
                held_out = said(test)
            return Losses(progressive, held_out)

        found = {setting: learn(setting) for setting in ("", *options)}
    yield VW, found[""]
    yield VW_BEST, best({setting or "defaults": losses for setting, losses in found.items()})


def river(of: Clicks, test: Clicks | None) -> Losses:
    """Let river's LogisticRegression make one pass with its defaults."""
    from river.linear_model import LogisticRegression as Theirs

    learner = Theirs()

    def examples(part: Clicks) -> Iterator[tuple[dict[int, float], bool]]:
        indptr, slots, values = part.x.indptr, part.x.slots, part.x.values
        for i, y in enumerate(part.y):
            row = slice(int(indptr[i]), int(indptr[i + 1]))
            names = slots[row].tolist()
            amounts = [1.0] * len(names) if values is None else values[row].tolist()
            yield dict(zip(names, amounts, strict=True)), bool(y)

    def margin(x: dict[int, float]) -> float:
        p = min(max(learner.predict_proba_one(x)[True], 1e-15), 1 - 1e-15)
        return float(np.log(p / (1 - p)))

    margins = np.empty(len(of))
    for i, (x, y) in enumerate(examples(of)):
        margins[i] = margin(x)
        learner.learn_one(x, y)
    held_out = None
    if test is not None:
        held_out = nats(np.array([margin(x) for x, _ in examples(test)]), test.y)
    return Losses(nats(margins, of.y), held_out)


def rounds(n: int) -> Iterator[slice]:
    """Yield rounds that grow with what was learned, for a peer whose calls are expensive."""
    start = 0
    while start < n:
        size = 1 << min(max(start // 128, 1), 64).bit_length() - 1
        stop = min(start - start % size + size, n)
        yield slice(start, stop)
        start = stop


def sgd(of: Clicks, test: Clicks | None, rate: float | None) -> Losses:
    """Let scikit-learn's SGDClassifier make one pass: its defaults, or a constant rate."""
    from sklearn.linear_model import SGDClassifier

    how: dict[str, Any] = {}
    if rate is not None:
        how = {"learning_rate": "constant", "eta0": rate, "alpha": 0.0}
    learner = SGDClassifier(loss="log_loss", shuffle=False, random_state=0, **how)
    used = np.unique(of.x.slots)  # each call copies the weights of all columns
    matrix = of.x.to_csr()[:, used]
    margins = np.zeros(len(of))
    for part in rounds(len(of)):
        if part.start:
            margins[part] = learner.decision_function(matrix[part])
        learner.partial_fit(matrix[part], of.y[part], classes=[0.0, 1.0])
    held_out = None
    if test is not None:
        held_out = nats(learner.decision_function(test.x.to_csr()[:, used]), test.y)
    return Losses(nats(margins, of.y), held_out)


def libffm_lines(of: Clicks) -> Iterator[str]:
    """Yield examples as libffm reads them."""
    indptr, slots, values = of.x.indptr, of.x.slots, of.x.values
    fields = np.resize(of.x.fields, len(slots)) if of.x.fields is not None else None
    assert fields is not None
    for i, y in enumerate(of.y):
        row = slice(int(indptr[i]), int(indptr[i + 1]))
        amounts = np.ones(row.stop - row.start) if values is None else values[row]
        entries = zip(fields[row], slots[row], amounts, strict=True)
        yield f"{y:.0f} " + " ".join(f"{f}:{s}:{v:g}" for f, s, v in entries) + "\n"


def libffm(of: Clicks, test: Clicks) -> Losses:
    """Let libffm make one pass with its defaults; it says nothing before it learns."""
    with TemporaryDirectory() as folder:
        for name, part in (("log", of), ("test", test)):
            with (Path(folder) / name).open("w") as file:
                file.writelines(libffm_lines(part))
        for command in (
            ["ffm-train", "-t", "1", "-s", "1", "log", "model"],
            ["ffm-predict", "test", "model", "said"],
        ):
            subprocess.run(command, check=True, capture_output=True, cwd=folder)
        p = np.clip(np.loadtxt(Path(folder) / "said", ndmin=1), 1e-15, 1 - 1e-15)
    return Losses(None, nats(np.log(p / (1 - p)), test.y))


def peers(of: Clicks, test: Clicks | None, smoke: bool) -> Iterator[Any]:
    """Yield the names and losses of the peers that are installed."""
    if peer("vowpalwabbit") is not None:
        yield from vowpal_wabbit(of, test, VW_OPTIONS[:1] if smoke else VW_OPTIONS)
    if peer("river") is not None:
        yield RIVER, river(of, test)
    if peer("sklearn") is not None:
        yield SGD, sgd(of, test, None)
        rates = SGD_RATES[:1] if smoke else SGD_RATES
        yield SGD_BEST, best({f"{rate:g}": sgd(of, test, rate) for rate in rates})
    if shutil.which("ffm-train") is None or shutil.which("ffm-predict") is None:
        leave_out("libffm")
    elif of.x.fields is not None and test is not None:
        yield LIBFFM, libffm(of, test)
