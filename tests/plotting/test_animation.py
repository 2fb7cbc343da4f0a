"""Animations show the steps of a trace, one after the other, without a script."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from browser import chromium
from checks import need_packages

need_packages("matplotlib")

import adagrad
from adagrad import plotting, textbook
from adagrad.analysis import trace

STEPS = 7
NAMES = ("lr = 0.4", "lr = 2")
USE = "{http://www.w3.org/2000/svg}use"


def traces() -> dict[str, np.ndarray]:
    return {
        name: trace(adagrad.Rule(lr=lr), textbook.BOWL, textbook.BOWL_START, STEPS)
        for name, lr in zip(NAMES, (0.4, 2.0), strict=True)
    }


@pytest.fixture(scope="module")
def animation() -> plotting.Animation:
    return plotting.descent_animation(textbook.BOWL, traces(), title="<Two> rates & a bowl")


@pytest.fixture(scope="module")
def groups(animation: plotting.Animation) -> dict[str, ElementTree.Element]:
    """Return the elements by what follows the key in their identifiers."""
    root = ElementTree.fromstring(animation.svg)
    found = [(element.get("id") or "", element) for element in root.iter()]
    return {
        match[1]: element
        for identifier, element in found
        if (match := re.fullmatch(r"d[0-9a-f]{12}-(\w+(?:-\d+)+)", identifier))
    }


def test_each_step_of_each_path_is_a_group(groups):
    steps = {f"step-{k}-{i}" for k in range(STEPS + 1) for i in range(2)}
    assert set(groups) == steps | {f"text-{k}" for k in range(STEPS + 1)}


def test_the_points_are_those_of_the_trace(groups):
    expected = np.concatenate([*traces().values()])
    marks = [groups[f"step-{k}-{i}"].find(f".//{USE}") for i in range(2) for k in range(STEPS + 1)]
    drawn = np.array([(float(mark.get("x")), -float(mark.get("y"))) for mark in marks])
    # The picture moves the points, and stretches both coordinates alike.
    scale = np.ptp(drawn[:, 0]) / np.ptp(expected[:, 0])
    assert scale > 10
    moved = (drawn - drawn[0]) / scale + expected[0]
    np.testing.assert_allclose(moved, expected, atol=1e-4)


def test_the_rules_move_what_is_there_in_its_order(animation, groups):
    (key,) = set(re.findall(r"(d[0-9a-f]{12})-step", animation.svg))
    times = []
    for k in range(1, STEPS + 1):
        (found,) = re.findall(rf"@keyframes {key}-step-{k} {{(.*)}}$", animation.svg, re.MULTILINE)
        (at,) = re.findall(r"^0% {visibility: hidden} (\S+)% {visibility: visible}$", found)
        times.append(float(at))
        assert f'[id^="{key}-step-{k}-"] {{animation-name: {key}-step-{k}}}' in animation.svg
    assert times == sorted(set(times))
    assert times[-1] == 75
    assert "8s step-end infinite" in animation.svg


def test_readers_who_want_no_motion_see_every_step_and_the_last_text(animation):
    still, query, _ = animation.svg.partition("@media (prefers-reduced-motion: no-preference)")
    assert query
    assert "animation" not in still[still.index("<style>") :]
    hidden = re.findall(r"#\w+-(\w+)-(\d+) {visibility: hidden}", still)
    assert hidden == [("text", str(k)) for k in range(STEPS)]


def test_the_text_counts_steps_and_values(animation):
    path = traces()["lr = 2"]
    texts = re.findall(r"<!-- (step .*?) -->", animation.svg)
    assert len(texts) == STEPS + 1
    assert texts[0] == "step 0: f = 10, 10"
    assert texts[1].endswith(f", {textbook.BOWL(path[1]):.2g}")


def test_two_animations_can_share_a_page(animation):
    again = plotting.descent_animation(textbook.BOWL, traces(), title="<Two> rates & a bowl")
    assert animation == again
    slow = plotting.descent_animation(textbook.BOWL, traces(), seconds=20)
    keys = [set(re.findall(r"(d[0-9a-f]{12})-step", one.svg)) for one in (animation, slow)]
    assert not keys[0] & keys[1]
    assert "20s step-end infinite" in slow.svg


def test_a_notebook_shows_it_and_a_file_keeps_it(animation, tmp_path):
    assert animation._repr_svg_() == animation.svg
    assert repr(animation) == "Animation()"
    animation.save(tmp_path / "bowl.svg")
    assert (tmp_path / "bowl.svg").read_text(encoding="utf-8") == animation.svg


def test_paths_may_end_early_or_be_points():
    paths = {"long": [[1.0, 1.0], [0.5, 0.5], [0.2, 0.2]], "point": [[1.0, -1.0]]}
    svg = plotting.descent_animation(textbook.BOWL, paths).svg
    assert len(re.findall(r'<g id="d\w{12}-step-', svg)) == 4
    still = plotting.descent_animation(textbook.BOWL, {"point": [[1.0, -1.0]]}).svg
    ElementTree.fromstring(still)
    assert "@keyframes" not in still
    many = {str(i): paths["long"] for i in range(4)}
    texts = re.findall(r"<!-- (step .*?) -->", plotting.descent_animation(textbook.BOWL, many).svg)
    assert texts == ["step 0", "step 1", "step 2"]


@pytest.mark.parametrize("seconds", [0, -1.0, math.inf, math.nan, 10**400, "1"])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises((TypeError, ValueError), match=r"seconds must (not )?be "):
        plotting.descent_animation(textbook.BOWL, traces(), seconds=seconds)


def test_paths_are_checked():
    with pytest.raises(ValueError, match="paths must have 1 to 6 entries, got 0"):
        plotting.descent_animation(textbook.BOWL, {})
    with pytest.raises(TypeError, match="paths must be a mapping"):
        plotting.descent_animation(textbook.BOWL, [[[0.0, 0.0]]])


LOOK = """
const found = {};
for (const element of document.querySelectorAll('[id^="d"]')) {
  const match = element.id.match(/^d[0-9a-f]{12}-(.*)$/);
  if (match) found[match[1]] = getComputedStyle(element).visibility;
}
return found;
"""
SEEK = """
for (const animation of document.getAnimations()) {
  animation.pause();
  animation.currentTime = 1000 * arguments[0];
}
"""


def visible(driver) -> set[str]:
    return {name for name, look in driver.execute_script(LOOK).items() if look == "visible"}


def test_a_browser_shows_the_steps_in_turn(animation, tmp_path):
    animation.save(tmp_path / "bowl.svg")
    with chromium() as driver:
        driver.get((tmp_path / "bowl.svg").as_uri())
        for k in range(STEPS + 1):  # 6 of 8 seconds move
            driver.execute_script(SEEK, 6 * (k + 0.5) / STEPS)
            steps = {f"step-{j}-{i}" for j in range(k + 1) for i in range(2)}
            assert visible(driver) == steps | {f"text-{k}"}
        driver.execute_script(SEEK, 8.1)
        assert visible(driver) == {"step-0-0", "step-0-1", "text-0"}


def test_a_browser_that_prefers_no_motion_shows_all(animation, tmp_path):
    animation.save(tmp_path / "bowl.svg")
    with chromium("--force-prefers-reduced-motion") as driver:
        driver.get((tmp_path / "bowl.svg").as_uri())
        assert driver.execute_script("return document.getAnimations().length") == 0
        steps = {f"step-{k}-{i}" for k in range(STEPS + 1) for i in range(2)}
        assert visible(driver) == steps | {f"text-{STEPS}"}
