# %% [markdown]
r"""
# 1. Orthogonal changes of variables

**The exercise.** Let $U$ be an orthogonal matrix, and let $c$ and $\delta$ be vectors. Show that

$$\|c - \delta\|_2 = \|U c - U \delta\|_2 .$$

Why does an orthogonal change of variables therefore leave the size of every perturbation as it is?

## The proof

A real square matrix $U$ is *orthogonal* if $U^\top U = I$. Let $x = c - \delta$. Then

$$
\begin{aligned}
\|Uc - U\delta\|_2^2
  &= \|U x\|_2^2        && \text{(1)} \\
  &= (Ux)^\top (Ux)     && \text{(2)} \\
  &= x^\top U^\top U x  && \text{(3)} \\
  &= x^\top x           && \text{(4)} \\
  &= \|c - \delta\|_2^2 && \text{(5)}
\end{aligned}
$$

Step 1 holds because $U$ is linear, steps 2 and 5 are the definition of the norm, step 3 is
$(Ux)^\top = x^\top U^\top$, and step 4 is the orthogonality of $U$. Norms are not negative, so the
equality of the squares gives the equality of the norms. ∎

**The converse** holds as well: a square matrix that preserves all norms is orthogonal. If
$\|Ux\|_2 = \|x\|_2$ for every $x$, then $x^\top (U^\top U - I)\, x = 0$ for every $x$. Take for $x$
a unit eigenvector of $U^\top U - I$: the left side is its eigenvalue, which is therefore $0$. A
symmetric matrix has a basis of eigenvectors, so one whose eigenvalues are all $0$ is the zero
matrix, and $U^\top U = I$.

## What it means

The chapter writes the quadratic $f(x) = \tfrac12 x^\top Q x + c^\top x + b$ in the basis of the
eigenvectors of $Q$, with $\bar x = Ux$ and $\bar c = Uc$. Now perturb the linear term: let $\delta$
be the perturbed $c$. By the exercise, $\bar c$ moves exactly as far as $c$. The minimizer moves as
far in $\bar x$ as in $x$, because $U$ maps it too. The change of basis therefore neither hides nor
magnifies an error, and what we read off in the eigenbasis is true in the original variables. There,
each coordinate of the minimizer is

$$\bar x^*_i = -\frac{\bar c_i}{\lambda_i} .$$

An error of size $\varepsilon$ in $\bar c_i$ becomes an error of size $\varepsilon / \lambda_i$ in
the minimizer. It is the *problem* that magnifies errors along small eigenvalues, and not the change
of variables.

A change of variables that stretches is different. For $z = \Lambda^{1/2} U x$ and eigenvalues
$0 < \lambda_{\min} \le \lambda_i \le \lambda_{\max}$,

$$\sqrt{\lambda_{\min}}\; \|x\|_2 \;\le\; \|z\|_2 \;\le\; \sqrt{\lambda_{\max}}\; \|x\|_2 ,$$

because $\|z\|_2^2 = \sum_i \lambda_i\, \bar x_i^2$, and $\sum_i \bar x_i^2 = \|x\|_2^2$ by the
exercise. Equality holds on the left for eigenvectors of $\lambda_{\min}$, and on the right for
those of $\lambda_{\max}$. Two errors of equal size in $x$ may differ in $z$ by the factor
$\sqrt{\kappa}$, where $\kappa = \lambda_{\max} / \lambda_{\min}$ is the condition number.
"""

# %% [markdown]
r"""
**Check.** Random orthogonal matrices come from the QR decomposition of normal ones. Rounding
changes a distance by some units of the last of 16 digits. The stretch attains both of its bounds.
"""

# %%
import math

import numpy as np

import adagrad
from adagrad.analysis import SGD, Momentum, Quadratic, RMSProp, trace
from adagrad.plotting import path_figure
from adagrad.textbook import BOWL, BOWL_START

rng = np.random.default_rng(0)


def random_orthogonal(d: int) -> np.ndarray:
    """Return a random orthogonal matrix, [d, d]."""
    return np.linalg.qr(rng.standard_normal((d, d)))[0]


