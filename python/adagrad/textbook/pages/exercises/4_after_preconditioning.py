# %% [markdown]
r"""
# 4. Gershgorin after preconditioning

**The exercise.** What does [Gershgorin's theorem](3_gershgorin.py) say of the eigenvalues of the
diagonally preconditioned matrix

$$\tilde M = \operatorname{diag}(M)^{-1/2}\; M \;\operatorname{diag}(M)^{-1/2} \;?$$

**The setting.** Let $M$ be real, symmetric and positive definite, $d \times d$, such as the Hessian
of a function at a minimum where it is not singular. Its diagonal is positive, because
$M_{jj} = e_j^\top M e_j$ for the unit vector $e_j$. So $\tilde M$ is defined, and its entries are

$$\tilde M_{jk} = \frac{M_{jk}}{\sqrt{M_{jj}\, M_{kk}}} .$$

It is symmetric, and positive definite as well: $x^\top \tilde M x = y^\top M y > 0$ with
$y = \operatorname{diag}(M)^{-1/2} x \ne 0$ for $x \ne 0$. Let
$0 < \lambda_{\min} \le \dots \le \lambda_{\max}$ be its $d$ eigenvalues, and let $r$ be the largest
radius of its discs, which is 0 for $d = 1$:

$$r = \max_j \sum_{k \ne j} |\tilde M_{jk}| .$$

## What the theorem says

1. **All discs have the center 1**, because $\tilde M_{jj} = M_{jj} / M_{jj}$. They are concentric,
   so their union is the largest of them, and every eigenvalue is in $[1 - r,\ 1 + r]$. The sizes of
   the coordinates, which are the diagonal of $M$, no longer matter. What matters is how strongly
   the coordinates are *coupled*.
2. **If $r < 1$, the condition number is bounded**, whatever that of $M$ was:

   $$\kappa(\tilde M) = \frac{\lambda_{\max}}{\lambda_{\min}} \le \frac{1 + r}{1 - r} .$$

   This follows from statement 1, because $\lambda_{\min} \ge 1 - r > 0$.
3. **No off-diagonal entry reaches 1 in size.** For $j \ne k$, the unit vectors $e_j$ and $e_k$ are
   linearly independent, and $x^\top M y$ is a scalar product. By the Cauchy-Schwarz inequality,
   $M_{jk}^2 < M_{jj}\, M_{kk}$, and so $|\tilde M_{jk}| < 1$.
4. **No eigenvalue reaches $d$, if $d \ge 2$.** Each radius has $d - 1$ terms, at least one, and
   each is below 1. So $r < d - 1$, and $\lambda_{\max} \le 1 + r < d$.

Statement 4 needs $d \ge 2$. For $d = 1$, the matrix is $\tilde M = (1)$, and its only eigenvalue is
$1 = d$. There is also a proof without the discs. The sum of the eigenvalues is the trace, and the
trace of $\tilde M$ is $d$. So $\lambda_{\max}$ is $d$ less the sum of the other $d - 1$ eigenvalues.
They are positive, so their sum is positive if it has a term, that is, if $d \ge 2$. This proof also
gives the *mean* of the eigenvalues, which is 1. So $\lambda_{\min} \le 1 \le \lambda_{\max}$.

## What it does not say

- **It does not promise a small $r$.** If coordinates are so strongly coupled that $r \ge 1$, a disc
  reaches 0, and the theorem says no more of $\lambda_{\min}$ than definiteness does:
  $\lambda_{\min} > 0$.
- **It does not separate the eigenvalues.** Concentric discs form a single cluster, so the cluster
  form of the theorem adds nothing.
- **It does not compare $\tilde M$ with $M$.** Usually the condition number falls, but it can rise.

A theorem of van der Sluis limits the loss. For every diagonal matrix $S$ with positive entries,

$$\kappa(\tilde M) \le d\;\kappa(S M S) .$$

So no diagonal scaling is better than ours by more than the factor $d$, and with $S = I$, ours is
worse than none by at most this factor. *Proof.* Let $B = SMS$, with the smallest and largest
eigenvalues $\beta_{\min}$ and $\beta_{\max}$. Then $\tilde M = E B E$ with $E =
\operatorname{diag}(B)^{-1/2}$, because $S$ cancels from each entry. For every $x$,

$$
\begin{aligned}
x^\top \tilde M x &= (Ex)^\top B\, (Ex) \\
  &\ge \beta_{\min}\, \|Ex\|^2 && \text{(1)} \\
  &\ge \frac{\beta_{\min}}{\max_j B_{jj}}\, \|x\|^2 && \text{(2)} \\
  &\ge \frac{\beta_{\min}}{\beta_{\max}}\, \|x\|^2 && \text{(3)}
\end{aligned}
$$

Step 1 holds because $\beta_{\min}$ is the minimum of $y^\top B y / y^\top y$ over $y \ne 0$, step 2
because $E_{jj}^2 = 1 / B_{jj}$ and $\beta_{\min} > 0$, and step 3 because $B_{jj} = e_j^\top B e_j$ is
at most the maximum $\beta_{\max}$. Hence $\lambda_{\min} \ge 1 / \kappa(B)$. With
$\lambda_{\max} \le d$, the claim follows. ∎

If no row of $M$ has more than $q$ entries that are not 0, the factor is even $q$. By statement 3, a
radius is then at most $q - 1$, so $\lambda_{\max} \le q$, and the rest of the proof stays as it is.
"""

