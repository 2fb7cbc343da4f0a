# %% [markdown]
r"""
# 3. Gershgorin's theorem

**The exercise.** Let $M$ be a $d \times d$ matrix, real or complex. Row $j$ gives a *center*
$M_{jj}$ and a *radius*

$$r_j = \sum_{k \ne j} |M_{jk}| ,$$

and with them the disc $D_j$ of all complex $z$ with $|z - M_{jj}| \le r_j$. Show that every
eigenvalue $\lambda$ of $M$ lies in at least one of the discs.

## The proof

Let $M v = \lambda v$ with $v \ne 0$. Choose $j$ such that $|v_j|$ is the largest of all $|v_k|$.
Then $v_j \ne 0$, because otherwise all entries of $v$ would be $0$. Row $j$ of $Mv = \lambda v$ is
$\sum_k M_{jk} v_k = \lambda v_j$. Move the term $k = j$ to the right:

$$\sum_{k \ne j} M_{jk} v_k = (\lambda - M_{jj})\, v_j .$$

Divide by $v_j$ and take absolute values:

$$
\begin{aligned}
|\lambda - M_{jj}|
  &= \Bigl| \sum_{k \ne j} M_{jk} \frac{v_k}{v_j} \Bigr| \\
  &\le \sum_{k \ne j} |M_{jk}| \left| \frac{v_k}{v_j} \right| && \text{(1)} \\
  &\le \sum_{k \ne j} |M_{jk}| = r_j && \text{(2)}
\end{aligned}
$$

Step 1 is the triangle inequality, and step 2 holds because $|v_k| \le |v_j|$ by the choice of
$j$. ∎

The proof names the disc: it is that of the largest entry of the eigenvector. It uses absolute
values of numbers only, so it holds for complex matrices as it does for real ones. The eigenvalues
of a real matrix may be complex too, which is why there are discs instead of intervals. Those of a
real symmetric matrix are real, and the discs become the intervals $[M_{jj} - r_j,\ M_{jj} + r_j]$.

**Columns.** $M$ and $M^\top$ have the same eigenvalues, because
$\det(M^\top - \lambda I) = \det(M - \lambda I)$. The theorem for $M^\top$ says that every
eigenvalue of $M$ also lies in a disc whose radius is the sum over the *column*:
$\sum_{k \ne j} |M_{kj}|$. It lies in the union of the row discs *and* in the union of the column
discs.
"""

# %% [markdown]
r"""
**Check.** In 2,000 random matrices of up to nine rows, half of them complex, every eigenvalue lies
in the disc that the proof names, and in a column disc. The slack allows for rounding.
"""

# %%
import numpy as np

from adagrad.analysis import condition_number, gershgorin_discs
from adagrad.plotting import gershgorin_figure, growing_discs_figure

rng = np.random.default_rng(0)
found = not_real = 0
for trial in range(2000):
    d = rng.integers(1, 10)
    M = rng.standard_normal((d, d)) * 10.0 ** rng.uniform(-1, 1, size=(d, 1))
    if trial % 2:
        M = M + 1j * rng.standard_normal((d, d))
    size = np.abs(M - np.diag(np.diag(M)))
    rows, columns = size.sum(axis=1), size.sum(axis=0)
    values, vectors = np.linalg.eig(M)
    slack = 1e-12 * np.linalg.norm(M)
    j = np.abs(vectors).argmax(axis=0)  # one for each eigenvalue
    assert (np.abs(values - np.diag(M)[j]) <= rows[j] + slack).all()
    distances = np.abs(values[:, np.newaxis] - np.diag(M))
    assert (distances <= columns + slack).any(axis=1).all()
    if not np.iscomplexobj(M):
        discs = gershgorin_discs(M)
        assert np.allclose(discs.radii, rows)
        assert discs.contain(values, slack).all()
    found += d
    not_real += np.count_nonzero(values.imag)
print(f"{found} eigenvalues, {not_real} of them not real, all in their discs")

# %% [markdown]
r"""
## What it is good for

The discs take about $d^2$ operations, where eigenvalues take a multiple of $d^3$. For a symmetric matrix they
bound the smallest eigenvalue from below and the largest from above. If all discs are to the right
of $0$, the ratio of the bounds is a bound of the condition number $\kappa$. The matrix $Q$ below is
such a case.
"""

# %%
Q = np.array([[4.0, 1.0, 0.3], [1.0, 10.0, 0.6], [0.3, 0.6, 2.0]])
discs = gershgorin_discs(Q)
values = np.linalg.eigvalsh(Q)
print(
    "eigenvalues",
    values.round(3),
    f"from {discs.lower:.3g} to {discs.upper:.3g} by the discs",
)
print(
    f"κ = {condition_number(Q):.3g}, at most {discs.condition_bound:.3g} by the discs"
)
assert discs.lower <= values[0]
assert values[-1] <= discs.upper
assert condition_number(Q) <= discs.condition_bound