worst = 0.0
for d in (2, 5, 50, 200):
    U = random_orthogonal(d)
    c, delta = rng.standard_normal((2, d))
    before, after = np.linalg.norm(c - delta), np.linalg.norm(U @ c - U @ delta)
    worst = max(worst, abs(after / before - 1))
print(f"largest relative change of a distance: {worst:.1e}")
assert worst < 1e-14

half = rng.standard_normal((5, 8))
f = Quadratic(half @ half.T)
low, high = f.eigenvalues[[0, -1]]
stretch = np.sqrt(f.eigenvalues)[:, np.newaxis] * f.eigenvectors.T  # z = stretch @ x
lengths = np.linalg.norm(stretch @ f.eigenvectors, axis=0)  # of unit eigenvectors
print(f"unit vectors become {lengths[0]:.3f} to {lengths[-1]:.3f} long", end="; ")
print(f"√κ = {math.sqrt(high / low):.3f}")
assert np.allclose(lengths[[0, -1]] ** 2, [low, high])
assert math.isclose(lengths[-1] / lengths[0], math.sqrt(high / low))

# %% [markdown]
r"""
**Check of the perturbation.** We move the linear term by $0.01$ along each eigenvector. It moves as
far in the eigenbasis, and the minimizer moves by $0.01 / \lambda_i$ in both.
"""

# %%
V = f.eigenvectors  # U of the text is V.T
for value, direction in zip(f.eigenvalues, V.T, strict=True):
    moved = Quadratic(f.Q, 0.01 * direction)
    in_eigenbasis = moved.rotated(V.T)
    assert math.isclose(np.linalg.norm(in_eigenbasis.c), 0.01)
    shift = np.linalg.norm(moved.minimizer - f.minimizer)
    assert math.isclose(shift, np.linalg.norm(in_eigenbasis.minimizer))
    assert math.isclose(shift, 0.01 / value)
    print(f"eigenvalue {value:6.2f}: the minimizer moves by {shift:.5f}")

# %% [markdown]
r"""
## Which descents are equivariant?

Turn the function together with the start: $f_U(y) = f(U^\top y)$ and $y_0 = U x_0$. A method is
*equivariant* under $U$ if its path turns along, $y_t = U x_t$ for all $t$, for every $f$ and $x_0$. The turned problem is
then exactly as easy for it as the original.

**Gradient descent is equivariant under every orthogonal $U$.** By the chain rule,
$\nabla f_U(y) = U\, \nabla f(U^\top y)$. If $y_t = U x_t$, then $U^\top y_t = x_t$, and so

$$
\begin{aligned}
y_{t+1} &= y_t - \eta_t \nabla f_U(y_t) \\
        &= U x_t - \eta_t\, U\, \nabla f(x_t) = U x_{t+1} .
\end{aligned}
$$

The claim holds for $t = 0$, and hence by induction for all $t$. ∎ The same two lines work for
momentum, whose velocity turns along because it is a sum of gradients.

**AdaGrad is not**, because it squares the gradient coordinate by coordinate, and the squares of a
turned vector are not the turned squares. It is equivariant exactly under *signed permutations*,
which reorder the coordinates and change some of their signs. Such a matrix $P$ has one entry $1$ or
$-1$ in each row and column, and zeros elsewhere.

*They suffice.* Row $i$ of $P$ has its entry $\sigma_i = \pm 1$ in column $\pi(i)$, so that
$(Pg)_i = \sigma_i\, g_{\pi(i)}$. The square is $g_{\pi(i)}^2$: the accumulators are permuted, and
so are the divisors. Step $i$ of the turned problem is therefore $\sigma_i$ times step $\pi(i)$ of
the original, and the induction goes through as above. Changing a sign and moving a number to
another place involve no rounding, and rounding to the nearest number treats both signs alike. If
the turned gradient is computed as $P\, \nabla f(P^\top y)$, the two paths agree to the last bit.

*They are necessary.* The first step for a gradient $g$ is $-\eta\, \varphi(g)$, where $\varphi(g)_i
= g_i / \sqrt{g_i^2 + \epsilon}$ with $\eta, \epsilon > 0$. If AdaGrad is equivariant under $U$,
then $\varphi(U g) = U \varphi(g)$ for every $g$, because every $g$ is the gradient of a linear
function. Put $g = t e_i$ with the unit vector $e_i$ of a coordinate, and let $t \to \infty$. On the
right, $\varphi(t e_i) \to e_i$. On the left, each entry of $\varphi(t\, U e_i)$ tends to the sign of
that entry of $U e_i$, or is $0$ where the entry is. In the limit,

$$\operatorname{sign}(U e_i) = U e_i .$$

So column $i$ of $U$ has only entries $0$ and $\pm 1$. Its norm is $1$, so exactly one entry is not
$0$. Different columns are orthogonal and nonzero, so no two have it in the same row. Such a matrix
is a signed permutation. ∎
"""

