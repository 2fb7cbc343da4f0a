"""The reference of factorization machines: one example and one pair at a time, in NumPy.

It computes in the dtype of the params, with the operations in the order of cpp/ctr/fm.hpp and
ffm.hpp. The library must equal it in float32 with ==. In float64, finite differences check its
gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import adagrad
import reference
from adagrad.ctr.encoding.examples import REGIONS, Examples
from ctr_reference import rounds, sigmoid

Array = npt.NDArray[Any]
F = np.float32


@dataclass
class Example:
    """The entries of one example; region r has those from bounds[r] to bounds[r + 1]."""

    slots: Array
    x: Array
    bounds: list[int]
    fields: Array | None


def split(examples: Examples) -> Iterator[Example]:
    width = int(examples.bounds[-1])
    for i in range(len(examples)):
        if examples.is_fixed:
            bounds, start = examples.bounds.astype(int), i * width
        else:
            every = examples.bounds[REGIONS * i : REGIONS * (i + 1) + 1].astype(int)
            start = int(every[0])
            bounds = every - start
        whole = slice(start, start + int(bounds[-1]))
        slots = examples.slots[whole].astype(np.int64)
        x = np.ones(len(slots), F) if examples.values is None else examples.values[whole]
        fields = examples.fields
        if fields is not None and not examples.is_fixed:
            fields = fields[whole]
        yield Example(slots, x, [int(b) for b in bounds], fields)


@dataclass
class Coordinates:
    """Params of any shape, and their accumulators, which take steps at an index."""

    w: Array
    s: Array
    rule: adagrad.Rule

    def step(self, index: Any, g: Any, t: int) -> None:
        w, s = np.atleast_1d(self.w[index]), np.atleast_1d(self.s[index])
        moved, new = reference.step(self.rule, w, np.atleast_1d(g).astype(w.dtype), s, t)
        self.w[index], self.s[index] = (
            moved.reshape(self.w[index].shape),
            new.reshape(self.s[index].shape),
        )


class Sums(Coordinates):
    """Params that stay constant, and the sums of their gradients."""

    def step(self, index: Any, g: Any, t: int) -> None:
        self.s[index] += g


class Linear:
    """bias + sum w x."""

    def __init__(self, pairs: Coordinates, bias: Coordinates | None) -> None:
        self.pairs, self.bias = pairs, bias

    def margin(self, e: Example) -> Any:
        real = self.pairs.w.dtype.type
        margin = real(0)
        for r in range(REGIONS):
            total = real(0)
            for k in range(e.bounds[r], e.bounds[r + 1]):
                total += self.pairs.w[e.slots[k]] * e.x[k]
            margin += total + self.bias.w[0] if r + 1 == REGIONS and self.bias else total
        return margin

    def gradients(self, e: Example, g: Any) -> Iterator[tuple[Coordinates, Any, Any]]:
        for slot, x in zip(e.slots, e.x, strict=True):
            yield self.pairs, slot, g * x
        if self.bias is not None:
            yield self.bias, 0, g


def normalizer(e: Example, real: Any) -> Any:
    """Return 1 / sum x^2, or 0 if the sum is below the normal numbers of float32."""
    squares = real(0)
    for x in e.x:
        squares += x * x
    return real(1) / squares if squares >= np.finfo(F).tiny else real(0)


class FM:
    """Rendle 2010, equation 5."""

    rounds = 64

    def __init__(self, linear: Linear, factors: Coordinates, normalize: bool) -> None:
        self.linear, self.factors, self.normalize = linear, factors, normalize

    def sums(self, e: Example) -> tuple[Array, Array]:
        v = self.factors.w
        q, squares = np.zeros((2, v.shape[1]), v.dtype)
        for r in range(REGIONS):
            of_region = np.zeros((2, v.shape[1]), v.dtype)
            for k in range(e.bounds[r], e.bounds[r + 1]):
                term = v[e.slots[k]] * e.x[k]
                of_region += [term, term * term]
            q, squares = q + of_region[0], squares + of_region[1]
        return q, squares

    def margin(self, e: Example) -> tuple[Any, Any]:
        q, squares = self.sums(e)
        total = q.dtype.type(0)
        for a, b in zip(q, squares, strict=True):
            total += a * a - b
        r = normalizer(e, q.dtype.type) if self.normalize else q.dtype.type(1)
        return self.linear.margin(e) + r * (q.dtype.type(0.5) * total), (q, r)

    def gradients(self, e: Example, g: Any, extra: Any) -> Iterator[tuple[Coordinates, Any, Any]]:
        yield from self.linear.gradients(e, g)
        q, r = extra
        for slot, x in zip(e.slots, e.x, strict=True):
            yield self.factors, slot, ((g * r) * x) * (q - self.factors.w[slot] * x)


class FFM:
    """Juan et al. 2016, equation 4: a table [slots, fields of the part, k] for each part."""

    rounds = 8

    def __init__(
        self,
        linear: Linear | None,
        tables: list[Coordinates],
        part_of_field: Array,
        place_in_part: Array,
        normalize: bool,
    ) -> None:
        self.linear, self.tables, self.normalize = linear, tables, normalize
        self.part_of_field, self.place_in_part = part_of_field, place_in_part

    def blocks(self, e: Example) -> Iterator[list[tuple[int, list[int]]]]:
        """The entries of each block, each with the entries it is paired with."""
        parts = len(self.tables)
        each = REGIONS // parts
        of_part = [range(e.bounds[p * each], e.bounds[(p + 1) * each]) for p in range(parts)]
        for a in range(parts):
            for b in range(a, parts):
                yield [(m, [n for n in of_part[b] if a != b or n > m]) for m in of_part[a]]

    def place(self, e: Example, entry: int, other: int) -> tuple[Coordinates, Any]:
        """The table and index of an entry's factors for the field of another entry."""
        assert e.fields is not None
        field = e.fields[other]
        table = self.tables[self.part_of_field[field]]
        return table, (e.slots[entry], self.place_in_part[field])

    def margin(self, e: Example) -> tuple[Any, Any]:
        real = self.tables[0].w.dtype.type
        k = self.tables[0].w.shape[2]
        pairs = real(0)
        for block in self.blocks(e):
            lanes = np.zeros(k, real)
            for m, others in block:
                row = np.zeros(k, real)
                for n in others:
                    (a, at_a), (b, at_b) = self.place(e, m, n), self.place(e, n, m)
                    row += (a.w[at_a] * b.w[at_b]) * e.x[n]
                lanes += row * e.x[m]
            of_block = real(0)
            for lane in lanes:
                of_block += lane
            pairs += of_block
        r = normalizer(e, real) if self.normalize else real(1)
        margin = real(0) if self.linear is None else self.linear.margin(e)
        return margin + r * pairs, r

    def gradients(self, e: Example, g: Any, r: Any) -> Iterator[tuple[Coordinates, Any, Any]]:
        if self.linear is not None:
            yield from self.linear.gradients(e, g)
        for block in self.blocks(e):
            for m, others in block:
                for n in others:
                    (a, at_a), (b, at_b) = self.place(e, m, n), self.place(e, n, m)
                    c = ((g * r) * e.x[m]) * e.x[n]
                    of_a, of_b = c * b.w[at_b], c * a.w[at_a]
                    yield a, at_a, of_a
                    yield b, at_b, of_b


def margins(model: FM | FFM, examples: Examples) -> Array:
    with np.errstate(all="ignore"):
        return np.array([model.margin(e)[0] for e in split(examples)], F)


def learn(model: FM | FFM, examples: Examples, y: Array, weights: Array | None, t: int) -> Array:
    """Learn in rounds; return the margins before learning."""
    with np.errstate(all="ignore"):
        return _learn(model, list(split(examples)), y, weights, t)


def _learn(model: FM | FFM, every: list[Example], y: Array, weights: Array | None, t: int) -> Array:
    margins = np.empty(len(every), F)
    for part in rounds(t, len(every), model.rounds):
        begin, end = part.start, part.stop
        found = [model.margin(e) for e in every[begin:end]]
        for i, (margin, extra) in enumerate(found, begin):
            margins[i] = margin
            weight = F(1) if weights is None else weights[i]
            g = (sigmoid(margin) - y[i]) * weight
            for coordinates, index, gradient in model.gradients(every[i], g, extra):
                coordinates.step(index, gradient, t + begin + 1)  # rate of the round's first
    return margins