# %% [markdown]
r"""
The picture shows the discs of $Q$, and those after diagonal scaling, which is the subject of the
[next exercise](4_after_preconditioning.py).
"""

# %% mystnb={"image": {"alt": "Two panels with discs centered on the real axis. Before scaling, three discs lie at 2, 4 and 10, each with an eigenvalue near its center. After scaling, all three discs are centered at 1 and do not reach 0."}}
gershgorin_figure(Q)

# %% [markdown]
r"""
## How many eigenvalues are where

The theorem does not say that *each* disc has an eigenvalue. A disc may be empty:
"""

# %%
M = np.array([[0.0, 4.0], [-1.0, 0.0]])
discs, values = gershgorin_discs(M), np.linalg.eigvals(M)
print("eigenvalues", values, "radii", discs.radii)
assert np.allclose(np.sort_complex(values), [-2j, 2j])
assert (np.abs(values - discs.centres[1]) > discs.radii[1]).all()

# %% [markdown]
r"""
Both eigenvalues, $\pm 2i$, are in the disc of radius 4, and neither is in the disc of radius 1. But
the two discs overlap, and together they have two eigenvalues. This is the rule.

**The cluster form.** Suppose that $k$ of the discs are disjoint from the other $d - k$ discs. Then
the union $A$ of the $k$ discs contains exactly $k$ eigenvalues, and the union $B$ of the others
contains the other $d - k$. Eigenvalues count with their multiplicity as roots of the characteristic
polynomial.

**The idea of the proof** is to let the matrix grow out of its diagonal. Let $D$ be the diagonal of
$M$, and let

$$M(t) = D + t\,(M - D), \qquad 0 \le t \le 1 .$$

The discs of $M(t)$ have the centers of those of $M$ and $t$ times their radii. They grow from
points to the discs of $M$. The eigenvalues start at the centers, move continuously, and cannot jump
over the gap between $A$ and $B$.

**The proof.** Let $n(t)$ be the number of eigenvalues of $M(t)$ in $A$.

*At the start, $n(0) = k$.* The eigenvalues of $M(0) = D$ are its diagonal entries. Of these, $k$
are centers of discs in $A$. The others are in $B$, which has no point in common with $A$.

*All eigenvalues are in $A$ or $B$, for every $t$.* By the theorem, they are in the discs of $M(t)$,
and each of these is a part of the disc of $M$ with the same center. So $d - n(t)$ eigenvalues are
in $B$.

*No eigenvalue changes sides.* We show that $n$ is constant near every $t$. Suppose it is not. Then
there are $t_1, t_2, \dots$ with $t_i \to t$ and $n(t_i) \ne n(t)$. There are finitely many values
from $0$ to $d$, so some value $m \ne n(t)$ occurs infinitely often. Keep only those $t_i$ with
$n(t_i) = m$. List the eigenvalues of each $M(t_i)$ such that the first $m$ are in $A$ and the
others in $B$:

$$\lambda_1(t_i),\ \dots,\ \lambda_d(t_i) .$$

All of them are in the bounded set $A \cup B$. So the lists have a convergent subsequence (Bolzano
and Weierstrass); let $\mu_1, \dots, \mu_d$ be its limit. The sets $A$ and $B$ are finite unions of
closed discs, hence closed, so $\mu_1, \dots, \mu_m$ are in $A$ and the others in $B$. For every
complex $z$, along the subsequence,

$$
\begin{aligned}
&\prod_{l=1}^{d} (z - \mu_l) \\
&\quad = \lim_{i \to \infty} \prod_{l=1}^{d} \bigl(z - \lambda_l(t_i)\bigr) && \text{(1)} \\
&\quad = \lim_{i \to \infty} \det\bigl(zI - M(t_i)\bigr) && \text{(2)} \\
&\quad = \det\bigl(zI - M(t)\bigr) && \text{(3)}
\end{aligned}
$$

Step 1 holds because products are continuous, step 2 is the factorization of the characteristic
polynomial, and step 3 holds because a determinant is a polynomial in the entries, which are
continuous in $t$. So $\mu_1, \dots, \mu_d$ are the eigenvalues of $M(t)$ with their multiplicities.
Exactly $m$ of them are in $A$, because $A$ and $B$ are disjoint: $n(t) = m$, a contradiction.

*Hence $n(1) = n(0) = k$.* Let $T$ be the supremum of the $t$ such that $n = k$ on $[0, t]$. Near $T$,
$n$ is constant, and it takes the value $k$ there. So $n(T) = k$. If $T$ were less than 1, $n$ would be
$k$ somewhat beyond $T$ as well, against the choice of $T$. ∎

The proof needs no order of the complex eigenvalues and no single eigenvalue that moves along a
curve. It follows their whole list.
"""

