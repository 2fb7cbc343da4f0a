"""Level sets have their value, the ellipse of minimizers its axes, and power laws their points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from checks import need_packages

need_packages("matplotlib")

from adagrad import plotting
from adagrad.analysis import SGD, Quadratic, trace

F = Quadratic([[0.5, 0.0], [0.0, 4.0]], c=[1.0, 2.0], b=3.0).rotated(math.pi / 6)
START = np.array([4.0, 3.0])


def lines(axes: Any, label: str) -> list[Any]:
    return [line.get_xydata() for line in axes.get_lines() if line.get_label() == label]


def test_a_level_set_has_one_value_and_passes_through_the_start():
    whitened = F.in_coordinates(np.sqrt(F.eigenvalues)[:, None] * F.eigenvectors.T)
    path = trace(SGD(0.4), F, START, 5)
    figure = plotting.quadratic_figure({"x": F, "z": whitened}, {"x": path}, title="Both")
    first, second = figure.axes
    (outer,) = lines(first, "level set")
    np.testing.assert_allclose(F(outer), F(START), rtol=1e-10)
    (outer,) = lines(second, "level set")
    np.testing.assert_allclose(whitened(outer), F([0.0, 0.0]), rtol=1e-10)
    (center,) = lines(first, "minimizer")
    np.testing.assert_allclose(center[0], F.minimizer)
    (drawn,) = lines(first, "descent")
    assert (drawn == path).all()
    assert [first.get_title(loc="left"), second.get_title(loc="left")] == [
        "in x: κ = 8",
        "in z: κ = 1",
    ]
    assert [first.get_xlabel(), second.get_ylabel()] == ["x₁", "z₂"]


def test_the_ellipse_of_minimizers_has_half_axes_of_the_inverse_eigenvalues():
    disc, ellipse = plotting.sensitivity_figure(F, 0.5).axes
    np.testing.assert_allclose(
        np.linalg.norm(disc.patches[0].get_xy() - F.c, axis=1), 0.5, rtol=1e-10
    )
    away = np.linalg.norm(ellipse.patches[0].get_xy() - F.minimizer, axis=1)
    assert away.max() == pytest.approx(0.5 / 0.5, rel=1e-3)
    assert away.min() == pytest.approx(0.5 / 4.0, rel=1e-3)
    assert disc.get_xlim()[1] - disc.get_xlim()[0] == pytest.approx(np.ptp(ellipse.get_xlim()))
    # An end of each axis of the ellipse is the minimizer for an end of the disc's.
    for label in ("along λ = 0.5", "along λ = 4"):
        (c,), (x,) = lines(disc, label), lines(ellipse, label)
        np.testing.assert_allclose(sorted(-np.linalg.solve(F.Q, c.T)[0]), sorted(x.T[0]))


def test_only_positive_points_are_drawn_and_slopes_pass_through_their_middle(tmp_path):
    x = np.array([1.0, 10.0, 100.0, 1000.0])
    figure = plotting.loglog_figure(
        {"a": (x, [2.0, 20.0, 200.0, 0.0]), "b": (x, x)},
        title="t",
        xlabel="x",
        ylabel="y",
        slopes={"power 1": 1.0},
        lines=False,
    )
    (axes,) = figure.axes
    (points,), (guide,) = lines(axes, "a"), lines(axes, "power 1")
    assert points.tolist() == [[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]]
    np.testing.assert_allclose(guide, [[1.0, 2.0], [100.0, 200.0]])
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.get_lines()[0].get_linestyle() == "None"
    figure.savefig(tmp_path / "a.png")
