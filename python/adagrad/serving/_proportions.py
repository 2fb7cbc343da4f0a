"""In which proportions an export mixes the experts of a model that chose its rate itself."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adagrad.serving._description import description_of
from adagrad.tables.tensors import TableFileError

if TYPE_CHECKING:
    from adagrad.ctr.learners.model import Model

__all__ = ["Proportions"]

StrPath = str | os.PathLike[str]


class Proportions(NamedTuple):
    """What turns the weights of the experts of a slot into its weight; all None without experts.

    Attributes
    ----------
    experts : list of float, or None
        `Mixture.proportions`.
    slope : float
        The factor of the linear part beside pairs.
    """

    experts: list[float] | None
    slope: float

    @classmethod
    def of(cls, model: Model) -> Proportions:
        """Return those of a model."""
        if model.mixture is None:
            return cls(None, 1.0)
        return cls(model.mixture.proportions.tolist(), float(model._exported.slope))

    @classmethod
    def of_export(cls, path: StrPath) -> Proportions:
        """Return those in an export.

        Raises
        ------
        adagrad.TableFileError
            The file is not an export, or is damaged.
        OSError
            It cannot be read.
        """
        try:
            found = description_of(path)["proportions"]
            if found is None:
                return cls(None, 1.0)
            experts, slope = found["experts"], found["slope"]
            numbers = [float(x) for x in (*experts, slope)]
        except TableFileError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise TableFileError(
                f"{path} does not say in which proportions it mixes experts"
            ) from error
        if len(experts) != 8 or not all(map(math.isfinite, numbers)):
            raise TableFileError(f"{path} is corrupted: its proportions of experts")
        return cls(numbers[:-1], numbers[-1])

    def as_json(self) -> dict[str, Any] | None:
        """Return what an export holds."""
        return None if self.experts is None else self._asdict()

    def linear(self, model: Model) -> tuple[npt.NDArray[np.float32], float]:
        """Return the weights of all slots of a model, and its bias, mixed in these proportions.

        Raises
        ------
        ValueError
            The model has experts and these proportions are of none, or the other way round.
        """
        if (model.mixture is None) != (self.experts is None):
            raise ValueError(
                "only one of the model and the earlier export mixes experts: they are not of one"
                " model"
            )
        if model.mixture is None:
            return model.linear()
        return model.mixture.linear(
            self.slope, model._exported.offset, proportions=np.array(self.experts)
        )
