"""Pictures, each returned as a matplotlib ``Figure`` that belongs to no window and no backend.

``pyplot`` and its global state stay out, so that drawing works in threads, servers and tests:
save with ``figure.savefig(path)``, or show by returning the figure in a notebook cell. Every series
has a marker or a line of its own beside a colour of Okabe and Ito's.
"""

from __future__ import annotations

from adagrad.plotting._demo import demo_figure
from adagrad.plotting._descent import bowl_figure, loss_figure, path_figure
from adagrad.plotting._diagnosis import diagnosis_figure
from adagrad.plotting._spectrum import gershgorin_figure
from adagrad.plotting._textbook import decile_figure, rates_figure

__all__ = [
    "bowl_figure",
    "decile_figure",
    "demo_figure",
    "diagnosis_figure",
    "gershgorin_figure",
    "loss_figure",
    "path_figure",
    "rates_figure",
]
