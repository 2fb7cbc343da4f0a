"""The picture of the growing discs shows the discs and the eigenvalues of each moment."""

from __future__ import annotations

import numpy as np
import pytest

from checks import need_packages

need_packages("matplotlib")

from adagrad.analysis import gershgorin_discs
from adagrad.plotting import growing_discs_figure

MATRIX = np.array([[0.0, 1.0, 0.2], [-1.4, 1.2, 0.0], [0.1, 0.2, 5.0]])


def test_each_panel_shows_the_discs_and_eigenvalues_of_its_moment():
    times = (0.0, 0.4, 1.0)
    figure = growing_discs_figure(MATRIX, times)
    discs, center = gershgorin_discs(MATRIX), np.diag(np.diag(MATRIX))
    assert len(figure.axes) == 3
    for t, axes in zip(times, figure.axes, strict=True):
        assert axes.get_title(loc="left") == f"t = {t:g}"
        final, grown = axes.patches[::2], axes.patches[1::2]
        assert [disc.radius for disc in final] == discs.radii.tolist()
        assert [disc.radius for disc in grown] == [t * radius for radius in discs.radii]
        (now,) = (line for line in axes.get_lines() if line.get_label() == "eigenvalue")
        found = np.sort_complex(now.get_xdata() + 1j * now.get_ydata())
        values = np.sort_complex(np.linalg.eigvals(center + t * (MATRIX - center)))
        np.testing.assert_allclose(found, values, atol=1e-12)
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        assert left < discs.lower < discs.upper < right
        assert low < -discs.radii.max() < discs.radii.max() < high
        assert axes.get_aspect() == 1


def test_a_diagonal_matrix_is_drawn(tmp_path):
    growing_discs_figure([[2.0]], (1.0,)).savefig(tmp_path / "a.png")


@pytest.mark.parametrize("times", [(), (-0.1,), (0.0, 1.5), (float("nan"),)])
def test_other_times_are_refused(times):
    with pytest.raises(ValueError, match="times must be one or more numbers from 0 to 1"):
        growing_discs_figure(MATRIX, times)


def test_more_discs_than_are_legible_are_refused():
    with pytest.raises(ValueError, match="M has 51 rows"):
        growing_discs_figure(np.eye(51))
