"""Every figure is narrow, and its text is legible, inside the figure and apart."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
import pytest

from checks import need_packages

need_packages("matplotlib", "sklearn")

from matplotlib.text import Text

import adagrad
from adagrad import datasets, demo, plotting, textbook
from adagrad.analysis import Quadratic, trace
from diagnoses import diagnosed, planted

MATRIX = [[4.0, 1.0, 0.3], [1.0, 10.0, 0.6], [0.3, 0.6, 1.0]]
TURNED = textbook.BOWL.rotated(math.pi / 4)
START = [-2.1, -4.9]
X = np.arange(1.0, 40.0)
SERIES = {"one": (X, 1 / X), "another of some length": (X, 2 * X)}


def paths(f: Quadratic) -> dict[str, Any]:
    rates = (0.1, 0.4, 2.0)
    return {f"AdaGrad, lr = {lr}": trace(adagrad.Rule(lr=lr), f, START, 20) for lr in rates}


@functools.cache
def rare() -> textbook.RareFeatures:
    return textbook.rare_features(1, examples=4000)


def comparison() -> demo.Comparison:
    rng = np.random.default_rng(0)
    rows = np.minimum(rng.zipf(1.5, size=(400, 3)) - 1, 99)
    labels = (rng.random(400) < 1 / (2 + rows[:, 0])).astype(np.float32)
    log = datasets.Log(
        name="a log with a name of more than thirty letters",
        indptr=np.arange(401) * 3,
        rows=rows.ravel(),
        values=np.ones(1200, np.float32),
        labels=labels,
        table_rows=100,
    )
    return demo.compare(log)


FIGURES = {
    "bowl": lambda: plotting.bowl_figure(),
    "decile": lambda: plotting.decile_figure(rare()),
    "demo": lambda: plotting.demo_figure(comparison()),
    "diagnosis": lambda: plotting.diagnosis_figure(diagnosed(planted("rare")), "log " * 30),
    "gershgorin": lambda: plotting.gershgorin_figure(MATRIX),
    "growing_discs": lambda: plotting.growing_discs_figure(MATRIX),
    "loglog": lambda: plotting.loglog_figure(
        SERIES, title="Powers", xlabel="steps", ylabel="sums", slopes={"slope 1": 1}
    ),
    "loss": lambda: plotting.loss_figure(
        {
            name: (X, 1 / X + k / 100)
            for k, name in enumerate(("AdaGrad", "SGD", "a longer name of one"))
        },
        ylabel="mean squared error of 100 examples",
        reference=("noise in the labels", 0.25),
    ),
    "path": lambda: plotting.path_figure(TURNED, paths(TURNED)),
    "quadratic": lambda: plotting.quadratic_figure({"x": TURNED, "z": Quadratic(np.eye(2))}),
    "rates": lambda: plotting.rates_figure(rare()),
    "sensitivity": lambda: plotting.sensitivity_figure(TURNED, 0.5),
}


def drawn(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[Text]]:
    """Return a figure and the texts that it draws, those of the ticks included."""
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    found: list[Text] = []
    draw = Text.draw

    def recorded(self: Text, renderer: Any) -> None:
        if self.get_text() and self.get_visible():
            found.append(self)
        draw(self, renderer)

    monkeypatch.setattr(Text, "draw", recorded)
    figure.draw_without_rendering()
    return figure, found


def test_the_figures_are_all_that_there_are():
    assert {f"{name}_figure" for name in FIGURES} == {
        name for name in plotting.__all__ if name.endswith("_figure")
    }


@pytest.mark.parametrize("name", FIGURES)
def test_a_phone_shows_the_figure_legibly(name, monkeypatch):
    figure, texts = drawn(name, monkeypatch)
    assert figure.get_size_inches()[0] <= 5.6
    assert len(texts) > 10
    assert min(text.get_fontsize() for text in texts) >= 9.5
    boxes = [text.get_window_extent() for text in texts]
    inside = figure.bbox.padded(2)
    for text, box in zip(texts, boxes, strict=True):
        assert inside.contains(*box.min), text
        assert inside.contains(*box.max), text
    # The boxes have some space below and above the letters.
    small = [box.padded(0, -0.1 * box.height) for box in boxes]
    for one, other in itertools.combinations(range(len(texts)), 2):
        assert not small[one].overlaps(small[other]), (texts[one], texts[other])
