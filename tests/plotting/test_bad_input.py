"""Figures name what they cannot draw."""

from __future__ import annotations

import math

import numpy as np
import pytest

from checks import need_packages

need_packages("matplotlib")

from adagrad import plotting, textbook
from adagrad.analysis import Quadratic

F = Quadratic([[0.5, 0.0], [0.0, 4.0]], c=[1.0, 2.0], b=3.0)
TEXTS = {"title": "t", "xlabel": "x", "ylabel": "y"}
PAIR = ([1.0], [1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plotting.path_figure(textbook.BOWL, {}), "paths must have 1 to 6 entries, got 0"),
        (
            lambda: plotting.path_figure(textbook.BOWL, {"a": np.zeros((3, 3))}),
            r"path 'a' must have shape \[steps \+ 1, 2\], got \(3, 3\)",
        ),
        (
            lambda: plotting.path_figure(textbook.BOWL, {"a": [[math.nan, 1.0]]}),
            "path 'a' has no finite point",
        ),
        (lambda: plotting.loss_figure({"a": ([], [])}), r"curve 'a' .* \(0,\) and \(0,\)"),
        (lambda: plotting.loss_figure({"a": ([1], [1, 2])}), r"curve 'a' .* \(1,\) and \(2,\)"),
        (lambda: plotting.loss_figure({"a": [1, 2, 3]}), r"curve 'a' must be a pair"),
        (lambda: plotting.loss_figure({}), "curves must have 1 to 6 entries, got 0"),
        (lambda: plotting.gershgorin_figure(np.eye(51)), "Q has 51 rows"),
        (lambda: plotting.gershgorin_figure([[1.0, 2.0], [0.0, 1.0]]), "Q must be symmetric"),
        (lambda: plotting.gershgorin_figure(-np.eye(2)), "must be positive"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_series_without_names_are_refused():
    with pytest.raises(TypeError, match=r"paths must be a mapping .*, got list"):
        plotting.path_figure(textbook.BOWL, [[[0.0, 0.0]]])
    with pytest.raises(TypeError, match=r"curves must be a mapping .*, got tuple"):
        plotting.loss_figure(([0, 1], [1.0, 0.5]))


@pytest.mark.parametrize("draw", [plotting.path_figure, plotting.descent_animation])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ([[1j, 0.0]], "path 'a' must hold real numbers"),
        ([[10**400, 0.0]], "path 'a' must hold real numbers"),
        (np.ma.masked_equal([[1.0, 0.0]], 0.0), "path 'a' is a masked array"),
        (None, "path 'a' must hold real numbers"),
    ],
)
def test_a_path_has_real_numbers(draw, path, message):
    with pytest.raises(TypeError, match=message):
        draw(textbook.BOWL, {"a": path})


@pytest.mark.parametrize("values", [[1j], np.ma.masked_equal([0.0], 0.0), ["a"]])
def test_a_curve_has_real_numbers(values):
    with pytest.raises(TypeError, match="curve 'a' "):
        plotting.loss_figure({"a": ([1], values)})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plotting.quadratic_figure([F]), TypeError, "functions must be a mapping"),
        (lambda: plotting.quadratic_figure({}), ValueError, "must have 1 to 3 entries, got 0"),
        (
            lambda: plotting.quadratic_figure({"x": Quadratic(np.eye(3))}),
            ValueError,
            "only functions of 2 variables can be drawn, got 3",
        ),
        (
            lambda: plotting.quadratic_figure({"x": Quadratic(-np.eye(2))}),
            ValueError,
            "not positive definite",
        ),
        (
            lambda: plotting.quadratic_figure({"x": F}, {"z": [[0.0, 0.0]]}),
            ValueError,
            "path 'z' has no function",
        ),
        (
            lambda: plotting.quadratic_figure({"x": F}, {"x": [0.0, 0.0]}),
            ValueError,
            r"path 'x' must have shape \[steps \+ 1, 2\], got \(2,\)",
        ),
        (lambda: plotting.sensitivity_figure(F, 0), ValueError, "radius must be positive, got 0"),
        (lambda: plotting.sensitivity_figure(F, -1), ValueError, "radius must not be negative"),
        (lambda: plotting.sensitivity_figure(Quadratic([[1.0]])), ValueError, "of 2 variables"),
        (lambda: plotting.loglog_figure([PAIR], **TEXTS), TypeError, "series must be a mapping"),
        (lambda: plotting.loglog_figure({}, **TEXTS), ValueError, "1 to 6 entries, got 0"),
        (lambda: plotting.loglog_figure({"a": 1}, **TEXTS), ValueError, "must be a pair"),
        (
            lambda: plotting.loglog_figure({"a": ([1], [1, 2])}, **TEXTS),
            ValueError,
            r"of one length, got \(1,\), \(2,\)",
        ),
        (
            lambda: plotting.loglog_figure({"a": ([1], [0])}, **TEXTS),
            ValueError,
            "has no positive point",
        ),
        (
            lambda: plotting.loglog_figure({"a": PAIR}, slopes=dict.fromkeys("abcd", 1), **TEXTS),
            ValueError,
            "slopes must have 1 to 3 entries, got 4",
        ),
        (
            lambda: plotting.loglog_figure({"a": PAIR}, slopes=["b"], **TEXTS),
            TypeError,
            "slopes must be a mapping",
        ),
        (
            lambda: plotting.loglog_figure({"a": PAIR}, slopes={"b": math.nan}, **TEXTS),
            ValueError,
            "slope 'b' must be finite",
        ),
        (
            lambda: plotting.loglog_figure({"a": (PAIR[0], 1j * np.ones(len(PAIR[1])))}, **TEXTS),
            TypeError,
            "series 'a' must hold real numbers",
        ),
        (lambda: plotting.quadratic_figure({"x": F.Q}), TypeError, "a Quadratic .*, got ndarray"),
        (lambda: plotting.sensitivity_figure(None), TypeError, "a Quadratic .*, got NoneType"),
    ],
)
def test_what_is_no_quadratic_or_no_power_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
