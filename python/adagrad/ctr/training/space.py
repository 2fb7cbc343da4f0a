"""The configurations that ``adagrad tune`` compares: the default, and changes of its options.

Each option has a few values, and the first is the default. Every single change takes part, because
the defaults are good and one change often explains most of what a search can gain; random
combinations fill the rest of the field.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from adagrad.ctr.training.options import Options, option_name, option_text

__all__ = ["Space", "candidate_pairs", "changed_options", "changes", "merged"]

BITS = (18, 20, 24)
FACTORS = (2, 4, 8, 16)
FACTORS_OF = {"fm": 8, "ffm": 4}
"""Factors of a model unless they are given."""

HALF_LIVES = (2, 8)
"""Half-lives are these parts of the rows."""

MOST_PAIRS = 15
MOST_CROSSES = 3
MEMORY = 1 << 30
"""Bytes of a model, at most. Several are trained at once."""

FEWEST_BITS = 16
ROOM = 16
"""Slots for each distinct feature, so that later logs bring new ones."""


@dataclasses.dataclass(frozen=True)
class Space:
    """Values of the options that are searched.

    Attributes
    ----------
    default : Options
        What all others are compared with.
    model_types : tuple of str
    bits : tuple of int
    factors : tuple of int
        For "fm" and "ffm".
    half_lives : tuple of (float or None)
    crosses : tuple of tuple of str
        Candidates; a configuration has up to three of them.
    features : int
        Distinct features in the rows, about.
    fields : int
        Fields of an example, without crosses.
    """

    default: Options
    model_types: tuple[str, ...]
    bits: tuple[int, ...]
    factors: tuple[int, ...]
    half_lives: tuple[float | None, ...]
    crosses: tuple[tuple[str, ...], ...]
    features: int
    fields: int

    def field(self, trials: int, seed: int) -> list[Options]:
        """Return distinct configurations, the default first.

        Parameters
        ----------
        trials : int
            How many; fewer if the space has fewer.
        seed : int
            Seed of the random combinations.
        """
        random = np.random.default_rng(seed)
        singles = self._singles()
        pairs: list[dict[str, Any]] = [{"cross": (pair,)} for pair in self.crosses]
        # A third of the field is for combinations.
        changes = [{}, *singles, *pairs[: max(0, 2 * trials // 3 - len(singles))]]
        found = dict.fromkeys(self._option(change) for change in changes)
        for _ in range(20 * trials):
            if len(found) >= trials:
                break
            found[self._option(self._random(random, singles))] = None
        return list(found)[:trials]

    def _singles(self) -> list[dict[str, Any]]:
        """Return every change of one option, without crosses."""
        changes: list[dict[str, Any]] = []
        for kind in self.model_types:
            if kind != self.default.model_type:
                changes.append({"model_type": kind})
            if kind != "lr":
                others = [k for k in self.factors if k != FACTORS_OF[kind]]
                changes += [{"model_type": kind, "factors": k} for k in others]
        changes += [{"half_life": x} for x in self.half_lives if x != self.default.half_life]
        usual = min(self.default.bits, self._enough)
        # With slots to spare, another number of them changes nothing but the memory.
        changes += [
            {"bits": bits} for bits in self.bits if bits < usual or usual < bits <= self._enough
        ]
        return changes

    @property
    def _enough(self) -> int:
        """Number of bits with which hardly any feature shares its slot."""
        return max(FEWEST_BITS, math.ceil(math.log2(ROOM * max(self.features, 1))))

    def _random(self, random: np.random.Generator, singles: Sequence[dict[str, Any]]) -> Any:
        """Return a change of each option, or none, with equal probability."""
        change: dict[str, Any] = {}
        for options in (("model_type", "factors"), ("half_life",), ("bits",)):
            of_option = [one for one in singles if one.keys() <= set(options)]
            if of_option and random.random() < 0.5:
                change |= of_option[random.integers(len(of_option))]
        if self.crosses:
            most = min(MOST_CROSSES, len(self.crosses))
            picked = random.choice(len(self.crosses), random.integers(most + 1), replace=False)
            change["cross"] = tuple(self.crosses[k] for k in sorted(picked.tolist()))
        return change

    def _option(self, change: dict[str, Any]) -> Options:
        """Return the default with a change; a factorization machine gets the slots it needs."""
        options = dataclasses.replace(self.default, **change)
        if options.model_type == "lr" or options == self.default:
            return options
        factors = options.factors or FACTORS_OF[options.model_type]
        width = factors * (self.fields + len(options.cross) if options.model_type == "ffm" else 1)
        most = max(FEWEST_BITS, int(math.log2(MEMORY / (64 + 8 * width))))
        return dataclasses.replace(options, bits=min(options.bits, most, self._enough))


def merged(default: Options, one: Options, other: Options) -> Options:
    """Return a configuration with the changes of two; where both have changed, that of `one`."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(Options):
        usual, mine, theirs = (getattr(x, field.name) for x in (default, one, other))
        if field.name == "cross":
            both = tuple(dict.fromkeys([*mine, *theirs]))
            found["cross"] = both[: max(MOST_CROSSES, len(mine))]
        else:
            found[field.name] = mine if mine != usual else theirs
    if found["model_type"] == "lr":
        found["factors"] = default.factors
    elif one.model_type != other.model_type:
        found["factors"] = (one if one.model_type != default.model_type else other).factors
    return Options(**found)


def changes(options: Options, default: Options) -> int:
    """Return how many options differ from the default; each cross counts, slots do not."""
    names = {field.name for field in dataclasses.fields(Options)} - {"bits", "cross"}
    others = sum(bool(getattr(options, name) != getattr(default, name)) for name in names)
    return others + len(options.cross)


def changed_options(options: Options, default: Options) -> str:
    """Return the options that differ from the default as they are typed; "" if none does."""
    words = []
    for field in dataclasses.fields(Options):
        value = getattr(options, field.name)
        if value == getattr(default, field.name):
            continue
        if field.name == "cross":
            words += [word for cross in value for word in ("--cross", "*".join(cross))]
        elif value is not None:
            text = f"{value:g}" if isinstance(value, float) else option_text(value)
            words += [option_name(field.name), text]
    return shlex.join(words)


def candidate_pairs(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return pairs of columns, those of the first columns first, `MOST_PAIRS` at most."""
    pairs = itertools.combinations(range(len(names)), 2)
    chosen = sorted(pairs, key=lambda pair: (sum(pair), pair))[:MOST_PAIRS]
    return tuple((names[one], names[other]) for one, other in chosen)
