"""Curves in panels have one legend, and a name looks the same wherever it is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from checks import need_packages

need_packages("matplotlib")

from adagrad.plotting import curves_figure

X = np.arange(1, 101)


def two_panels():
    return curves_figure(
        {
            "accumulator": {"noise": (X, 2 * X), "bowl": (X, X**0), "slope": (X, X)},
            "rate": {"bowl": (X, 1 / X**0.0), "noise": (X, X**-0.5)},
        },
        title="Growth",
        xlabel="steps",
        references=["slope"],
    )


def test_the_curves_are_those_given():
    figure = two_panels()
    upper, lower = figure.axes
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("accumulator", "rate")
    assert upper.get_xlabel() == lower.get_xlabel() == "steps"
    for axes in figure.axes:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    drawn = {line.get_label(): line.get_xydata() for line in upper.get_lines()}
    assert list(drawn) == ["noise", "bowl", "slope"]
    assert (drawn["noise"] == np.column_stack([X, 2 * X])).all()


def test_a_name_has_one_look_and_one_entry_in_the_legend():
    figure = two_panels()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["noise", "bowl", "slope"]
    looks = [
        {
            line.get_label(): (line.get_color(), line.get_marker(), line.get_linestyle())
            for line in axes.get_lines()
        }
        for axes in figure.axes
    ]
    assert all(looks[0][name] == looks[1][name] for name in ("noise", "bowl"))
    assert len(set(looks[0].values())) == 3
    figure.canvas.draw()
    box = legend.get_window_extent()
    for axes in figure.axes:
        assert not box.overlaps(axes.get_window_extent())
        assert not box.overlaps(axes.xaxis.label.get_window_extent())


def test_axes_can_be_linear():
    figure = curves_figure({"y": {"a": (X, X)}}, title="A", xlabel="x", logarithmic=False)
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ({}, "there must be 1 to 6 curves, got 0"),
        ({"y": {}}, "there must be 1 to 6 curves, got 0"),
        ({"y": {str(i): ([1], [1]) for i in range(7)}}, "there must be 1 to 6 curves, got 7"),
        ({"y": {"a": ([1, 2], [1])}}, r"curve 'a' must be .* shapes \(2,\) and \(1,\)"),
        ({"y": {"a": ([], [])}}, r"curve 'a' must be two arrays of one length, at least 1"),
    ],
)
def test_what_cannot_be_drawn_is_named(panels, message):
    with pytest.raises(ValueError, match=message):
        curves_figure(panels, title="A", xlabel="x")
