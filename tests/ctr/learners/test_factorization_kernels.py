"""Factorization machines equal their oracle bit for bit, on any number of threads."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import adagrad
import fm_reference as oracle
from adagrad import Rule, _core
from adagrad.ctr.encoding.examples import REGIONS, Examples, region_size
from checks import Array, assert_same_bits
from isas import using
from rules import RULES

SLOTS = 500
N_FIELDS = 11  # fields f and f + 8 share a region
SEEN = 32_758  # the first round of 64 begins 10 examples later


def part_of_field(parts: int) -> Array:
    return (np.arange(N_FIELDS) % REGIONS * parts // REGIONS).astype(np.uint32)


def place_in_part(parts: int) -> Array:
    """The reverse of the usual order, which the kernels must not rely on."""
    part = part_of_field(parts)
    return np.array([(part[f + 1 :] == part[f]).sum() for f in range(N_FIELDS)], np.uint32)


def some_examples(rng: Any, n: int, *, fixed: bool, values: bool) -> Examples:
    """Examples over few slots, so that many repeat; if not `fixed`, also within an example."""
    fields_of_region = [[f for f in range(N_FIELDS) if f % REGIONS == r] for r in range(REGIONS)]
    runs = [[len(f) for f in fields_of_region]] * n
    if not fixed:
        runs = rng.poisson(1.2, (n, REGIONS)).tolist()
    slots, fields = [], []
    for of_example in runs:
        for r, count in enumerate(of_example):
            size = region_size(SLOTS)
            slots += (r * size + np.minimum(rng.geometric(0.2, count), 50)).tolist()
            fields += (
                (fields_of_region[r] * 9)[:count]
                if fixed
                else rng.choice(fields_of_region[r], count).tolist()
            )
    bounds = np.cumsum([0, *np.ravel(runs[0] if fixed else runs)]).astype(np.uint32)
    x = None
    if values:
        x = (rng.standard_normal(len(slots)) * 2).astype(np.float32)
        x[rng.random(len(slots)) < 0.1] = 0.0
    return Examples(
        np.array(slots, np.uint32),
        bounds,
        SLOTS,
        n,
        values=x,
        fields=np.array(fields[: int(bounds[-1])], np.uint16),
        n_fields=N_FIELDS,
    )


class Case:
    """Our model and the oracle's, from the same start."""

    def __init__(
        self,
        kind: str,
        k: int,
        rule: Rule,
        parts: int = 2,
        linear: bool = True,
        coordinates: type[oracle.Coordinates] = oracle.Coordinates,
        **options: Any,
    ) -> None:
        self.kind, self.k, self.rule, self.parts = kind, k, rule, parts
        self.coordinates = coordinates
        self.linear, self.options = linear, options
        self.fields = part_of_field(parts), place_in_part(parts)
        counts = [1] if kind == "fm" else np.bincount(self.fields[0], minlength=parts)
        self.weights = adagrad.Table(SLOTS, rule=rule)
        self.bias = adagrad.Table(1, rule=rule)
        self.factors = [
            adagrad.Table(SLOTS, int(count) * k, rule, init="normal", init_scale=0.3, seed=number)
            for number, count in enumerate(counts)
        ]
        self.start = [table._memory.copy() for table in self.every_table]
        self.learner = self.ours()
        self.model = self.oracle()

    @property
    def every_table(self) -> list[adagrad.Table]:
        return [self.weights, self.bias, *self.factors]

    def restart(self) -> None:
        """Put our params and accumulators back to the start."""
        for table, start in zip(self.every_table, self.start, strict=True):
            table._memory[:] = start

    def ours(self) -> Any:
        sums, rule = self.coordinates is oracle.Sums, self.rule
        rates = (rule._compiled.sums() if sums else rule._compiled, rule.lr, rule.lr_decay)
        weights = self.weights._memory if self.linear else None
        bias = self.bias._memory if self.linear else None
        memory = [table._memory for table in self.factors]
        normalize = self.options.get("normalize", False)
        if self.kind == "fm":
            memory_of_fm = weights, SLOTS, bias, memory[0], self.k
            return _core.FMLearner(*memory_of_fm, normalize, *rates)
        return _core.FFMLearner(
            memory, SLOTS, self.k, *self.fields, weights, bias, normalize, *rates
        )

    def oracle(self, real: Any = np.float32) -> Any:
        def copied(table: Any, *shape: int) -> oracle.Coordinates:
            w, s = (a.astype(real).reshape(SLOTS, *shape) for a in (table.weights, table.state))
            return self.coordinates(w, s, self.rule)

        bias = self.coordinates(
            self.bias.weights.astype(real),
            self.bias.state.astype(real),
            self.rule.replace(weight_decay=0.0),  # the bias takes no penalty
        )
        linear = oracle.Linear(copied(self.weights), bias) if self.linear else None
        normalize = self.options.get("normalize", False)
        if self.kind == "fm":
            assert linear is not None
            return oracle.FM(linear, copied(self.factors[0], self.k), normalize)
        tables = [copied(table, table.dim // self.k, self.k) for table in self.factors]
        return oracle.FFM(linear, tables, *self.fields, normalize)

    def learn(self, x: Examples, y: Array, weights: Array | None, t: int, threads: int) -> Array:
        return self.learner.learn(x, y, weights, t, threads)

    def assert_same(self, context: object = "") -> None:
        expected = [self.model.factors] if self.kind == "fm" else self.model.tables
        for table, of_table in zip(self.factors, expected, strict=True):
            assert_same_bits(table.weights.ravel(), of_table.w.ravel(), context)
            assert_same_bits(table.state.ravel(), of_table.s.ravel(), context)
        if self.linear:
            assert_same_bits(self.weights.weights, self.model.linear.pairs.w, context)
            assert_same_bits(self.weights.state, self.model.linear.pairs.s, context)
            assert_same_bits(self.bias.weights, self.model.linear.bias.w, context)

    def memory(self) -> bytes:
        return b"".join(table._memory.tobytes() for table in self.every_table)


def labels(rng: Any, n: int) -> Array:
    return (rng.random(n) < 0.3).astype(np.float32)


def compare(
    case: Case, x: Examples, y: Array, weights: Array | None = None, threads: int = 1
) -> Array:
    """Learn 10 examples in a round of 32 and the others in larger ones, on every ISA."""
    t = SEEN
    expected = oracle.learn(case.model, x, y, weights, t)
    afterwards = oracle.margins(case.model, x)
    for isa in adagrad.isas():
        case.restart()
        with using(isa):
            margins = case.learn(x, y, weights, t, threads)
            assert_same_bits(margins, expected, f"{isa}, margins")
            case.assert_same(isa)
            margins = case.learner.margins(x, threads)
            assert_same_bits(margins, afterwards, f"{isa}, margins afterwards")
    return expected


@pytest.mark.parametrize("k", [1, 3, 4, 8, 16])
@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("kind", ["fm", "ffm"])
def test_learners_equal_the_oracle(kind, fixed, values, k, rng):
    x = some_examples(rng, 200 if kind == "fm" else 40, fixed=fixed, values=values)
    y = labels(rng, len(x))
    weights = rng.uniform(0, 2, len(x)).astype(np.float32) if values else None
    options: dict[str, bool] = {"normalize": values}
    if kind == "ffm":
        options["linear"] = values
    margins = compare(Case(kind, k, Rule(lr=0.2), **options), x, y, weights)
    assert np.isfinite(margins).all()
    assert len(np.unique(margins)) > 0.9 * len(x)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("kind", ["fm", "ffm"])
def test_gradients_are_summed_at_constant_params(kind, fixed, threads, rng):
    x = some_examples(rng, 200 if kind == "fm" else 40, fixed=fixed, values=True)
    case = Case(kind, 4, Rule(), coordinates=oracle.Sums)
    before = [table.weights.copy() for table in case.every_table]
    compare(case, x, labels(rng, len(x)), threads=threads)
    after = [table.weights for table in case.every_table]
    for a, b in zip(before, after, strict=True):
        assert_same_bits(a, b)
    assert all(table.state.any() for table in case.every_table)


@pytest.mark.parametrize("name", [n for n, rule in RULES.items() if rule.accumulator != "row"])
@pytest.mark.parametrize("kind", ["fm", "ffm"])
def test_every_rule(kind, name, rng):
    x = some_examples(rng, 100 if kind == "fm" else 30, fixed=False, values=True)
    compare(Case(kind, 4, RULES[name].replace(lr_decay=0.01)), x, labels(rng, len(x)))


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_parts_of_the_fields(parts, rng):
    x = some_examples(rng, 12, fixed=False, values=False)
    compare(Case("ffm", 4, Rule(lr=0.2), parts), x, labels(rng, len(x)))


@pytest.mark.parametrize("kind", ["fm", "ffm"])
@pytest.mark.parametrize("fixed", [False, True])
def test_threads_change_no_bit(kind, fixed, rng):
    x = some_examples(rng, 1500, fixed=fixed, values=True)
    y = labels(rng, len(x))
    results = set()
    for threads in (1, 2, 3, 4, 64):
        case = Case(kind, 8, Rule(lr=0.2), parts=4)
        margins = case.learn(x, y, None, 500, threads)
        results.add(margins.tobytes() + case.memory() + case.learner.margins(x, threads).tobytes())
    assert len(results) == 1


@pytest.mark.parametrize(("kind", "cuts"), [("fm", [524, 588, 1100]), ("ffm", [1, 7, 780])])
def test_a_stream_may_be_cut(kind, cuts, rng):
    x = some_examples(rng, 1300, fixed=False, values=False)
    y = labels(rng, len(x))
    whole, parts = Case(kind, 4, Rule(lr=0.2)), Case(kind, 4, Rule(lr=0.2))
    expected = whole.learn(x, y, None, 500, 1)
    ends = [0, *cuts, len(x)]
    margins = [parts.learn(x[a:b], y[a:b], None, 500 + a, 2) for a, b in itertools.pairwise(ends)]
    assert_same_bits(np.concatenate(margins), expected)
    assert whole.memory() == parts.memory()


@pytest.mark.parametrize("kind", ["fm", "ffm"])
@pytest.mark.parametrize("normalize", [False, True])
def test_gradients_by_finite_differences(kind, normalize, rng):
    """The oracle's gradients of the logloss, in float64, in every param of an example."""
    x = some_examples(rng, 1, fixed=True, values=True)
    case = Case(kind, 3, Rule(lr=0.2), normalize=normalize)
    model = case.oracle(np.float64)
    example = next(oracle.split(x))

    def loss() -> float:
        return float(np.logaddexp(0.0, -model.margin(example)[0]))

    margin, extra = model.margin(example)
    g = 1 / (1 + np.exp(-margin)) - 1
    gradients = {}
    for coordinates, index, gradient in model.gradients(example, g, extra):
        key = id(coordinates), index
        at = gradients.setdefault(key, [coordinates, index, np.zeros(np.shape(gradient))])
        at[2] = at[2] + gradient
    assert len(gradients) > 20
    for coordinates, index, gradient in gradients.values():
        for k in np.ndindex(np.shape(gradient)):
            place = (*np.atleast_1d(index).tolist(), *k)
            before, step = coordinates.w[place], 1e-5
            found = []
            for moved in (before + step, before - step):
                coordinates.w[place] = moved
                found.append(loss())
            coordinates.w[place] = before
            slope = (found[0] - found[1]) / (2 * step)
            assert slope == pytest.approx(gradient[k], rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e-18, 1e13])
@pytest.mark.parametrize("kind", ["fm", "ffm"])
def test_values_whose_squares_are_tiny_or_huge(kind, size, rng):
    """A reciprocal of a subnormal sum could be infinite."""
    x = some_examples(rng, 30, fixed=True, values=True)
    assert x.values is not None
    values = (x.values * size).astype(np.float32)
    x = Examples(
        x.slots, x.bounds, SLOTS, len(x), values=values, fields=x.fields, n_fields=N_FIELDS
    )
    case = Case(kind, 4, Rule(lr=0.2), normalize=True)
    assert np.isfinite(compare(case, x, labels(rng, len(x)))).all()


@pytest.mark.parametrize("kind", ["fm", "ffm"])
def test_empty_examples_and_empty_batches(kind, rng):
    case = Case(kind, 4, Rule(lr=0.2))
    none = some_examples(rng, 3, fixed=False, values=False)[:0]
    before = case.memory()
    assert len(case.learn(none, np.empty(0, np.float32), None, 0, 2)) == 0
    assert case.memory() == before
    empty = Examples(
        np.empty(0, np.uint32),
        np.zeros(REGIONS + 1, np.uint32),
        SLOTS,
        2,
        fields=np.empty(0, np.uint16),
        n_fields=N_FIELDS,
    )
    assert_same_bits(case.learner.margins(empty, 1), np.zeros(2, np.float32))


def test_interactions_are_learned(rng):
    """Whether two fields agree cannot be expressed as a sum of weights."""
    n = 4000
    values = rng.integers(0, 8, (n, 2))
    y = (values[:, 0] % 2 == values[:, 1] % 2).astype(np.float32)
    size = region_size(SLOTS)
    bounds = np.array([0, 1, 1, 1, 1, 2, 2, 2, 2], np.uint32)
    x = Examples(
        (values + np.array([0, 4 * size])).astype(np.uint32).ravel(),
        bounds,
        SLOTS,
        n,
        fields=np.array([0, 4], np.uint16),
        n_fields=N_FIELDS,
    )
    for case in (Case("fm", 4, Rule(lr=0.2)), Case("ffm", 4, Rule(lr=0.2), linear=False)):
        margins = case.learn(x, y, None, 0, 1)
        assert np.mean((margins[-1000:] > 0) == y[-1000:]) > 0.99


def test_bad_tables():
    rates = (Rule()._compiled, 0.1, 0.0)
    table = adagrad.Table(SLOTS)._memory
    factors = adagrad.Table(SLOTS, dim=8)._memory
    with pytest.raises(ValueError, match=r"factor_table has 32000 bytes; 500 rows of 32 float32"):
        _core.FMLearner(table, SLOTS, None, factors, 16, True, *rates)
    with pytest.raises(ValueError, match="factors must be at least 1"):
        _core.FMLearner(table, SLOTS, None, factors, 0, True, *rates)
    fields = [0, 1], [0, 0]
    ffm = (None, None, False, *rates)
    two = [factors, factors.copy()]
    _core.FFMLearner(two, SLOTS, 8, *fields, *ffm)
    with pytest.raises(ValueError, match=r"tables\[1\] has 4000 bytes; 500 rows of 16 float32"):
        _core.FFMLearner([factors, table], SLOTS, 8, *fields, *ffm)
    with pytest.raises(ValueError, match="tables must be 1, 2, 4 or 8 arrays, got 3"):
        _core.FFMLearner([*two, table], SLOTS, 8, *fields, *ffm)
    with pytest.raises(ValueError, match="factors must be at least 1"):
        _core.FFMLearner(two, SLOTS, 0, *fields, *ffm)
    with pytest.raises(ValueError, match=r"part_of_field\[1\] = 2 is out of range for 2"):
        _core.FFMLearner(two, SLOTS, 8, [0, 2], [0, 0], *ffm)
    with pytest.raises(ValueError, match="place_in_part has 1 elements, but part_of_field has 2"):
        _core.FFMLearner(two, SLOTS, 8, [0, 1], [0], *ffm)
    with pytest.raises(ValueError, match=r"place_in_part\[1\] = 1 is out of range for the 1"):
        _core.FFMLearner(two, SLOTS, 8, [0, 1], [0, 1], *ffm)
    with pytest.raises(ValueError, match=r"place_in_part\[1\] = 0 is the place of another"):
        _core.FFMLearner(two, SLOTS, 8, [0, 0], [0, 0], *ffm)


@pytest.mark.parametrize("fixed", [False, True])
def test_bad_examples(fixed, rng):
    """If learn() raises, nothing changes."""
    case = Case("ffm", 4, Rule())
    good = some_examples(rng, 40, fixed=fixed, values=False)
    before = case.memory()

    def learn(fields: Array | None, n_fields: int = N_FIELDS) -> None:
        x = Examples(good.slots, good.bounds, SLOTS, 40, fields=fields, n_fields=n_fields)
        for call in (
            lambda: case.learner.margins(x, 1),
            lambda: case.learn(x, np.zeros(40, np.float32), None, 0, 1),
        ):
            call()

    with pytest.raises(ValueError, match="X has no fields"):
        learn(None)
    assert good.fields is not None
    fields = good.fields.copy()
    fields[-1] = N_FIELDS
    last = len(fields) - 1
    with pytest.raises(ValueError, match=rf"fields\[{last}\] = 11, but the model has 11 fields"):
        learn(fields, N_FIELDS + 1)
    part = int(good.slots[last]) // region_size(SLOTS) // 4
    fields[-1] = 4 - 4 * part
    with pytest.raises(
        ValueError,
        match=rf"fields\[{last}\] = \d is a field of part {1 - part}, but its slot"
        rf" {good.slots[last]} lies in region \d of part {part}",
    ):
        learn(fields)
    assert case.memory() == before
