"""The pairs of a factorization machine beside a mixture: how the margins of both are combined.

`model` holds one. The arithmetic is in ``cpp/ctr/pair_mixing.cpp``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad.ctr.learners.mixture import check_ranges
from adagrad.rule import Rule

__all__ = ["MIXTURE_ALONE", "PAIR_RULE", "Exported", "PairMixing"]

Floats = npt.NDArray[np.float32]

PAIR_RULE = Rule(lr=0.1, eps=1e-4)
"""The rule of the factors beside a mixture. Gradients of normalized pairs are about 1e-3, so that
accumulators that begin at 1, as those of the weights, would leave the factors where they are."""

_STATE = np.dtype(  # PairMixingState of cpp/ctr/models.hpp
    [
        ("theta", "f8", 3),
        ("covariance", "f8", (3, 3)),
        ("evidence", "f8", 2),
        ("losses", "f8", 2),
        ("weight", "f8"),
        ("largest_weight", "f8"),
    ]
)

# Where `exported` finds its numbers: a view of fields would take longer than a prediction.
_THETA, _EVIDENCE = slice(0, 3), slice(12, 14)


class Exported(NamedTuple):
    """What predicts: ``slope * linear + offset + scale * pairs``."""

    slope: float
    offset: float
    scale: np.float32


MIXTURE_ALONE = Exported(1.0, 0.0, np.float32(0))


class PairMixing:
    """The weights of a linear margin and of the pairs, and what tells which of both to believe.

    Parameters
    ----------
    intercept : bool
        Whether the sum of both may be shifted.
    half_life : float, optional
        Number of examples, at least 64, in which evidence loses half its weight. None for never.

    Attributes
    ----------
    state : ndarray, shape [18]
        The weights, their covariance and the losses.
    """

    def __init__(self, intercept: bool, half_life: float | None = None) -> None:
        self.intercept, self.half_life = intercept, half_life
        self.state = np.zeros(_STATE.itemsize // 8)
        start = self._fields
        start["theta"][:2] = start["largest_weight"] = 1.0
        np.fill_diagonal(start["covariance"], [0.03, 0.3, 0.01])

    @property
    def _fields(self) -> Any:
        return self.state.view(_STATE)[0]

    def mix(
        self,
        linear: Floats,
        guarded: Floats,
        pairs: Floats,
        y: Floats,
        weights: Floats | None,
        *,
        learns: bool,
    ) -> Floats:
        """Mix the margins of n examples, each before learning from it.

        Parameters
        ----------
        linear, guarded : ndarray of float32, shape [n]
            The margins of the mixture, without its guard and with it.
        pairs : ndarray of float32, shape [n]
            The margins of the pairs alone.
        y, weights
            As for `Model.learn`.
        learns : bool
            Whether to learn from the labels. They must be new.

        Returns
        -------
        ndarray of float32, shape [n]
            Their total loss exceeds that of `guarded` by at most log 2 nats, times the largest
            weight if that is above 1.
        """
        with_labels = self.intercept, y, weights, self.half_life or 0.0, learns
        return _core.mix_pairs(self.state, linear, guarded, pairs, *with_labels)

    def exported(self) -> Exported:
        """Return what predicts new examples: the linear part alone if that was better so far."""
        of_linear, of_both = self.state[_EVIDENCE].tolist()
        if of_both < of_linear:
            slope, scale, offset = self.state[_THETA].tolist()
            return Exported(slope, offset, np.float32(scale))
        return MIXTURE_ALONE

    def expert(self) -> dict[str, Any]:
        """Return the pairs in the form of `Mixture.experts`.

        ``weight`` is 0 while the linear part alone predicts better, because the model leaves the
        pairs out then. ``logloss`` is that of the linear part and the pairs together, and ``share``
        that of both together, against the linear part alone.
        """
        state, rule = self._fields, PAIR_RULE
        loss = state["losses"][1] / state["weight"] if state["weight"] else np.nan
        behind = float((state["evidence"][1] - state["evidence"][0]) / state["largest_weight"])
        return {
            "name": "pairs",
            "rate": rule.lr,
            "start": rule.eps,
            "power": rule.power,
            "weight": float(self.exported().scale),
            "logloss": float(loss),
            "share": float(1 / (1 + np.exp(np.clip(behind, -700.0, 700.0)))),
        }

    @staticmethod
    def tensor_shapes() -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the dtype and the shape of `state`, as `Model.tensors` names it."""
        return {"mixing.pairs": ("float64", (_STATE.itemsize // 8,))}

    def check_tensors(self) -> None:
        """Raise a ValueError if what was written into `state` is not the state of a mixing."""
        check_ranges(self._fields, "the mixing of its pairs")

    def copy(self) -> PairMixing:
        """Return an independent one with the same bits."""
        other = PairMixing(self.intercept, self.half_life)
        other.state[:] = self.state
        return other

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.state = np.array(self.state, subok=False)  # joblib may have mapped it
