"""The experiments of the textbook chapter on AdaGrad, as functions.

The chapter is section 12.7, "Adagrad", of *Dive into Deep Learning* (Zhang et al.). This module has
the quadratic of its figures, the airfoil regression from scratch and with an optimizer, and three
learning-rate schedules on features of different frequency (section 12.7.1).
`adagrad.plotting` draws the results.

The pages that explain them are programs in the folder ``pages``.
"""

from adagrad.textbook.experiments import (
    BOWL,
    BOWL_START,
    Regression,
    airfoil_from_scratch,
    airfoil_with_optimizer,
    airfoil_with_program,
    batches,
    standardized_airfoil,
)
from adagrad.textbook.playground import Playground, playground
from adagrad.textbook.schedules import CLOCKS, RATES, RareFeatures, rare_features

__all__ = [
    "BOWL",
    "BOWL_START",
    "CLOCKS",
    "RATES",
    "Playground",
    "RareFeatures",
    "Regression",
    "airfoil_from_scratch",
    "airfoil_with_optimizer",
    "airfoil_with_program",
    "batches",
    "playground",
    "rare_features",
    "standardized_airfoil",
]
