"""Descents that move: SVG whose steps appear one after the other, by CSS alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad._arguments import check_real
from adagrad.plotting._landscape import Landscape, checked_paths, window
from adagrad.plotting._style import (
    LABEL_POINTS,
    SERIES,
    WIDTH,
    check_series,
    fit_height,
    legend_below,
    new_figure,
    set_title,
)

Array = npt.NDArray[np.float64]

KEY = "descent_key"  # in identifiers, until the picture is known
MOVING = 0.75  # of the time; then the whole path stays
MOST_VALUES = 3  # of f in a line of text


@dataclass(frozen=True)
class Animation:
    """A moving picture, which a notebook shows when it is the value of a cell.

    Attributes
    ----------
    svg : str
        The picture as an SVG file, which needs no script and also moves as the source of an
        ``<img>``. It stands still for readers who prefer reduced motion.
    """

    svg: str = field(repr=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to an SVG file."""
        Path(path).write_text(self.svg, encoding="utf-8")

    def _repr_svg_(self) -> str:
        return self.svg


def descent_animation(
    f: Callable[[Array], Any],
    paths: Mapping[str, npt.ArrayLike],
    *,
    title: str = "Descents",
    seconds: float = 8.0,
) -> Animation:
    """Animate paths over the contours of a function of two variables.

    The picture is that of `path_figure`, but each step appears after the one before. A line of text
    counts the steps and gives the values of `f` there, of up to three paths in their order.

    Parameters
    ----------
    f : callable
        Takes points of shape [..., 2] and returns values of shape [...], such as an
        `adagrad.analysis.Quadratic`.
    paths : mapping of str to array_like of shape [steps + 1, 2]
        1 to 6 paths by name, each as `adagrad.analysis.trace` returns it.
    title : str, default "Descents"
        Title of the picture.
    seconds : float, default 8
        Time until the animation starts again, positive. The last quarter shows the whole paths.

    Returns
    -------
    Animation
        SVG of 5.2 inches width, the same text for the same arguments. The point after step ``k`` of
        the path with index ``i`` and the line to it are a group whose ``id`` ends in
        ``-step-k-i``. Points that are not finite are left out.

    Raises
    ------
    ValueError
        There is no path or more than six, or a path has another shape or no finite point, or
        `seconds` is not positive.
    TypeError
        `paths` is not a mapping, or a path or `seconds` has something other than real numbers.
    """
    check_series("paths", paths)
    if check_real("seconds", seconds) == 0:
        raise ValueError("seconds must be positive, got 0")
    arrays = checked_paths(paths)
    figure, (axes,) = new_figure(title, WIDTH, WIDTH)
    landscape = Landscape.draw(axes, f, *window(f, np.concatenate(list(arrays.values()))))
    landscape.paths += arrays.values()
    for i, (name, (colour, marker, line)) in enumerate(zip(arrays, SERIES, strict=False)):
        look: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "linestyle": line,
            "markersize": 4.5,
        }
        axes.plot([], [], label=name, **look)
        path = arrays[name]
        for k in range(len(path)):
            part = path[max(k - 1, 0) : k + 1]
            axes.plot(*part.T, markevery=[-1], gid=f"{KEY}-step-{k}-{i}", **look)
    set_title(axes, " ")  # the room for the line of text
    steps = max(map(len, arrays.values())) - 1
    for k in range(steps + 1):
        axes.annotate(
            _caption(f, list(arrays.values()), k),
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 6),
            textcoords="offset points",
            fontsize=LABEL_POINTS,
            gid=f"{KEY}-text-{k}",
        )
    legend_below(figure, 3)
    fit_height(figure)
    landscape.write_texts()
    svg = figure._repr_svg_()
    body, end, rest = svg.rpartition("</svg>")
    moving = f"{body}<style>{_style(steps, seconds)}</style>\n{end}{rest}"
    return Animation(moving.replace(KEY, f"d{hashlib.sha256(moving.encode()).hexdigest()[:12]}"))


def _caption(f: Callable[[Array], Any], paths: Sequence[Array], k: int) -> str:
    if len(paths) > MOST_VALUES:
        return f"step {k}"
    values = (float(f(path[min(k, len(path) - 1)])) for path in paths)
    return f"step {k}: f = " + ", ".join(f"{value:.2g}" for value in values)


def _style(steps: int, seconds: float) -> str:
    """Return the rules by which step after step appears, and the text of each step in its turn."""
    lines = ["", *(f"#{KEY}-text-{k} {{visibility: hidden}}" for k in range(steps))]
    moves = []
    for k in range(1, steps + 1):
        at, after = (f"{100 * MOVING * step / steps:.4g}%" for step in (k, k + 1))
        shown = "0% {visibility: hidden} " + at + " {visibility: visible}"
        lines.append(f"@keyframes {KEY}-step-{k} {{{shown}}}")
        moves.append(f'[id^="{KEY}-step-{k}-"] {{animation-name: {KEY}-step-{k}}}')
        gone = "" if k == steps else " " + after + " {visibility: hidden}"
        lines.append(f"@keyframes {KEY}-text-{k} {{{shown}{gone}}}")
        moves.append(f"#{KEY}-text-{k} {{animation-name: {KEY}-text-{k}}}")
    if steps:
        first = f"0% {{visibility: visible}} {100 * MOVING / steps:.4g}% {{visibility: hidden}}"
        lines.append(f"@keyframes {KEY}-text-0 {{{first}}}")
        moves.append(f"#{KEY}-text-0 {{animation-name: {KEY}-text-0}}")
    every = f'[id^="{KEY}-"] {{animation: {seconds:g}s step-end infinite}}'
    lines += ["@media (prefers-reduced-motion: no-preference) {", every, *moves, "}", ""]
    return "\n".join(lines)
