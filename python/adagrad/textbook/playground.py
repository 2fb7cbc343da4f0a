"""An interactive picture of AdaGrad, which a notebook or a page of the site shows.

The browser computes it with the operations of `adagrad.step`, in ``playground.js``. Nothing is
loaded from anywhere.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["Playground", "playground"]

SCRIPT = Path(__file__).with_name("playground.js")
WITHOUT_SCRIPTS = (
    "An interactive picture of AdaGrad on a bowl. It needs a browser with JavaScript, and a"
    " notebook that is trusted: run its cell."
)


class Playground:
    """AdaGrad on a bowl, with sliders for its rate and the angle of the bowl; see `playground`."""

    def __repr__(self) -> str:
        return WITHOUT_SCRIPTS

    def _repr_html_(self) -> str:
        script = SCRIPT.read_text(encoding="utf-8")
        return (
            f"<adagrad-playground>{WITHOUT_SCRIPTS}</adagrad-playground>\n"
            f"<script>\n{script}</script>\n"
        )


def playground() -> Playground:
    r"""Return an interactive picture of AdaGrad on the bowl of the textbook chapter.

    Its sliders set the learning rate, from 0.01 to 10, and the angle by which the bowl
    :math:`0.1 x_1^2 + 2 x_2^2` is rotated, from 0 to 90 degrees. It takes 20 steps with ``eps``
    1e-6 and shows the numbers of each; gradient descent can be shown beside it.

    Returns
    -------
    Playground
        A notebook shows it if it is the value of a cell.

    Notes
    -----
    The numbers are those of `adagrad.analysis.trace` on ``BOWL.rotated(angle)``, from the start
    that is rotated with the bowl.
    """
    return Playground()
