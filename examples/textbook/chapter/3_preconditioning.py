"""
Preconditioning
===============

Near a minimum every smooth function is a quadratic one, ``f(x) = x·Qx / 2 + c·x + b``, with a
symmetric matrix ``Q`` of second derivatives. ``Q = U Λ Uᵀ``, with orthonormal eigenvectors in the
columns of ``U`` and eigenvalues on the diagonal of ``Λ``; in the coordinates ``z = Uᵀx`` the
function is a sum of parabolas that know nothing of each other, one for each eigenvalue.

Gradient descent with one rate has to be slow enough for the steepest of them, ``lr < 2 / λ_max``,
and then crawls along the flattest. With the best rate, ``2 / (λ_max + λ_min)``, the distance to the
minimum shrinks in each step by the factor ``(κ - 1) / (κ + 1)``, where ``κ = λ_max / λ_min`` is the
**condition number**. So the number of steps is proportional to κ.
"""

import numpy as np

from adagrad.analysis import (
    SGD,
    Quadratic,
    condition_number,
    gershgorin_discs,
    jacobi_precondition,
    trace,
)
from adagrad.datasets import airfoil
from adagrad.plotting import gershgorin_figure


def steps_needed(Q: np.ndarray, accuracy: float = 1e-6) -> int:
    """Return after how many steps of the best rate x is that much closer to the minimum."""
    f = Quadratic(Q)
    rule = SGD(2 / (f.eigenvalues[0] + f.eigenvalues[-1]))
    # The start that is worst: equal shares of the steepest and of the flattest direction.
    path = trace(rule, f, f.eigenvectors[:, 0] + f.eigenvectors[:, -1], 10_000)
    distance = np.linalg.norm(path, axis=1)
    return int(np.argmax(distance <= accuracy * distance[0]))


for kappa in (2.0, 20.0, 200.0):
    print(f"κ = {kappa:g}: {steps_needed(np.diag([1.0, kappa]))} steps")

# %%
# **The cure** is to change the coordinates. Divide ``Q`` by its eigenvalues, and κ is 1 and one
# step is enough; but to know the eigenvectors costs ``d³``, more than the problem itself. *Jacobi's
# preconditioner* takes the diagonal only, and makes it 1:
#
# ``Q̃ = diag(Q)^(-1/2) Q diag(Q)^(-1/2)``, entry by entry ``Q̃_ij = Q_ij / √(Q_ii Q_jj)``.
#
# It undoes any bad scale of the coordinates. Below, a matrix that is harmless but for its scales.

rng = np.random.default_rng(3)
half = rng.uniform(-0.15, 0.15, size=(6, 6))
scales = 10.0 ** np.linspace(-0.5, 0.5, 6)
Q = scales[:, None] * (np.eye(6) + (half + half.T) / 2) * scales
scaled = jacobi_precondition(Q)
assert (np.diag(scaled) == 1).all()
for name, matrix in (("Q", Q), ("Q̃", scaled)):
    discs = gershgorin_discs(matrix)
    print(
        f"{name}: κ = {condition_number(matrix):.3g}, {steps_needed(matrix)} steps,"
        f" κ is at most {discs.condition_bound:.3g} by Gershgorin's discs"
    )

# %%
# The discs are those of :doc:`Gershgorin's theorem </textbook/exercises/3_gershgorin>`. Scaling
# brings all of their centres to 1, and so away from 0.

figure = gershgorin_figure(Q)
figure.savefig("discs-before-and-after-scaling.png", dpi=120)

# %%
# **Data** ``X`` with examples in its rows has ``Q = XᵀX`` in least squares. The functions take it
# without forming that product (``gram=True``), sparse matrices too. The airfoil data measure Hz
# beside metres:

X, _ = airfoil()
raw = condition_number(X, gram=True)
scaled_data = condition_number(jacobi_precondition(X, gram=True), gram=True)
print(f"airfoil: κ = {raw:.2g} as measured, {scaled_data:.2g} after diagonal scaling")
assert scaled_data < 1e-9 * raw

# %%
# **AdaGrad does this without ever seeing Q.** The gradient of coordinate ``i`` is about as large as
# the curvature there: in ``z``, ``g_i = λ_i (z_i - z_i*)``, so if all coordinates have similar
# distances to go, the root of the sum of squared gradients grows like ``λ_i``. Dividing by it
# preconditions, and gives a rate that falls with time on top. What it cannot see is a landscape
# that is not aligned with its axes: :doc:`/textbook/exercises/2_rotated_objective`.
#
# References
# ----------
# - Zhang et al., *Dive into Deep Learning*, section 12.7.2.
# - van der Sluis, "Condition numbers and equilibration of matrices", Numerische Mathematik 14
#   (1969): no diagonal scaling is more than ``d`` times better than this one.
# - Nesterov, *Lectures on Convex Optimization*, 2nd edition (2018), section 2.1: the rate ``(κ - 1)
#   / (κ + 1)``.
