"""The playground in a browser: its numbers are those of `trace`, and it is usable by keyboard."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import adagrad
from adagrad.analysis import SGD, trace
from adagrad.textbook import BOWL, BOWL_START, playground
from browser import chromium, requested
from checks import assert_same_bits, need_packages

need_packages("selenium")

from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.wait import WebDriverWait

pytestmark = [pytest.mark.unsanitized, pytest.mark.xdist_group("browser")]

STEPS = 20
RATES = [float(f"{10 ** (k / 20):.2g}") for k in range(-40, 21)]
NAMES = ("x1", "x2", "s1", "s2", "f")

# Two of them on one page, as in a notebook in which a cell was run twice.
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>playground</title><link rel="icon" href="data:,">
<body style="font-family: sans-serif; margin: 16px">
{0}{0}
"""

READ = """
const [number, rate, angle] = arguments;
const root = document.querySelectorAll("adagrad-playground")[number].shadowRoot;
const move = (name, value) => {
  const slider = root.querySelector(`[name=${name}]`);
  slider.value = value;
  slider.dispatchEvent(new Event("input", {bubbles: true}));
};
move("rate", rate);
move("angle", angle);
const found = {adagrad: [], descent: []};
for (let step = 0; step <= 20; step++) {
  move("step", step);
  for (const [rule, rows] of Object.entries(found))
    rows.push(["x1", "x2", "s1", "s2", "f"].map(
      (name) => root.querySelector(`data.${rule}.${name}`).value));
}
return found;
"""


