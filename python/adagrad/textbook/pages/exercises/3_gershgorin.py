# %% [markdown]
r"""
# 3. Gershgorin's theorem

*Prove that every eigenvalue λ of a matrix M lies in one of the discs* `|λ - M_jj| ≤ r_j`, *where*
`r_j` *is the sum of* `|M_jk|` *over all* `k ≠ j`.

**Proof.** Let `Mv = λv` with `v ≠ 0`, and let `j` be the index of the largest entry of `v`.
Then `|v_k| ≤ |v_j|` for all `k`, and `v_j ≠ 0`. Row `j` of `Mv = λv` says

`(λ - M_jj) v_j = sum over k ≠ j of M_jk v_k`.

Divide by `v_j`, take absolute values, and use the triangle inequality and `|v_k / v_j| ≤ 1`:

`|λ - M_jj| ≤ sum over k ≠ j of |M_jk| |v_k / v_j| ≤ r_j`. ∎

The proof says more than the theorem: it names the disc, that of the largest entry of the
eigenvector. It does not need symmetry. Eigenvalues may be complex, which is why there are discs
instead of intervals.
"""

# %%
import numpy as np

from adagrad.analysis import condition_number, gershgorin_discs
from adagrad.plotting import gershgorin_figure

# %% [markdown]
r"""
**Check.** In 2,000 random matrices of sizes up to 9, not symmetric, every eigenvalue is in the
disc that the proof names. The slack allows for rounding of the eigenvalues.
"""

# %%
rng = np.random.default_rng(0)
found = complex_ones = 0
for _ in range(2000):
    d = rng.integers(1, 10)
    M = rng.standard_normal((d, d)) * 10.0 ** rng.uniform(-1, 1, size=(d, 1))
    discs = gershgorin_discs(M)
    values, vectors = np.linalg.eig(M)
    slack = 1e-12 * np.linalg.norm(M)
    assert discs.contain(values, slack).all()
    j = np.abs(vectors).argmax(axis=0)
    assert (np.abs(values - discs.centres[j]) <= discs.radii[j] + slack).all()
    found += d
    complex_ones += np.count_nonzero(values.imag)
print(f"{found} eigenvalues, {complex_ones} of them not real, all in their discs")

# %% [markdown]
r"""
**What it is good for.** The discs take `d²` operations, where eigenvalues take `d³`. They
bound all eigenvalues of a symmetric matrix. If all discs are to the right of 0, they also bound
its condition number. The matrix `Q` below is positive definite.
"""

# %%
Q = np.array([[4.0, 1.0, 0.3], [1.0, 10.0, 0.6], [0.3, 0.6, 2.0]])
discs = gershgorin_discs(Q)
values = np.linalg.eigvalsh(Q)
print("eigenvalues", values.round(3), f"from {discs.lower:.3g} to {discs.upper:.3g} by the discs")
print(f"κ = {condition_number(Q):.3g}, at most {discs.condition_bound:.3g} by the discs")
assert discs.lower <= values[0]
assert values[-1] <= discs.upper
assert condition_number(Q) <= discs.condition_bound

# %% [markdown]
r"""
The left of the picture shows the discs of `Q`. The right shows them after diagonal scaling,
which is the subject of the [next exercise](4_after_preconditioning.py).
"""

# %%
gershgorin_figure(Q)

# %% [markdown]
r"""
**What it does not say** is which eigenvalue is in which disc. A disc may be empty:
"""

# %%
M = np.array([[0.0, 4.0], [-1.0, 0.0]])
discs, values = gershgorin_discs(M), np.linalg.eigvals(M)
print("eigenvalues", values, "radii", discs.radii)
assert (np.abs(values - discs.centres[1]) > discs.radii[1]).all()

# %% [markdown]
r"""
Both eigenvalues, ±2i, are in the disc of radius 4, and neither is in the disc of radius 1.

## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.7, exercise 3.
- Gershgorin, "Über die Abgrenzung der Eigenwerte einer Matrix", Izv. Akad. Nauk SSSR 6 (1931).
- Horn and Johnson, *Matrix Analysis*, 2nd edition (2013), chapter 6.
"""
