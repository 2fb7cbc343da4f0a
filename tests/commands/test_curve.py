"""The learning curve of ``adagrad train``: its points, its lines, and that it changes no bit."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

from rich.console import Console

import command
from adagrad import ctr
from adagrad.commands.progress import TrainingProgress
from adagrad.ctr.learners import files
from adagrad.ctr.training.curve import ROUND, batch_cuts, metrics_at
from command import LABEL, ROWS, tensors, train


@given(st.lists(st.integers(1, 70_000), min_size=1, max_size=8))
def test_the_points_do_not_depend_on_the_batches(batches: list[int]) -> None:
    points, seen = set(), 0
    for rows in batches:
        cuts = batch_cuts(seen, rows)
        assert cuts == sorted(set(cuts))
        assert cuts[-1] == rows
        points |= {seen + cut for cut in cuts}
        seen += rows
    ends = {sum(batches[: k + 1]) for k in range(len(batches))}
    assert points == {*batch_cuts(0, seen), *ends}
    # The first 1,024 examples are learned one by one.
    assert all(p <= 1024 or p % ROUND == 0 for p in {*batch_cuts(0, seen)[:-1]})


def curve_of(model: Path) -> list[list[float]]:
    return files.read(model)[1]["training"]["curve"]


@pytest.mark.parametrize("lr", [0.1, "auto"])
@pytest.mark.parametrize("rows", [100, 5_000, 25_000])
def test_a_log_of_any_length_has_a_curve(tmp_path: Path, rows: int, lr: float | str) -> None:
    table = command.clicks(ROWS)
    command.write(tmp_path / "log.tsv", table.slice(0, rows))
    lines = train(tmp_path / "log.tsv", tmp_path / "m", "--lr", lr)
    curve, model = curve_of(tmp_path / "m"), ctr.load(tmp_path / "m")
    examples = [point[0] for point in curve]
    assert len(curve) >= 10
    assert examples == sorted(set(examples))
    assert examples[-1] == rows
    assert metrics_at(curve[-1]) == pytest.approx(model.progressive_, rel=1e-12)
    shown = re.findall(r"^ +([\d,]+)  ", lines, re.M)
    powers = [2**k for k in range(4, 15) if 2**k <= rows]
    assert shown == [f"{power:,}" for power in powers]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("lr", [0.1, "auto"])
def test_the_curve_of_a_longer_log_begins_like_that_of_its_first_rows(
    tmp_path: Path, lr: float | str
) -> None:
    curves = []
    for rows in (400, 25_000):
        command.write(tmp_path / "log.tsv", command.clicks(ROWS).slice(0, rows))
        train(tmp_path / "log.tsv", tmp_path / "m", "--lr", lr)
        curves.append(curve_of(tmp_path / "m"))
    short = curves[0][:-1]
    assert len(short) > 10
    assert curves[1][: len(short)] == short


def test_the_curve_and_its_lines_change_no_bit(tmp_path: Path, log: Path) -> None:
    train(log, tmp_path / "a", "--lr", 0.1, "--passes", 2)
    encoder = ctr.HashingEncoder(14, ["site", "ad", "depth", "user"])
    model = ctr.LogisticRegression(0.1, encoder=encoder, passes=2)
    table = command.clicks(ROWS)
    model.fit(table.drop_columns([LABEL]), table.column(LABEL).to_numpy())
    model.save(tmp_path / "b")
    a, b = tensors(tmp_path / "a"), tensors(tmp_path / "b")
    assert {name: a[name] for name in a if "progressive" not in name} == {
        name: b[name] for name in b if "progressive" not in name
    }


def test_a_resumed_training_prints_only_new_lines() -> None:
    training: Any = SimpleNamespace(examples=24, log=None)
    training.curve = [[16.0, 4.0, 8.0, 4.0, 0.5], [24.0, 6.0, 12.0, 6.0, 0.5]]
    console = Console(width=200, force_terminal=False)
    with console.capture() as text, TrainingProgress(console, training, False) as progress:
        progress(training)
        training.curve = [*training.curve, [32.0, 8.0, 20.0, 8.0, 0.75]]
        progress(training)
    lines = text.get().splitlines()[1:]
    assert [line.split()[:3] for line in lines] == [["32", "0.62500", "1.00000"]]