# %% [markdown]
r"""
**Check.** For each rule we take the largest distance between a turned path and the path of the
turned problem, over 20 random quadratics of six variables and 50 steps.
"""

# %%
RULES = {
    "gradient descent": SGD(0.01),
    "momentum": Momentum(0.01),
    "AdaGrad": adagrad.Rule(lr=0.5),
    "AdaGrad, power 1/4": adagrad.Rule(lr=0.5, power=0.25),
    "RMSProp": RMSProp(0.1),
}


def gap(rule: object, f: Quadratic, start: np.ndarray, U: np.ndarray) -> float:
    """Return the largest distance of the turned path from the path of the turned problem."""
    turned = (None, lambda y: U @ f.gradient(U.T @ y))
    return float(
        np.abs(
            trace(rule, f, start, 50) @ U.T - trace(rule, turned, U @ start, 50)
        ).max()
    )


d, gaps = 6, {name: {"signed permutations": 0.0, "rotations": 0.0} for name in RULES}
for _ in range(20):
    half = rng.standard_normal((d, 9))
    f, start = Quadratic(half @ half.T, rng.standard_normal(d)), rng.standard_normal(d)
    P = np.eye(d)[rng.permutation(d)] * rng.choice([-1.0, 1.0], d)
    for name, rule in RULES.items():
        for kind, U in (
            ("signed permutations", P),
            ("rotations", random_orthogonal(d)),
        ):
            gaps[name][kind] = max(gaps[name][kind], gap(rule, f, start, U))
print(f"{'':20}{'signed permutations':>20}{'rotations':>12}")
for name, found in gaps.items():
    print(f"{name:20}{found['signed permutations']:20.1g}{found['rotations']:12.1g}")
    assert found["signed permutations"] == 0  # not a bit differs
    assert (found["rotations"] < 1e-13) == (name in ("gradient descent", "momentum"))

# %% [markdown]
r"""
**The picture** shows the chapter's bowl, turned by 45 degrees. Gradient descent takes the turned
path. AdaGrad parts from the turned path at its first step, which has the same length in both
coordinates if neither entry of the gradient is 0, and so runs along a diagonal of the plane.
"""

# %% mystnb={"image": {"alt": "Three paths on a narrow diagonal valley. Gradient descent zigzags into the valley; AdaGrad's turned path descends directly to the minimum; AdaGrad on the turned bowl leaves the start in another direction and creeps along the floor of the valley."}}
angle = math.pi / 4
U = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
turned = BOWL.rotated(angle)
paths = {}
for name, rule in (("gradient descent", SGD(0.4)), ("AdaGrad", adagrad.Rule(lr=2.0))):
    paths[name] = trace(rule, turned, U @ BOWL_START, 20)
    turned_path = trace(rule, BOWL, BOWL_START, 20) @ U.T
    distance = np.abs(turned_path - paths[name]).max()
    print(f"{name}: the two paths are up to {distance:.1e} apart in a coordinate")
    if name == "AdaGrad":
        paths["AdaGrad's turned path"] = turned_path
        assert distance > 1
    else:
        assert distance < 1e-14

path_figure(turned, paths, title="Descents on a turned bowl")

# %% [markdown]
r"""
The [next exercise](2_rotated_objective.py) asks what this costs. The
[third](3_gershgorin.py) and the [fourth](4_after_preconditioning.py) ask what can be said without
the eigenvectors.

## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.7, exercise 1.
- Golub and Van Loan, *Matrix Computations*, fourth edition (2013), section 2.3.5, on the norms that
  orthogonal matrices preserve.
- Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
  Optimization", JMLR 12 (2011), for the diagonal method and the full-matrix method, which is
  equivariant under rotations.
"""
