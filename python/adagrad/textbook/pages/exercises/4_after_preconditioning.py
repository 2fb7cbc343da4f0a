# %% [markdown]
r"""
# 4. Gershgorin after preconditioning

*What does the theorem say of the eigenvalues of* `M̃ = diag(M)^(-1/2) M diag(M)^(-1/2)`?

Let `M` be symmetric and positive definite. Then:

1. **All discs have the center 1**, because `M̃_jj = M_jj / √(M_jj M_jj)`. Let `r` be the
   largest radius; then every eigenvalue is in `[1 - r, 1 + r]`. The spread of eigenvalues that
   came from bad scaling of the coordinates is gone. The spread that remains comes from the
   off-diagonal entries, the *correlations* of the coordinates.
2. **If r < 1, the condition number is at most (1 + r) / (1 - r)**, whatever it was before. This
   follows from the first statement.
3. **All off-diagonal entries are less than 1 in size**, because `M_jk² < M_jj M_kk` by the
   Cauchy-Schwarz inequality for the scalar product `x·My`. So `r < d - 1`, and every eigenvalue
   is less than `d`. Their sum, the trace, *is* `d`, so their mean is 1.
4. **A small r is not guaranteed.** If coordinates are strongly correlated, the discs reach 0, and
   the theorem says nothing about the smallest eigenvalue.
"""

# %%
import math

import numpy as np

from adagrad.analysis import condition_number, gershgorin_discs, jacobi_precondition
from adagrad.plotting import gershgorin_figure
from adagrad.textbook import BOWL

# %% [markdown]
r"""
**Check.** We test the first three statements on random matrices `XᵀX`, where the columns of
`X` differ in scale by up to a million.
"""

# %%
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
print(f"r < 1, which bounds κ, in {bounded} of 500")
print(
    f"the last of them: κ = {condition_number(M):.2g} before, {condition_number(scaled):.3g} after"
)

# %% [markdown]
r"""
The picture shows centers between 0.01 and 100 before scaling, and all at 1 after.
"""

# %%
scales = np.array([0.1, 0.5, 1.0, 3.0, 10.0])
correlations = np.eye(5) + 0.12 * (np.ones((5, 5)) - np.eye(5))
gershgorin_figure(scales[:, None] * correlations * scales)

# %% [markdown]
r"""
**The rotated bowl** of [exercise 2](2_rotated_objective.py) gains nothing. Its correlation is
`1.9 / 2.1`, so `r = 0.905`, and the bound on κ is 20, which κ was before.
"""

# %%
turned = jacobi_precondition(BOWL.rotated(math.pi / 4).Q)
discs = gershgorin_discs(turned)
print(f"r = {discs.radii.max():.3f}, κ = {condition_number(turned):.3g}", end=", ")
print(f"at most {discs.condition_bound:.3g} by the discs")
assert math.isclose(discs.condition_bound, 20, rel_tol=1e-9)

# %% [markdown]
r"""
**Sparse features** are the opposite case. Features that seldom occur together have small
correlations, but their frequencies, which are the diagonal, differ by orders of magnitude.
Diagonal scaling cures just this. The next matrix has 100 features that occur independently of
each other, the first in one of 10 examples and the last in one of 1,000:
"""

# %%
chance = np.geomspace(1e-1, 1e-3, 100)
X = (rng.random((10_000, 100)) < chance).astype(np.float64)
before = condition_number(X, gram=True)
after = condition_number(jacobi_precondition(X, gram=True), gram=True)
print(f"κ = {before:.3g} before, {after:.3g} after")
assert after < before / 10

# %% [markdown]
r"""
## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.7, exercise 4.
- van der Sluis, "Condition numbers and equilibration of matrices", Numerische Mathematik 14
  (1969).
"""