# %%
import math

import numpy as np

from adagrad.analysis import condition_number, gershgorin_discs, jacobi_precondition
from adagrad.plotting import gershgorin_figure
from adagrad.textbook import BOWL

# %% [markdown]
r"""
**Check.** We test the four statements on random matrices $X^\top X$, where the columns of $X$
differ in scale by up to a million, and the theorem of van der Sluis with random $S$, also for
matrices with three diagonals, which have $q = 3$.
"""

# %%
rng = np.random.default_rng(0)
bounded = 0
for _ in range(500):
    d = rng.integers(1, 8)
    X = rng.standard_normal((6 * d, d)) * 10.0 ** rng.uniform(-3, 3, size=d)
    M = X.T @ X
    scaled = jacobi_precondition(M)
    values = np.linalg.eigvalsh(scaled)
    discs = gershgorin_discs(scaled)
    r = discs.radii.max()
    kappa = condition_number(scaled)
    assert (discs.centres == 1).all()  # 1
    assert len(discs.clusters()) == 1
    assert (np.abs(values - 1) <= r + 1e-12).all()
    if r < 1:  # 2
        bounded += 1
        assert kappa <= (1 + r) / (1 - r) * (1 + 1e-12)
        assert math.isclose(discs.condition_bound, (1 + r) / (1 - r), rel_tol=1e-12)
    assert np.abs(scaled - np.eye(d)).max() < 1  # 3
    assert math.isclose(values.sum(), d, rel_tol=1e-12)
    if d >= 2:  # 4
        assert r < d - 1
        assert values[-1] < d
    else:
        assert values[-1] == d == 1
    S = np.diag(10.0 ** rng.uniform(-0.5, 0.5, d))
    assert condition_number(S @ scaled @ S) >= kappa / d * (1 - 1e-12)

    B = np.tril(np.triu(rng.standard_normal((20, 20)), 0), 1)  # two diagonals
    narrow = jacobi_precondition(B @ B.T)
    S = np.diag(10.0 ** rng.uniform(-0.5, 0.5, 20))
    assert np.linalg.eigvalsh(narrow)[-1] <= 3 + 1e-12
    assert condition_number(S @ narrow @ S) >= condition_number(narrow) / 3 * (1 - 1e-6)
print(f"r < 1, which bounds κ, in {bounded} of 500 matrices")
print(f"the last: κ = {condition_number(M):.2g} before, {kappa:.3g} after; r = {r:.2f}")

# %% [markdown]
r"""
**The picture** shows a matrix of five coordinates whose scales differ by a factor of 100. Before
the scaling, the centers are between 0.01 and 100. After it, all are 1.
"""

# %% mystnb={"image": {"alt": "Two panels. Before scaling, five discs have centers between 0.01 and 100, and some contain 0. After scaling, all discs are the same circle around 1 with radius 0.48, which contains all five eigenvalues and does not reach 0."}}
scales = np.array([0.1, 0.5, 1.0, 3.0, 10.0])
couplings = np.eye(5) + 0.12 * (np.ones((5, 5)) - np.eye(5))
M = scales[:, np.newaxis] * couplings * scales
after = gershgorin_discs(jacobi_precondition(M))
assert gershgorin_discs(M).condition_bound == math.inf
assert np.allclose(after.radii, 0.48)
print(
    f"κ = {condition_number(M):.3g} before, {condition_number(jacobi_precondition(M)):.3g} after"
)
gershgorin_figure(M)

