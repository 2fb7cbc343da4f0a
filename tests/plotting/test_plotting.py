"""Pictures show the data, their texts are legible, and they need no backend."""

from __future__ import annotations

import math
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import need_packages

need_packages("matplotlib")

from matplotlib.colors import to_rgb

import adagrad
from adagrad import plotting, textbook
from adagrad.analysis import SGD, Adadelta, Momentum, Quadratic, RMSProp, trace
from adagrad.plotting import _style
from adagrad.plotting._landscape import contour_levels

FLAT = Quadratic([[0.5, 0.0], [0.0, 4.0]], c=[1.0, 2.0])
MATRIX = [[4.0, 1.0, 0.3], [1.0, 10.0, 0.6], [0.3, 0.6, 1.0]]


@pytest.fixture(scope="module")
def rare() -> textbook.RareFeatures:
    return textbook.rare_features(1, examples=4000)


def paths() -> dict[str, Any]:
    rules = {
        "AdaGrad": adagrad.Rule(lr=2.0),
        "SGD": SGD(0.4),
        "momentum": Momentum(0.2),
        "RMSProp": RMSProp(0.4),
        "Adadelta": Adadelta(eps=0.05),
    }
    return {
        name: trace(rule, textbook.BOWL, textbook.BOWL_START, 20) for name, rule in rules.items()
    }


def rotated() -> tuple[Quadratic, dict[str, Any]]:
    f = textbook.BOWL.rotated(math.pi / 4)
    rates = (0.4, 2.0)
    return f, {f"lr = {lr}": trace(adagrad.Rule(lr=lr), f, [-2.1, -4.9], 20) for lr in rates}


def losses(result: textbook.RareFeatures) -> dict[str, Any]:
    return {clock: (result.examples, result.losses[clock]) for clock in textbook.CLOCKS}


def figures(rare: textbook.RareFeatures) -> dict[str, Any]:
    return {
        "bowl": plotting.bowl_figure(),
        "paths": plotting.path_figure(textbook.BOWL, paths(), title="Five rules"),
        "steep": plotting.path_figure(*rotated(), title="Rotated by 45°"),
        "discs": plotting.gershgorin_figure(MATRIX),
        "rates": plotting.rates_figure(rare),
        "deciles": plotting.decile_figure(rare),
        "losses": plotting.loss_figure(losses(rare), reference=("noise", 0.25)),
        "levels": plotting.quadratic_figure({"x": FLAT, "z": FLAT.rotated(0.5)}),
        "sensitivity": plotting.sensitivity_figure(FLAT),
        "powers": plotting.loglog_figure(
            {"measured": ([1.0, 1e4], [3.0, 0.1])},
            title="A power law",
            xlabel="examples",
            ylabel="rate",
            slopes={"power -1/2": -0.5},
        ),
    }


NAMES = [
    *("bowl", "paths", "steep", "discs", "rates", "deciles", "losses"),
    *("levels", "sensitivity", "powers"),
]


