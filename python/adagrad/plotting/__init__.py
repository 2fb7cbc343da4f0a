"""Pictures as matplotlib figures that need no window and no backend.

A notebook shows a figure that is the value of a cell, as SVG; ``figure.savefig(path)`` writes it to
a file. The global state of ``pyplot`` is not used, so drawing works in threads and on servers.
Series differ in marker or line style as well as in color; the colors are those of Okabe and Ito.
"""

from __future__ import annotations

from adagrad.plotting._animation import Animation, descent_animation
from adagrad.plotting._demo import demo_figure
from adagrad.plotting._descent import bowl_figure, loss_figure, path_figure
from adagrad.plotting._diagnosis import diagnosis_figure
from adagrad.plotting._powers import loglog_figure
from adagrad.plotting._quadratics import quadratic_figure, sensitivity_figure
from adagrad.plotting._spectrum import gershgorin_figure, growing_discs_figure
from adagrad.plotting._textbook import decile_figure, rates_figure

__all__ = [
    "Animation",
    "bowl_figure",
    "decile_figure",
    "demo_figure",
    "descent_animation",
    "diagnosis_figure",
    "gershgorin_figure",
    "growing_discs_figure",
    "loglog_figure",
    "loss_figure",
    "path_figure",
    "quadratic_figure",
    "rates_figure",
    "sensitivity_figure",
]
