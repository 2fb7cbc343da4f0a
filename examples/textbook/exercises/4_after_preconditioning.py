"""
4. Gershgorin after preconditioning
===================================

*What does the theorem say of the eigenvalues of* ``M̃ = diag(M)^(-1/2) M diag(M)^(-1/2)``?

Let ``M`` be symmetric and positive definite. Then:

1. **All discs have the centre 1**, as ``M̃_jj = M_jj / √(M_jj M_jj)``. So with ``r`` the largest of
   the radii, every eigenvalue is in ``[1 - r, 1 + r]``. Eigenvalues of different size, which a bad
   scale of the coordinates makes, are gone: what spread is left is due to the entries beside the
   diagonal, the *correlations* of the coordinates.
2. **If r < 1, the condition number is at most (1 + r) / (1 - r)**, whatever it was before.
3. **All entries beside the diagonal are less than 1**, by Cauchy and Schwarz for the scalar product
   ``x·My``: ``M_jk² < M_jj M_kk``. So ``r < d - 1``, and no eigenvalue reaches ``d``; their sum,
   the trace, *is* ``d``, and so their mean is 1.
4. **A small r is not granted.** Where coordinates are strongly correlated the discs reach 0, and
   the theorem says nothing of the smallest eigenvalue.

The first three are proved where they stand.
"""

import math

import numpy as np

from adagrad.analysis import condition_number, gershgorin_discs, jacobi_precondition
from adagrad.plotting import gershgorin_figure
from adagrad.textbook import BOWL

# %%
# **Check** on random matrices ``XᵀX`` whose columns differ in scale by up to a million.

rng = np.random.default_rng(0)
bounded = 0
for _ in range(500):
    d = rng.integers(2, 8)
    X = rng.standard_normal((6 * d, d)) * 10.0 ** rng.uniform(-3, 3, size=d)
    M = X.T @ X
    scaled = jacobi_precondition(M)
    values = np.linalg.eigvalsh(scaled)
    discs = gershgorin_discs(scaled)
    r = discs.radii.max()
    assert (discs.centres == 1).all()  # 1
    assert (np.abs(values - 1) <= r + 1e-12).all()
    if r < 1:  # 2
        bounded += 1
        assert condition_number(scaled) <= (1 + r) / (1 - r) * (1 + 1e-12)
        assert math.isclose(discs.condition_bound, (1 + r) / (1 - r), rel_tol=1e-12)
    assert np.abs(scaled - np.eye(d)).max() < 1  # 3
    assert values[-1] < d
    assert math.isclose(values.sum(), d, rel_tol=1e-12)
print(f"r < 1, and so a bound on κ, in {bounded} of 500")
print(
    f"the last of them: κ = {condition_number(M):.2g} before, {condition_number(scaled):.3g} after"
)

# %%
# The same in a picture: centres between 0.01 and 100 before, all 1 after.

scales = np.array([0.1, 0.5, 1.0, 3.0, 10.0])
correlations = np.eye(5) + 0.12 * (np.ones((5, 5)) - np.eye(5))
figure = gershgorin_figure(scales[:, None] * correlations * scales)
figure.savefig("discs-after-preconditioning.png", dpi=120)

# %%
# **The rotated bowl** of :doc:`exercise 2 <2_rotated_objective>` is where it fails: correlation
# ``1.9 / 2.1``, so ``r = 0.905``, and the bound on κ is the κ that there was, 20.

turned = jacobi_precondition(BOWL.rotated(math.pi / 4).Q)
discs = gershgorin_discs(turned)
print(f"r = {discs.radii.max():.3f}, κ = {condition_number(turned):.3g}", end=", ")
print(f"at most {discs.condition_bound:.3g} by the discs")
assert math.isclose(discs.condition_bound, 20, rel_tol=1e-9)

# %%
# **Sparse features** are the other end. Features that seldom occur together have small
# correlations, though their frequencies, the diagonal, differ by orders of magnitude: just what
# diagonal scaling cures. 100 features that occur independently of each other, the first in one of
# 10 examples, the last in one of 1,000:

chance = np.geomspace(1e-1, 1e-3, 100)
X = (rng.random((10_000, 100)) < chance).astype(np.float64)
before = condition_number(X, gram=True)
after = condition_number(jacobi_precondition(X, gram=True), gram=True)
print(f"κ = {before:.3g} before, {after:.3g} after")
assert after < before / 10

# %%
# References
# ----------
# - Zhang et al., *Dive into Deep Learning*, section 12.7.7, exercise 4.
# - van der Sluis, "Condition numbers and equilibration of matrices", Numerische Mathematik 14
#   (1969).