@pytest.fixture(scope="module")
def drawn(rare: textbook.RareFeatures, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("pictures")
    made = figures(rare)
    for name, figure in made.items():
        figure.savefig(folder / f"{name}.png", dpi=figure.dpi)
    return made


def boxes(figure: Any) -> list[tuple[str, Any]]:
    """Return every text but the tick labels, with its bounding box."""
    found = []
    for axes in figure.axes:
        titles = [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        found += [(text.get_text(), text.get_window_extent()) for text in titles if text.get_text()]
        if axes.get_legend():
            found.append(("legend", axes.get_legend().get_window_extent()))
    found += [("legend", legend.get_window_extent()) for legend in figure.legends]
    title = figure._suptitle
    return [*found, (title.get_text(), title.get_window_extent())]


@pytest.mark.parametrize("name", NAMES)
def test_texts_stay_apart_and_inside(name, drawn):
    figure = drawn[name]
    found = boxes(figure)
    for i, (text, box) in enumerate(found):
        for other, place in found[:i]:
            assert not box.overlaps(place), (text, other)
        inside = figure.bbox.padded(1)
        assert inside.contains(box.x0, box.y0), text
        assert inside.contains(box.x1, box.y1), text


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_shows_the_figure_as_svg(name, drawn):
    formatter = pytest.importorskip("IPython.core.formatters").DisplayFormatter()
    data, _ = formatter.format(drawn[name])
    assert set(data) == {"image/svg+xml", "text/plain"}
    root = ElementTree.fromstring(data["image/svg+xml"])
    assert root.tag.endswith("}svg")
    size = [float(number) for number in root.get("viewBox").split()[2:]]
    assert size == pytest.approx(72 * drawn[name].get_size_inches(), abs=1e-3)


def test_the_svg_depends_on_the_figure_alone():
    first, again = (plotting.bowl_figure()._repr_svg_() for _ in range(2))
    assert first == again
    assert first != plotting.bowl_figure(3)._repr_svg_()


@pytest.mark.parametrize("name", NAMES)
def test_axes_are_labelled(name, drawn):
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in drawn[name].axes)


@pytest.mark.parametrize("name", ["paths", "deciles", "losses"])
def test_series_differ_in_more_than_colour(name, drawn):
    (axes,) = drawn[name].axes
    looks = [
        (line.get_marker(), line.get_linestyle(), line.get_color())
        for line in axes.get_lines()
        if not line.get_label().startswith("_")
    ]
    assert len(looks) >= 3
    assert len({marker for marker, _, _ in looks}) == len(looks)
    assert len({colour for *_, colour in looks}) == len(looks)


@pytest.mark.parametrize("name", NAMES)
def test_legends_are_outside_the_axes(name, drawn):
    legends = drawn[name].legends
    assert all(axes.get_legend() is None for axes in drawn[name].axes)
    for legend in legends:
        box = legend.get_window_extent()
        assert not any(box.overlaps(axes.get_window_extent()) for axes in drawn[name].axes)


@pytest.mark.parametrize("name", ["bowl", "paths", "steep"])
def test_contours_fill_axes_of_equal_scale(name, drawn):
    figure = drawn[name]
    for axes in figure.axes:
        free, used = axes.get_position(original=True), axes.get_position()
        assert used.width == pytest.approx(free.width, rel=0.05)
        assert used.height == pytest.approx(free.height, rel=0.05)
        scale = axes.transData.transform([(0, 0), (1, 1)])
        assert np.ptp(scale[:, 0]) == pytest.approx(np.ptp(scale[:, 1]), rel=1e-9)


@pytest.mark.parametrize("name", ["bowl", "paths", "steep"])
def test_texts_of_a_landscape_cover_no_path(name, drawn):
    for axes in drawn[name].axes:
        paths = [line for line in axes.get_lines() if len(line.get_xdata()) > 1]
        texts = {text.get_text(): text for text in axes.texts}
        assert {"start", "minimum"} <= set(texts)
        assert len(texts) >= 4  # and some contours
        for line in paths:
            points = axes.transData.transform(line.get_xydata())
            middle = (points[1:] + points[:-1]) / 2
            for text in axes.texts:
                box = text.get_window_extent()
                assert not any(box.contains(*at) for at in [*points, *middle]), text.get_text()


@pytest.mark.parametrize(("name", "f"), [("paths", textbook.BOWL), ("steep", rotated()[0])])
def test_a_contour_shows_the_value_of_the_function_there(name, f, drawn):
    (axes,) = drawn[name].axes
    labels = [text for text in axes.texts if text.get_text() not in ("start", "minimum")]
    assert len(labels) >= 2
    for label in labels:
        assert f(label.get_position()) == pytest.approx(float(label.get_text()), rel=0.02)


@given(
    st.lists(st.tuples(st.floats(-0.5, 1.5), st.floats(0.01, 0.1)), min_size=1, max_size=9),
)
def test_places_at_the_right_edge_are_apart_inside_and_no_farther_than_needed(labels):
    wanted, rooms = np.array(sorted(labels)).T
    places = _style.apart(wanted, rooms)
    low, high = places - rooms / 2, places + rooms / 2
    assert (low[1:] >= high[:-1] - 1e-9).all()
    assert low[0] >= -1e-9
    assert high[-1] <= 1 + 1e-9
    ends = np.stack([wanted - rooms / 2, wanted + rooms / 2], axis=1).ravel()
    if (np.diff([0, *ends, 1]) >= 0).all():  # nothing needs to move
        np.testing.assert_allclose(places, wanted, atol=1e-9)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e9))
def test_contours_are_at_round_heights_above_the_lowest_point(bottom, height):
    levels = contour_levels(bottom, bottom + height)
    heights = levels - bottom
    assert 6 <= len(levels) <= 9 or bottom + height == bottom
    assert ((heights >= 0) & (levels <= bottom + height)).all()
    assert len(contour_levels(bottom, bottom)) == 0


