# %% [markdown]
r"""
# Preconditioning

Near a minimum, every smooth function is approximately quadratic, `f(x) = x·Qx / 2 + c·x + b`,
with a symmetric matrix `Q` of second derivatives. Write `Q = U Λ Uᵀ`, with orthonormal
eigenvectors in the columns of `U` and eigenvalues on the diagonal of `Λ`. In the coordinates
`z = Uᵀx`, the function is a sum of independent parabolas, one for each eigenvalue.

Gradient descent with a single rate must be slow enough for the steepest parabola, `lr < 2 /
λ_max`, and therefore crawls along the flattest. With the best rate, `2 / (λ_max + λ_min)`, each
step shrinks the distance to the minimum by the factor `(κ - 1) / (κ + 1)`, where `κ = λ_max /
λ_min` is the **condition number**. For large κ, the number of steps is proportional to κ.
"""

# %%
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
    """Return how many steps of the best rate bring x closer to the minimum by this factor."""
    f = Quadratic(Q)
    rule = SGD(2 / (f.eigenvalues[0] + f.eigenvalues[-1]))
    # The worst start has equal shares of the steepest and of the flattest direction.
    path = trace(rule, f, f.eigenvectors[:, 0] + f.eigenvectors[:, -1], 10_000)
    distance = np.linalg.norm(path, axis=1)
    return int(np.argmax(distance <= accuracy * distance[0]))


for kappa in (2.0, 20.0, 200.0):
    print(f"κ = {kappa:g}: {steps_needed(np.diag([1.0, kappa]))} steps")

# %% [markdown]
r"""
**The cure** is to change the coordinates. In `z`, dividing the gradient by the eigenvalues
makes κ equal to 1, and one step is enough. But finding the eigenvectors takes `d³` operations,
more than the problem itself. *Jacobi's preconditioner* uses only the diagonal of `Q`, and makes
it 1:

`Q̃ = diag(Q)^(-1/2) Q diag(Q)^(-1/2)`, or entry by entry `Q̃_ij = Q_ij / √(Q_ii Q_jj)`.

It undoes any bad scaling of the coordinates. The following matrix is ill-conditioned only because
of its scales.
"""

# %%
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

# %% [markdown]
r"""
The discs are those of [Gershgorin's theorem](../exercises/3_gershgorin.py). Scaling
moves all of their centers to 1, and so away from 0.
"""

# %%
gershgorin_figure(Q)

# %% [markdown]
r"""
**For data** `X` with one example per row, least squares has `Q = XᵀX`. With `gram=True`,
the functions take `X` itself, dense or sparse, without forming the product. The airfoil data
mix columns in Hz and in meters:
"""

# %%
X, _ = airfoil()
raw = condition_number(X, gram=True)
scaled_data = condition_number(jacobi_precondition(X, gram=True), gram=True)
print(f"airfoil: κ = {raw:.2g} as measured, {scaled_data:.2g} after diagonal scaling")
assert scaled_data < 1e-9 * raw

# %% [markdown]
r"""
**AdaGrad does this without ever seeing Q.** The size of a gradient reflects the curvature along
its coordinate: in `z`, `g_i = λ_i (z_i - z_i*)`. If all coordinates have similar distances to
go, the root of the sum of squared gradients grows like `λ_i`. Dividing by this root
preconditions the problem, and also makes the rate fall with time. It does not help if the
landscape is not aligned with the axes, as [2. The rotated objective](../exercises/2_rotated_objective.py) shows.

## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.2.
- van der Sluis, "Condition numbers and equilibration of matrices", Numerische Mathematik 14
  (1969), which shows that no diagonal scaling is more than `d` times better than this one.
- Nesterov, *Lectures on Convex Optimization*, 2nd edition (2018), section 2.1, which derives the
  factor `(κ - 1) / (κ + 1)`.
"""
