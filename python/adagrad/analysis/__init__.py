"""Conditioning, preconditioning and descents: the theory of the textbook chapter on AdaGrad.

The chapter is "Adagrad" in *Dive into Deep Learning* (Zhang et al., section 12.7). Everything here
runs on the caller's own matrices and data.
"""

from adagrad.analysis.descents import SGD, Adadelta, Momentum, RMSProp, trace
from adagrad.analysis.discs import GershgorinDiscs, gershgorin_discs
from adagrad.analysis.gradients import GradientScales, PowerLaw, gradient_scales, power_law
from adagrad.analysis.quadratics import Quadratic, jacobi_precondition
from adagrad.analysis.spectrum import condition_number

__all__ = [
    "SGD",
    "Adadelta",
    "GershgorinDiscs",
    "GradientScales",
    "Momentum",
    "PowerLaw",
    "Quadratic",
    "RMSProp",
    "condition_number",
    "gershgorin_discs",
    "gradient_scales",
    "jacobi_precondition",
    "power_law",
    "trace",
]