def test_the_bowl_has_the_chapters_paths(drawn):
    for axes, lr in zip(drawn["bowl"].axes, (0.4, 2.0, 0.4, 2.0), strict=True):
        path = axes.get_lines()[0].get_xydata()
        assert len(path) == 21
        assert f"lr = {lr}" in axes.get_title(loc="left")
        (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
        assert ((path >= (x0, y0)) & (path <= (x1, y1))).all()
    first = drawn["bowl"].axes[0].get_lines()[0].get_xydata()
    expected = trace(adagrad.Rule(lr=0.4), textbook.BOWL, textbook.BOWL_START, 20)
    assert (first == expected).all()


def test_discs_contain_the_eigenvalues_that_are_drawn(drawn):
    for axes in drawn["discs"].axes:
        discs = [(patch.center[0], patch.radius) for patch in axes.patches]
        (values,) = (
            line.get_xdata() for line in axes.get_lines() if line.get_label() == "eigenvalue"
        )
        assert len(discs) == len(values) == 3
        assert all(any(abs(v - c) <= r + 1e-12 for c, r in discs) for v in values)
        (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
        assert all(x0 <= c - r and c + r <= x1 and y0 <= -r and r <= y1 for c, r in discs)
    before, after = drawn["discs"].axes
    assert "κ = 10.8" in before.get_title(loc="left")
    assert "κ ≤ 2.07" in after.get_title(loc="left")


def test_no_bound_is_claimed_if_a_disc_reaches_zero():
    figure = plotting.gershgorin_figure(np.ones((2, 2)))
    assert "κ = inf, a disc reaches 0: no bound" in figure.axes[0].get_title(loc="left")


def test_rates_and_errors_are_those_of_the_result(drawn, rare):
    points = drawn["rates"].axes[0].get_lines()[0].get_xydata()
    assert (points == np.column_stack([rare.counts, rare.rates["AdaGrad"]])).all()
    lines = drawn["deciles"].axes[0].get_lines()
    assert (lines[1].get_ydata() == rare.by_decile(rare.errors["AdaGrad"])).all()


def test_divergence_and_small_spread_are_drawn(tmp_path):
    path = trace(SGD(1e160), textbook.BOWL, textbook.BOWL_START, 10)
    assert not np.isfinite(path).all()
    plotting.path_figure(textbook.BOWL, {"SGD": path[:1]}).savefig(tmp_path / "a.png")
    still = {"AdaGrad": ([0, 1], [0.5, 0.4])}
    figure = plotting.loss_figure(still)
    assert figure.axes[0].get_yscale() == "linear"
    wide = plotting.loss_figure({"SGD": ([0, 1, 2], [100.0, 1.0, math.inf])})
    assert wide.axes[0].get_yscale() == "log"
    wide.savefig(tmp_path / "b.png")


@pytest.mark.parametrize("names", [["a", "b", "c"], ["a", "b" * 30, "c" * 20, "d" * 20]])
def test_a_legend_is_as_wide_as_the_figure_at_most(names):
    paths = {name: [[1.0, 1.0], [0.5, 0.5]] for name in names}
    figure = plotting.path_figure(textbook.BOWL, paths)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().x1 <= figure.bbox.width
    assert [text.get_text() for text in legend.get_texts()] == names


@given(st.integers(0, 0xFFFFFF))
def test_text_is_dark_enough_and_keeps_its_hue(code):
    colour = f"#{code:06x}"
    dark, given = np.array(_style.readable(colour)), np.array(to_rgb(colour))

    def linear(rgb):
        return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)

    luminance = linear(dark) @ [0.2126, 0.7152, 0.0722]
    assert 1.05 / (luminance + 0.05) >= 4.5 - 1e-6
    assert (dark <= given + 1e-9).all()
    if (given > 0).any():
        share = linear(dark)[given > 0] / linear(given)[given > 0]
        np.testing.assert_allclose(share, share[0], rtol=1e-6)


def test_ticks_are_plain_numbers():
    values = [0.001, 0.5, 1, 2000, 1e6, 1.5e7, 2e9, 1e12]
    expected = ["0.001", "0.5", "1", "2,000", "1 M", "15 M", "2 G", "1e+12"]
    assert [_style.number(value) for value in values] == expected


def test_a_logarithmic_axis_has_labels_of_one_kind():
    figure = plotting.loss_figure({"a": ([0, 1], [0.9, 0.05])}, xlabel="steps")
    (axes,) = figure.axes
    figure.canvas.draw()
    labels = [text.get_text() for text in axes.yaxis.get_ticklabels(which="both")]
    assert "0.1" in labels
    assert not any("$" in label for label in labels)
    assert axes.get_xlabel() == "steps"


def test_discs_wider_than_high_are_drawn_quietly(tmp_path, caplog):
    figure = plotting.gershgorin_figure([[1.0, 1.0], [1.0, 1.0]])
    figure.savefig(tmp_path / "a.png", dpi=150)
    assert caplog.messages == []
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert low <= 0 < 2 <= high


def test_colours_are_those_of_okabe_and_ito():
    palette = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"}
    assert {colour for colour, _, _ in _style.SERIES} == palette
    assert len({marker for _, marker, _ in _style.SERIES}) == 6


def test_a_function_need_not_be_quadratic(tmp_path):
    f = Quadratic(np.eye(2))
    figure = plotting.path_figure(lambda x: np.sqrt(f(x) + 1), {"a": [[1.0, 1.0], [0.5, 0.5]]})
    figure.savefig(tmp_path / "a.png")
    assert figure.axes[0].get_lines()[0].get_xydata().tolist() == [[1.0, 1.0], [0.5, 0.5]]


def test_pictures_of_the_textbook_need_only_matplotlib():
    code = (
        "import sys, adagrad.plotting as p; p.bowl_figure();"
        "print({'sklearn', 'scipy', 'pyarrow', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert process.stdout == "set()\n"