def luminance(color: list[int]) -> float:
    """Return the relative luminance that WCAG defines."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.divide(color, 255)
    ]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    file = tmp_path_factory.mktemp("playground") / "page.html"
    file.write_text(PAGE.format(playground()._repr_html_()), encoding="utf-8")
    with chromium("--window-size=1000,1400") as driver:
        driver.get(file.as_uri())
        yield driver


@pytest.fixture
def fresh(page: Any) -> Any:
    """The page as it is when it is opened."""
    page.refresh()
    return page


def root(page: Any, number: int = 0) -> Any:
    return page.find_elements("css selector", "adagrad-playground")[number].shadow_root


def move(page: Any, name: str, value: float) -> None:
    page.execute_script(
        "arguments[0].value = arguments[1];"
        "arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
        cell(page, f"[name={name}]"),
        value,
    )


def cell(page: Any, name: str, number: int = 0) -> Any:
    return root(page, number).find_element("css selector", name)


def numbers(page: Any, rule: str = "adagrad", number: int = 0) -> list[float]:
    values = page.execute_script(
        "return arguments[1].map((name) => arguments[0].querySelector(name).value)",
        root(page, number),
        [f"data.{rule}.{name}" for name in NAMES],
    )
    return [float(value) for value in values]


def expected(rule: Any, degrees: int) -> np.ndarray:
    """Return x1, x2, s1, s2 and f after 0, 1, ..., 20 steps."""
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    f = BOWL.rotated(angle)
    path = trace(rule, f, turn @ BOWL_START, STEPS)
    squares = np.cumsum(f.gradient(path[:-1]) ** 2, axis=0)
    return np.column_stack([path, np.vstack([np.zeros(2), squares]), f(path)])


def test_the_numbers_are_those_of_trace(page):
    settings = {(k, degrees) for k in range(61) for degrees in (45, 90)}
    settings |= {(k, degrees) for k in range(0, 61, 6) for degrees in range(0, 91, 7)}
    settings |= {
        (k, degrees) for k in (RATES.index(0.4), RATES.index(2.0)) for degrees in range(91)
    }
    for k, degrees in sorted(settings):
        found = page.execute_script(READ, 0, k - 40, degrees)
        wanted = expected(adagrad.Rule(lr=RATES[k]), degrees)
        np.testing.assert_allclose(
            np.array(found["adagrad"], float), wanted, 1e-9, 1e-12, err_msg=f"{RATES[k]} {degrees}"
        )
        # Gradient descent may diverge, to 1e32: its errors are relative to the longest step so far.
        wanted = expected(SGD(RATES[k]), degrees)[:, [0, 1, 4]]
        found = np.array(found["descent"], float)[:, [0, 1, 4]]
        scale = np.maximum.accumulate(np.abs(wanted).max(axis=1, keepdims=True))
        assert (np.abs(found - wanted) <= 1e-9 * np.maximum(scale, 1)).all(), (RATES[k], degrees)


def test_without_a_rotation_the_path_is_that_of_the_core_bit_by_bit(page):
    for k, lr in enumerate(RATES):
        found = page.execute_script(READ, 0, k - 40, 0)
        path = trace(adagrad.Rule(lr=lr), BOWL, BOWL_START, STEPS)
        assert_same_bits(np.array(found["adagrad"], float)[:, :2], path, lr)


def test_the_second_on_a_page_is_another(fresh):
    first = numbers(fresh)
    fresh.execute_script(READ, 1, 6, 30)
    assert numbers(fresh) == first
    np.testing.assert_allclose(numbers(fresh, number=1), expected(adagrad.Rule(lr=2.0), 30)[-1])


def test_jupyterlab_leaves_the_keys_to_it(page):
    # In its command mode the arrow keys select another cell, except in elements that say so.
    host = page.find_element("css selector", "adagrad-playground")
    assert host.get_attribute("data-lm-suppress-shortcuts") == "true"


def test_the_keyboard_reaches_and_moves_everything(fresh):
    def focused(number: int) -> Any:
        return fresh.execute_script(
            "return document.querySelectorAll('adagrad-playground')[arguments[0]]"
            ".shadowRoot.activeElement",
            number,
        )

    def press(*keys: str) -> Any:
        ActionChains(fresh).send_keys(*keys).perform()
        return focused(0)

    rate = press(Keys.TAB)
    assert rate.accessible_name == "Learning rate"
    assert rate.get_attribute("aria-valuetext") == "0.4"
    for keys, lr in (
        ([Keys.ARROW_RIGHT], 0.45),
        ([Keys.END], 10.0),
        ([Keys.HOME], 0.01),
        ([Keys.END, *[Keys.ARROW_LEFT] * 14], 2.0),
    ):
        assert press(*keys).get_attribute("aria-valuetext") == f"{lr:g}"
        np.testing.assert_allclose(numbers(fresh), expected(adagrad.Rule(lr=lr), 0)[-1], 1e-9)
    angle = press(Keys.TAB)
    assert angle.accessible_name == "Angle of the bowl"
    for keys, degrees in (([Keys.ARROW_UP] * 3, 3), ([Keys.END], 90), ([Keys.ARROW_DOWN], 89)):
        assert press(*keys).get_attribute("aria-valuetext") == f"{degrees}°"
        wanted = expected(adagrad.Rule(lr=2.0), degrees)
        np.testing.assert_allclose(numbers(fresh), wanted[-1], 1e-9)
    step = press(Keys.TAB)
    assert step.accessible_name == "Step"
    assert press(Keys.HOME).get_attribute("aria-valuetext") == "0 of 20, f = 10.500"
    press(*[Keys.ARROW_RIGHT] * 7)
    np.testing.assert_allclose(numbers(fresh), wanted[7], 1e-9)
    assert press(Keys.TAB).accessible_name == "Play"
    second = press(Keys.TAB)
    assert second.accessible_name == "gradient descent too"
    descent = cell(fresh, "data.descent.f")
    assert not descent.is_displayed()
    press(Keys.SPACE)
    assert second.is_selected()
    assert descent.is_displayed()
    np.testing.assert_allclose(
        np.array(numbers(fresh, "descent"))[[0, 1, 4]],
        expected(SGD(2.0), 89)[7, [0, 1, 4]],
        1e-9,
    )


def test_what_is_shown_is_the_number_rounded(fresh):
    for lr, degrees, step in ((0.01, 0, 1), (0.4, 45, 20), (2.0, 0, 20), (10.0, 30, 3)):
        fresh.execute_script(READ, 0, RATES.index(lr) - 40, degrees)
        move(fresh, "step", step)
        for name, value in zip(NAMES, numbers(fresh), strict=True):
            text = cell(fresh, f"data.adagrad.{name}").text
            assert float(text.replace("−", "-")) == pytest.approx(value, rel=5e-4, abs=1e-300)


def test_play_takes_one_step_after_another(fresh):
    fresh.execute_script(
        "window.setInterval = (tick) => { window.tick = tick; return 1; };"
        "window.clearInterval = (timer) => { if (timer) delete window.tick; };"
    )
    play = cell(fresh, "button")
    assert play.text == "Play"
    wanted = expected(adagrad.Rule(lr=0.4), 0)
    play.click()
    for step in range(STEPS + 1):
        np.testing.assert_allclose(numbers(fresh), wanted[step], 1e-9)
        if step == 7:  # a pause, after which it continues
            assert play.text == "Pause"
            play.click()
            assert play.text == "Play"
            assert fresh.execute_script("return window.tick") is None
            play.click()
        elif step < STEPS:
            fresh.execute_script("window.tick()")
    assert play.text == "Play"
    assert fresh.execute_script("return window.tick") is None


def test_play_does_not_wait(fresh):
    cell(fresh, "button").click()
    start = numbers(fresh)
    WebDriverWait(fresh, 10, 0.05).until(lambda page: numbers(page) != start)


def test_reduced_motion_plays_one_step_for_each_press(fresh):
    fresh.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]},
    )
    fresh.refresh()
    play = cell(fresh, "button")
    assert play.text == "Next step"
    wanted = expected(adagrad.Rule(lr=0.4), 0)
    fresh.execute_script("window.setInterval = () => { window.moves = true; }")
    for step in range(3):
        play.click()
        np.testing.assert_allclose(numbers(fresh), wanted[step], 1e-9)
    assert fresh.execute_script("return window.moves") is None
    fresh.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_narrow_page_does_not_scroll_sideways(fresh):
    fresh.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": False},
    )
    cell(fresh, "[name=second]").click()
    fresh.execute_script(READ, 0, 20, 45)  # gradient descent has its longest numbers
    assert fresh.execute_script("return document.documentElement.scrollWidth") <= 360
    for part in root(fresh).find_elements("css selector", "svg, input, button, td, th, p"):
        assert part.rect["x"] >= 0
        assert part.rect["x"] + part.rect["width"] <= 360
    fresh.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_it_has_the_colors_of_the_page_around_it(fresh):
    fresh.execute_script(
        "document.body.style.background = '#131416'; document.body.style.color = '#cfd0d0'"
    )
    for selector in ("label", "button", "td", "caption"):
        assert cell(fresh, selector).value_of_css_property("color") == "rgba(207, 208, 208, 1)"
    assert cell(fresh, "svg text").value_of_css_property("fill") == "rgb(207, 208, 208)"
    # Marks need 3 : 1, on a dark page and on a white one (WCAG 2.2, 1.4.11).
    for selector in ("path.adagrad", "path.descent"):
        stroke = cell(fresh, selector).value_of_css_property("stroke")
        ours = luminance([int(x) for x in re.findall(r"\d+", stroke)])
        for page in ([0x13, 0x14, 0x16], [255, 255, 255]):
            low, high = sorted((ours, luminance(page)))
            assert (high + 0.05) / (low + 0.05) >= 3


def test_nothing_is_loaded_and_nothing_is_logged(fresh):
    requested(fresh)
    fresh.refresh()
    fresh.execute_script(READ, 0, 6, 45)
    cell(fresh, "button").click()
    assert requested(fresh) == [fresh.current_url]
    assert fresh.get_log("browser") == []


def test_without_scripts_it_says_what_it_is():
    text = playground()._repr_html_()
    assert text.startswith(f"<adagrad-playground>{playground()!r}</adagrad-playground>")
    assert text.count("</script>") == 1
    assert "http" not in text