# %% [markdown]
r"""
## Semidefinite matrices

Let $M$ be positive *semidefinite*, as $X^\top X$ always is. If $M_{jj} = 0$, then $x^\top M x = 0$
for $x = e_j$. A point where a semidefinite form is 0 is a minimum of the form, so its gradient is 0
there: $2 M e_j = 0$. Row and column $j$ are zero, the form does not depend on coordinate $j$, and
we leave it out. For the others, $\tilde M$ is defined, and the statements become weaker:

- The Cauchy-Schwarz inequality is no longer strict: $|\tilde M_{jk}| \le 1$, $r \le d - 1$ and
  $\lambda_{\max} \le d$.
- The trace is still $d$, and now no eigenvalue is negative. So $\lambda_{\max} = d$ **exactly if** all
  others are 0, which means that $\tilde M$, and with it $M$, has rank 1. A symmetric matrix of
  rank 1 with a positive diagonal is $m\, m^\top$ for some vector $m$, and then
  $\tilde M_{jk} = \operatorname{sign}(m_j m_k) = \pm 1$: all coordinates are perfectly coupled.
- Statements 1 and 2 hold as they are. If $r < 1$, then $\lambda_{\min} \ge 1 - r > 0$: the discs
  *prove* that $M$ is definite after all.

The last point does not even need a semidefinite $M$: any symmetric matrix with a positive diagonal
will do. Statements 3 and 4 do need it: the matrix with the rows $(1, 2)$ and $(2, 1)$ has the
eigenvalues $-1$ and $3$, and scaling leaves it as it is.
"""

# %%
m = np.array([3.0, -1.0, 0.5, 2.0])
coupled = jacobi_precondition(np.outer(m, m))
assert np.allclose(coupled, np.sign(np.outer(m, m)))
print("rank 1:", np.linalg.eigvalsh(coupled).round(12) + 0.0)
assert np.allclose(np.linalg.eigvalsh(coupled), [0, 0, 0, 4], atol=1e-12)

X = rng.standard_normal((2, 4))  # fewer rows than columns
singular = jacobi_precondition(X.T @ X)
print("rank 2:", np.linalg.eigvalsh(singular).round(3) + 0.0)
assert np.linalg.eigvalsh(singular)[-1] < 4
assert gershgorin_discs(singular).radii.max() >= 1

indefinite = np.array([[1.0, 2.0], [2.0, 1.0]])
assert np.allclose(jacobi_precondition(indefinite), indefinite)
assert np.allclose(np.linalg.eigvalsh(indefinite), [-1, 3])

# %% [markdown]
r"""
## Three examples

**The scaling can do harm**, but not much: the condition number of this matrix rises.
"""

# %%
M = np.array([[9.0, 8.0, 4.0], [8.0, 9.0, 4.0], [4.0, 4.0, 4.0]])
before, after = condition_number(M), condition_number(jacobi_precondition(M))
print(f"κ = {before:.3g} before, {after:.3g} after")
assert before < after <= 3 * before  # van der Sluis, S = I

# %% [markdown]
r"""
**The rotated bowl** of [exercise 2](2_rotated_objective.py) gains nothing. The coupling of its
coordinates is $1.9 / 2.1$, so $r \approx 0.905$, and the bound on $\kappa$ is 20, which $\kappa$
was before.
"""

# %%
turned = jacobi_precondition(BOWL.rotated(math.pi / 4).Q)
discs = gershgorin_discs(turned)
print(f"r = {discs.radii.max():.3f}, κ = {condition_number(turned):.3g}", end=", ")
print(f"at most {discs.condition_bound:.3g} by the discs")
assert math.isclose(discs.radii.max(), 1.9 / 2.1)
assert math.isclose(discs.condition_bound, 20, rel_tol=1e-9)

# %% [markdown]
r"""
**Sparse features** are the opposite case. Let feature $j$ be 1 in a share $p_j$ of the examples and
0 in the others. Then $(X^\top X)_{jj} / n \approx p_j$, and if the features are independent,
$(X^\top X)_{jk} / n \approx p_j p_k$. The coupling is about $\sqrt{p_j\, p_k}$: small if both are
rare. The shares themselves may differ by orders of magnitude, and this the diagonal scaling
removes. Below are 30 such features, the first in one of 50 examples and the last in one of
5,000:
"""

# %%
shares = np.geomspace(1 / 50, 1 / 5000, 30)
X = (rng.random((100_000, 30)) < shares).astype(np.float64)
scaled = jacobi_precondition(X, gram=True)
before, after = condition_number(X, gram=True), condition_number(scaled, gram=True)
discs = gershgorin_discs(scaled, gram=True)
print(
    f"κ = {before:.3g} before, {after:.3g} after, at most {discs.condition_bound:.3g} by the discs"
)
assert discs.radii.max() < 1
assert after <= discs.condition_bound < before / 5
assert after < before / 50

# %% [markdown]
r"""
## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.7, exercise 4.
- van der Sluis, "Condition numbers and equilibration of matrices", Numerische Mathematik 14 (1969),
  pages 14-23.
- Higham, *Accuracy and Stability of Numerical Algorithms*, second edition (2002), section 7.3, on
  scaling to minimize the condition number.
"""
