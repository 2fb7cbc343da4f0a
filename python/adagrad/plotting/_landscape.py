"""Contours of a function of two variables, paths over them, and texts that cover neither."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.transforms import Bbox

from adagrad.analysis import Quadratic
from adagrad.analysis.spectrum import real
from adagrad.plotting._style import GREY, LABEL_POINTS, laid_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.contour import QuadContourSet

Array = npt.NDArray[np.float64]

GRID = 201
DECADES = 3  # of the contours
LABEL_GAP = 3.0  # points between a text and what it must not cover
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))


def checked_paths(paths: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    """Return the finite points of each path."""
    arrays = {}
    for name, given in paths.items():
        path = real(given, f"path {name!r}").astype(np.float64)
        if path.ndim != 2 or path.shape[1] != 2:
            raise ValueError(f"path {name!r} must have shape [steps + 1, 2], got {path.shape}")
        arrays[name] = path[np.isfinite(path).all(axis=1)]
        if not len(arrays[name]):
            raise ValueError(f"path {name!r} has no finite point")
    return arrays


def window(f: Any, points: Array) -> tuple[Array, Array]:
    """Return the corners of a rectangle around points and minimum, up to twice as wide as high.

    Of a function that is no `Quadratic`, the origin takes the place of the minimum.
    """
    lowest = _minimizer(f)
    points = np.concatenate([points, [np.zeros(2) if lowest is None else lowest]])
    low, high = points.min(axis=0), points.max(axis=0)
    longest = max(float((high - low).max()), 1e-9)
    missing = np.maximum(longest * np.array([1.0, 0.5]) - (high - low), 0)
    margin = 0.12 * longest + missing / 2
    return low - margin, high + margin


def contour_levels(bottom: float, top: float) -> Array:
    """Return the levels 1, 2 and 5 times a power of ten above the bottom, of the top decades."""
    height = top - bottom
    if not 0 < height < math.inf:
        return np.zeros(0)
    last = math.floor(math.log10(height))
    steps = [digit * 10.0**e for e in range(last - DECADES + 1, last + 1) for digit in (1, 2, 5)]
    return bottom + np.array([step for step in steps if step < height])


@dataclass
class Landscape:
    """Axes with the contours of a function; what is drawn there stays clear of texts."""

    axes: Axes
    contours: QuadContourSet | None
    lowest: Array | None
    paths: list[Array] = field(default_factory=list)

    @classmethod
    def draw(cls, axes: Axes, f: Callable[[Array], Any], low: Array, high: Array) -> Landscape:
        """Draw contours in a window, and a cross at the lowest point that is inside it."""
        grid = np.stack(np.meshgrid(*np.linspace(low, high, GRID, axis=-1)), axis=-1)
        values = np.asarray(f(grid), np.float64)
        levels = contour_levels(float(values.min()), float(values.max()))
        contours = None
        if len(levels):
            contours = axes.contour(
                *grid.transpose(2, 0, 1),
                values,
                levels,
                colors=GREY,
                linewidths=0.6,
                alpha=0.7,
                zorder=1,
            )
        lowest = _minimizer(f)
        if lowest is None:
            row, column = np.unravel_index(values.argmin(), values.shape)
            if 0 < row < GRID - 1 and 0 < column < GRID - 1:
                lowest = grid[row, column]
        if lowest is not None:
            axes.scatter(lowest[0], lowest[1], s=49, marker="x", color="black", zorder=3)
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])
        axes.set_aspect("equal")
        axes.set_xlabel("x₁")
        axes.set_ylabel("x₂")
        return cls(axes, contours, lowest)

    def draw_path(self, path: Array, look: tuple[Any, ...], name: str) -> None:
        """Draw a path in the color, marker and line style of a series."""
        colour, marker, line = look
        self.axes.plot(
            *path.T,
            color=colour,
            marker=marker,
            linestyle=line,
            markersize=4.5,
            linewidth=1.5,
            label=name,
        )
        self.paths.append(path)

    def write_texts(self) -> None:
        """Name the start, the minimum and every other contour, when the figure's size is final."""
        axes = self.axes
        laid_out(axes)
        drawn = np.concatenate([_dense(axes.transData.transform(path)) for path in self.paths])
        texts: list[Bbox] = []
        self._write("start", self.paths[0][0], drawn, texts)
        if self.lowest is not None:
            self._write("minimum", self.lowest, drawn, texts)
        if self.contours is not None:
            self._label_contours(self.contours, drawn, texts)

    def _write(self, text: str, at: Array, drawn: Array, texts: list[Bbox]) -> None:
        """Write a text beside a point, on the side that has the fewest drawn points."""
        note = self.axes.annotate(
            text,
            (at[0], at[1]),
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=LABEL_POINTS,
            annotation_clip=False,
            bbox={"facecolor": self.axes.get_facecolor(), "lw": 0, "pad": 0.5, "alpha": 0.8},
            zorder=2.5,
        )
        at = self.axes.transData.transform(at)
        point = self.axes.figure.dpi / 72
        size = np.array(note.get_window_extent().size)
        inside = self.axes.get_window_extent()

        def place(direction: tuple[int, int]) -> tuple[Array, Bbox]:
            shift = np.array(direction) * (size / 2 + (LABEL_GAP + 4) * point)
            # A text in a corner is near its point already.
            shift *= 0.85 if all(direction) else 1.0
            return shift, Bbox.from_extents(*(at + shift - size / 2), *(at + shift + size / 2))

        def cost(direction: tuple[int, int]) -> tuple[bool, bool, int]:
            _, box = place(direction)
            return (
                any(box.overlaps(other) for other in texts),
                not (inside.contains(*box.min) and inside.contains(*box.max)),
                _covered(box.padded(LABEL_GAP * point), drawn),
            )

        shift, box = place(min(DIRECTIONS, key=cost))
        note.xyann = tuple(shift / point)
        texts.append(box.padded(LABEL_GAP * point))

    def _label_contours(
        self, contours: QuadContourSet, drawn: Array, texts: Sequence[Bbox]
    ) -> None:
        """Write every other level where its contour is farthest from the paths and other texts."""
        axes, texts = self.axes, list(texts)
        point = axes.figure.dpi / 72
        gap = LABEL_GAP * point
        inside = axes.get_window_extent().padded(-gap)
        levels = list(zip(contours.levels, contours.allsegs, strict=True))
        for level, lines in levels[::-2]:
            text = f"{level:.3g}"
            radius = LABEL_POINTS * point * (0.35 * len(text) + 0.3)
            lines = [axes.transData.transform(line) for line in lines if len(line) > 1]
            if not lines:
                continue
            vertices = np.concatenate(lines)
            tangents = np.concatenate([np.gradient(line, axis=0) for line in lines])
            distances = np.hypot(*(vertices[:, None] - drawn).T).min(axis=0)
            for i in np.argsort(-distances, kind="stable"):
                if distances[i] < radius + gap:
                    break
                box = Bbox.from_extents(*(vertices[i] - radius), *(vertices[i] + radius))
                within = inside.contains(*box.min) and inside.contains(*box.max)
                if within and not any(box.overlaps(other) for other in texts):
                    texts.append(box)
                    angle = math.degrees(math.atan2(tangents[i][1], tangents[i][0]))
                    x, y = axes.transData.inverted().transform(vertices[i])
                    axes.text(
                        x,
                        y,
                        text,
                        rotation=(angle + 90) % 180 - 90,  # upright
                        ha="center",
                        va="center",
                        color=GREY,
                        fontsize=LABEL_POINTS,
                        bbox={"facecolor": axes.get_facecolor(), "lw": 0, "pad": 0.5},
                        zorder=1.5,
                    )
                    break


def _minimizer(f: Any) -> Array | None:
    if not isinstance(f, Quadratic) or len(f.Q) != 2:
        return None
    try:
        return f.minimizer
    except ValueError:  # it has none
        return None


def _dense(path: Array) -> Array:
    """Return points on a path, at most 4 pixels from one to the next."""
    parts = [path[:1]]
    for start, end in itertools.pairwise(path):
        count = min(1 + int(np.hypot(*(end - start)) // 4), 1000)
        parts.append(start + np.linspace(0, 1, count + 1)[1:, None] * (end - start))
    return np.concatenate(parts)


def _covered(box: Bbox, points: Array) -> int:
    return int(((points > box.min) & (points < box.max)).all(axis=1).sum())