# %% [markdown]
r"""
**The picture** shows $M(t)$ for a matrix with three clusters, of two, two and one discs. In the
left cluster, two real eigenvalues meet and become a complex pair. No eigenvalue leaves its cluster.
"""

# %% mystnb={"image": {"alt": "Four panels for t = 0, 0.3, 0.6 and 1. Five discs on the real axis grow from points to their final circles, which form three clusters. Eigenvalues start at the centers. Two of the left cluster meet between their centers and part vertically as a complex pair; the others stay on the real axis, within their discs."}}
M = np.array(
    [
        [0.0, 1.0, 0.0, 0.0, 0.2],
        [-1.4, 1.2, 0.1, 0.0, 0.0],
        [0.0, 0.2, 5.0, 0.6, 0.0],
        [0.1, 0.0, 0.9, 6.2, 0.0],
        [0.3, 0.0, 0.2, 0.2, 9.5],
    ]
)
print(
    "clusters of M:", [cluster.tolist() for cluster in gershgorin_discs(M).clusters()]
)
growing_discs_figure(M)

# %% [markdown]
r"""
**Check.** We count the eigenvalues in the clusters of 500 random matrices, at 20 moments of
their growth. `clusters` collects the discs that overlap, directly or through others.
"""


# %%
def eigenvalues_inside(values: np.ndarray, M: np.ndarray, cluster: np.ndarray) -> int:
    """Return how many of the values are in the union of a cluster's discs."""
    discs = gershgorin_discs(M)
    distances = np.abs(values[:, np.newaxis] - discs.centres[cluster])
    slack = 1e-10 * np.linalg.norm(M)
    return np.count_nonzero((distances <= discs.radii[cluster] + slack).any(axis=1))


sizes = []
for _ in range(500):
    d = rng.integers(2, 9)
    M = np.diag(4 * rng.standard_normal(d)) + 0.3 * rng.standard_normal((d, d))
    D = np.diag(np.diag(M))
    clusters = gershgorin_discs(M).clusters()
    for t in np.linspace(0, 1, 20):
        values = np.linalg.eigvals(D + t * (M - D))
        assert [eigenvalues_inside(values, M, c) for c in clusters] == [
            len(c) for c in clusters
        ]
    sizes += [len(cluster) for cluster in clusters]
print(
    "clusters by number of discs:",
    dict(enumerate(np.bincount(sizes)[1:].tolist(), start=1)),
)
assert max(sizes) >= 5

# %% [markdown]
r"""
## Consequences

1. **An isolated disc has exactly one eigenvalue**, by the cluster form with $k = 1$. If all $d$
   discs are disjoint, the eigenvalues are distinct, one in each disc, and $M$ can be diagonalized,
   because eigenvectors of distinct eigenvalues are linearly independent.
2. **If $M$ is real, the eigenvalue of an isolated disc is real.** The characteristic polynomial has
   real coefficients, so with $\lambda$ its conjugate $\bar\lambda$ is an eigenvalue too. The center
   is real, so the disc contains $\bar\lambda$ as well. There is only one eigenvalue in it, and so
   $\bar\lambda = \lambda$. With $d$ disjoint discs, all eigenvalues are real.
3. **If $M$ is real, a cluster with an odd number of discs has a real eigenvalue.** The cluster
   contains $\bar\lambda$ whenever it contains $\lambda$, with the same multiplicity. So the
   eigenvalues in it that are not real come in pairs, and an odd number does not consist of pairs.
"""

# %%
isolated = odd = 0
for _ in range(2000):
    d = rng.integers(2, 9)
    M = np.diag(4 * rng.standard_normal(d)) + 0.3 * rng.standard_normal((d, d))
    discs, values = gershgorin_discs(M), np.linalg.eigvals(M)
    clusters = discs.clusters()
    if len(clusters) == d:
        assert (values.imag == 0).all()
        isolated += 1
    for cluster in clusters:
        if len(cluster) % 2:
            real_ones = values[values.imag == 0]
            assert eigenvalues_inside(real_ones, M, cluster) >= 1
            odd += 1
print(
    f"{isolated} matrices with disjoint discs, {odd} clusters of odd size: all as proved"
)
assert min(isolated, odd) > 100

# %% [markdown]
r"""
## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.7, exercise 3.
- Gershgorin, "Über die Abgrenzung der Eigenwerte einer Matrix", Izv. Akad. Nauk SSSR, 7th series,
  1931, no. 6, pages 749-754. It has both forms of the theorem.
- Horn and Johnson, *Matrix Analysis*, second edition (2013), theorem 6.1.1.
- Li and Zhang, "Eigenvalue continuity and Geršgorin's theorem", Electronic Journal of Linear
  Algebra 35 (2019), on what the proof by continuity needs.
- Varga, *Geršgorin and His Circles*, Springer (2004).
"""
