"""Pictures of benchmarks are narrow, and name every line."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import pytest

from checks import ROOT, need_packages

need_packages("matplotlib")

sys.path.append(str(ROOT))  # bench/ is not part of what is installed

from bench import picture, scale_picture

from adagrad.plotting import _style


@pytest.fixture
def figures(monkeypatch):
    made = []
    new_figure = _style.new_figure

    def recorded(*arguments):
        made.append(new_figure(*arguments))
        return made[-1]

    monkeypatch.setattr(_style, "new_figure", recorded)
    return made


def words(axes):
    return {text.get_text().replace("\n", " ") for text in axes.texts}


def png_size(path):
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def test_panels_of_a_question(figures, tmp_path):
    series = {"limit": ([64, 4096], [0.8, 0.9]), "torch fused, own memory": ([64, 4096], [3, 2])}
    panels = [
        picture.Panel("one", "elements", series),
        picture.Panel("two", "elements", {"NumPy": ([4096], [7.0])}),
        picture.Panel("three", "rows", {"NumPy": ([4, 8], [7.0, 0.1])}),
    ]
    picture.draw(panels, str(tmp_path / "a.png"), "dense", {"Description": "numbers"})
    ((_, axes),) = figures
    expected = [{*panel.series, "adagrad"} for panel in panels]
    assert [words(one) for one in axes] == expected
    assert [one.get_title(loc="left") for one in axes] == ["one", "two", "three"]
    assert [one.get_xlabel() for one in axes] == ["", "elements", "rows"]
    assert axes[0].get_xlim() == axes[1].get_xlim()
    assert len({one.get_ylim() for one in axes}) == 1
    width, height = png_size(tmp_path / "a.png")
    assert width == round(_style.WIDTH * picture.DPI)
    assert height > width
    assert b"Description\0numbers" in (tmp_path / "a.png").read_bytes()


def test_lines_of_a_simulation_end_with_what_limits_them(figures, tmp_path):
    outcomes = [SimpleNamespace(rate=1e6 * rate, bottleneck="driver") for rate in (1, 2, 3)]
    panels = {"length": {"small batches": outcomes}, "order": {"async": outcomes[:2]}}
    scale_picture.draw(panels, (1, 2, 4), str(tmp_path / "a.png"))
    ((_, axes),) = figures
    assert [words(one) for one in axes] == [
        {"linear", "small batches: driver"},
        {"linear", "async: driver"},
    ]
    assert axes[0].get_lines()[1].get_ydata().tolist() == [1, 2, 3]
    assert png_size(tmp_path / "a.png")[0] == round(_style.WIDTH * picture.DPI)


def test_looks_are_different_for_many_lines():
    looks = picture.looks()
    assert len(set(looks)) == len(looks) >= 40
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour, _ in looks)
