# %% [markdown]
r"""
# 2. The rotated objective

**The exercise.** Run AdaGrad on $f(x) = 0.1\, x_1^2 + 2\, x_2^2$, and on the same bowl turned by 45
degrees, which the chapter writes as $0.1\,(x_1 + x_2)^2 + 2\,(x_1 - x_2)^2$. Does it behave
differently?

**The answer.** Yes: AdaGrad is fast on the first bowl and slow on the second. Gradient descent does
the same on both.

## The two bowls

The second derivatives of the first function are $Q = \operatorname{diag}(0.2,\ 4)$. The rotation
by 45 degrees about the origin,

$$U = \frac{1}{\sqrt 2} \begin{pmatrix} 1 & -1 \\ 1 & 1 \end{pmatrix} ,$$

turns the function into $f_U(x) = f(U^\top x)$, with the second derivatives

$$
Q_U = U Q\, U^\top = \begin{pmatrix} 2.1 & -1.9 \\ -1.9 & 2.1 \end{pmatrix} .
$$

The eigenvalues are the same, $0.2$ and $4$, but the diagonal entries are now *equal*. A diagonal
preconditioner divides by the diagonal. Here it divides everything by one number, $2.1$, which is
what a single learning rate does. The condition number is 20 before and after.

Since $(U^\top x)_1 = (x_1 + x_2) / \sqrt 2$ and $(U^\top x)_2 = (x_2 - x_1) / \sqrt 2$, our
$f_U$ is exactly *half* the function in the chapter, whose formula omits the roots.
"""

# %%
import math

import numpy as np

import adagrad
from adagrad.analysis import (
    SGD,
    Quadratic,
    condition_number,
    jacobi_precondition,
    trace,
)
from adagrad.plotting import bowl_figure, loss_figure, path_figure
from adagrad.textbook import BOWL, BOWL_START

angle = math.pi / 4
U = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
turned = BOWL.rotated(angle)
start = U @ BOWL_START  # the same point of the landscape
for name, f in (("axes aligned", BOWL), ("turned", turned)):
    after = condition_number(jacobi_precondition(f.Q))
    print(
        f"{name}: κ = {condition_number(f.Q):.3g}, after diagonal scaling {after:.3g}"
    )
assert np.allclose(turned.Q, [[2.1, -1.9], [-1.9, 2.1]])
assert math.isclose(condition_number(jacobi_precondition(turned.Q)), 20, rel_tol=1e-12)

chapters = Quadratic([[4.2, -3.8], [-3.8, 4.2]])
x = np.random.default_rng(0).standard_normal((100, 2))
assert np.allclose(
    chapters(x), 0.1 * (x[:, 0] + x[:, 1]) ** 2 + 2 * (x[:, 0] - x[:, 1]) ** 2
)
assert np.allclose(chapters(x), 2 * turned(x))

# %% [markdown]
r"""
A positive factor on $f$ does not change AdaGrad's path if $\epsilon = 0$: it multiplies $g$ and
$\sqrt s$ alike. A power of 2 does not even change the rounding, so the path on the chapter's
function is the same to the last bit.
"""

# %%
free = adagrad.Rule(lr=2.0, eps=0.0)
on_chapters = trace(free, (None, lambda x: 2 * turned.gradient(x)), start, 20)
assert (on_chapters == trace(free, turned, start, 20)).all()

# %% [markdown]
r"""
## The descents

All four descents start from the same point of the landscape.
"""

# %% mystnb={"image": {"alt": "Four panels with AdaGrad's path over the contours of a bowl. Aligned with the axes, it curves down to the minimum with learning rate 0.4 and runs straight to it with 2.0. On the turned bowl both paths drop to the floor of the valley and stop well before the minimum."}}
bowl_figure()

# %% [markdown]
r"""
**Why it is slow.** Along the steep direction, the first gradient is eight times as large as along
the flat one. On the first bowl, only $s_2$ collects it. The rate of $x_1$ depends on the small
gradients of $x_1$ alone, and remains large. On the turned bowl, each coordinate has a part in the
steep direction, and *both* accumulators collect the large first gradients. They never shrink, so
the rate along the floor of the valley remains small as well.

The table shows the rate along the floor after 20 steps with $\eta = 2$: $\eta / \sqrt{s_1}$ on the
first bowl, and the mean of $\eta / \sqrt{s_1}$ and $\eta / \sqrt{s_2}$ on the turned one.
"""

# %%
rule, rates = adagrad.Rule(lr=2.0), {}
for name, f, x in (("axes aligned", BOWL, BOWL_START), ("turned", turned, start)):
    path = trace(rule, f, x, 20)
    s = (f.gradient(path[:-1]) ** 2).sum(axis=0)
    rates[name] = rule.rate(s)[0] if name == "axes aligned" else rule.rate(s).mean()
    print(
        f"{name:13} rate along the floor {rates[name]:.2f}, f = {f(path[-1]):.2g} after 20 steps"
    )
assert rates["axes aligned"] > 3 * rates["turned"]

# %% [markdown]
r"""
A start at $(-5, -2)$ on the chapter's turned function, without turning the start, shows the same:
"""

# %%
for lr in (0.4, 2.0):
    aligned = BOWL(trace(adagrad.Rule(lr=lr), BOWL, BOWL_START, 20)[-1])
    literal = chapters(trace(adagrad.Rule(lr=lr), chapters, BOWL_START, 20)[-1])
    print(f"lr = {lr}: f = {aligned:.2g} aligned, {literal:.2g} turned")
    assert literal > 6 * aligned

# %% [markdown]
r"""
**The best that each can do** is found with 100 rates, up to 20 for AdaGrad and up to 0.5 for
gradient descent, which diverges above that:
"""

# %%
SWEEPS = {
    "AdaGrad": [adagrad.Rule(lr=lr) for lr in np.geomspace(0.1, 20, 100)],
    "gradient descent": [SGD(lr) for lr in np.linspace(0.01, 0.5, 100)],
}
best = {}
for name, f, x in (("axes aligned", BOWL, BOWL_START), ("turned", turned, start)):
    for method, runs in SWEEPS.items():
        best[name, method] = min(f(trace(run, f, x, 20)[-1]) for run in runs)
        print(f"{name:13}{method:17} f = {best[name, method]:.2g} after 20 steps")
assert BOWL(trace(SGD(0.51), BOWL, BOWL_START, 200)[-1]) > 100 * BOWL(BOWL_START)
assert best["axes aligned", "AdaGrad"] < 1e-6 < best["axes aligned", "gradient descent"]
assert best["turned", "AdaGrad"] > best["turned", "gradient descent"]
assert math.isclose(
    best["turned", "gradient descent"],
    best["axes aligned", "gradient descent"],
    rel_tol=1e-9,
)

# %% [markdown]
r"""
## Why gradient descent does the same on both

Gradient descent is equivariant under rotations ([exercise 1](1_orthogonal_invariance.py)): its path
on the turned bowl is the turned path, so it has the same values.

A rotation also leaves the condition number as it is, but this is not the reason, because the
condition number does not determine the descent. Let $x^*$ be the minimizer, $v_i$ the orthonormal
eigenvectors of $Q$ and $\lambda_i$ its eigenvalues. Write $a_i = v_i^\top (x_0 - x^*)$ for the
coordinates of the start in the eigenbasis. The gradient is $Q\,(x - x^*)$, so one step with the
rate $\eta$ multiplies $x - x^*$ by $I - \eta Q$, and its coordinate $i$ by $1 - \eta\lambda_i$.
With $f(x) - f(x^*) = \tfrac12 (x - x^*)^\top Q\, (x - x^*)$, we have after $t$ steps

$$f(x_t) - f(x^*) = \frac12 \sum_i \lambda_i (1 - \eta \lambda_i)^{2t} a_i^2 .$$

The *whole spectrum* matters, and so does the *start*. A rotation of bowl and start changes neither
the $\lambda_i$ nor the $a_i$, because it turns the eigenvectors along. The condition number
$\kappa = \lambda_{\max} / \lambda_{\min}$ is what remains if we ask for the worst start and the
best rate. A number is in size the larger of itself and its negative, so $|1 - \eta\lambda_i|$ is the
larger of $1 - \eta\lambda_i$ and $\eta\lambda_i - 1$, and

$$
\begin{aligned}
&\max_i |1 - \eta \lambda_i| \\
&\quad = \max\,(1 - \eta\lambda_{\min},\ \eta\lambda_{\max} - 1) .
\end{aligned}
$$

Of the last two, the first falls with $\eta$ and the second rises. So the larger of them is smallest
where they are equal. There

$$
\begin{aligned}
\eta &= \frac{2}{\lambda_{\min} + \lambda_{\max}} , \\
\max_i |1 - \eta \lambda_i| &= \frac{\kappa - 1}{\kappa + 1} .
\end{aligned}
$$

**Three descents with the same $\kappa$.** All matrices below have $\kappa = 20$, and every descent has
the best rate for it, $\eta = 2 / 4.2$. The first two start from the same point, and only the middle
eigenvalue differs. The last two share the matrix, and differ in the start. After 20 steps, the
values are orders of magnitude apart.
"""

# %% mystnb={"image": {"alt": "The value of the function against steps, on a logarithmic axis, for three descents with condition number 20. After a few steps the three lines are parallel, at heights that differ by factors of 15 and 100."}}
lr, steps = 2 / 4.2, 20
descents = {
    "middle 0.2": ([0.2, 0.2, 4.0], [1.0, 5.0, 0.2]),
    "middle 2.1": ([0.2, 2.1, 4.0], [1.0, 5.0, 0.2]),
    "other start": ([0.2, 2.1, 4.0], [0.1, 5.0, 0.02]),
}
t, curves = np.arange(steps + 1), {}
for name, (eigenvalues, a) in descents.items():
    f = Quadratic(np.diag(eigenvalues))
    values = f(trace(SGD(lr), f, a, steps))
    factors = 1 - lr * np.array(eigenvalues)
    formula = (eigenvalues * factors ** (2 * t[:, np.newaxis]) * np.square(a)).sum(
        axis=1
    ) / 2
    assert np.allclose(values, formula, rtol=1e-9)
    assert math.isclose(condition_number(f.Q), 20)
    assert np.isclose(np.abs(factors).max(), (20 - 1) / (20 + 1))
    curves[name] = (t, values)
last = [values[-1] for _, values in curves.values()]
assert last[0] > 10 * last[1] > 500 * last[2]

loss_figure(curves, title="Three descents with κ = 20", xlabel="steps", ylabel="f")

# %% [markdown]
r"""
An extreme case: from a start on the middle eigenvector, $1 - 2.1\,\eta = 0$, and a single step
reaches the minimum, although $\kappa = 20$.
"""

# %%
f = Quadratic(np.diag([0.2, 2.1, 4.0]))
assert np.abs(trace(SGD(lr), f, [0.0, 5.0, 0.0], 1)[-1]).max() < 1e-15

# %% [markdown]
r"""
## The cure

**Other coordinates.** If the eigenvectors $V = (v_1, \dots, v_d)$ are known, we can descend in
$z = V^\top x$, where the second derivatives are diagonal. AdaGrad in $z$ takes the path of the
aligned bowl, up to the order and the signs of the eigenvectors, which do not matter by exercise 1.

**The full matrix.** Duchi et al. also analyze a method that needs no eigenvectors of $Q$. It sums
the outer products of the gradients and divides by the root of the matrix:

$$
\begin{aligned}
G_t &= G_{t-1} + g_t\, g_t^\top , \\
x_{t+1} &= x_t - \eta\, (G_t + \epsilon I)^{-1/2} g_t .
\end{aligned}
$$

AdaGrad keeps only the diagonal of $G_t$. The full method *is* equivariant under rotations: turned
gradients $U g_t$ give the matrix $U G_t U^\top$, and

$$
\begin{aligned}
(U G_t U^\top &+ \epsilon I)^{-1/2}\, U g_t \\
  &= U\, (G_t + \epsilon I)^{-1/2} g_t ,
\end{aligned}
$$

because $U (G_t + \epsilon I)^{-1/2} U^\top$ is positive definite, its square is the inverse of
$U (G_t + \epsilon I)\, U^\top$, and a positive definite root is unique. By induction, the paths
agree. The price is $d^2$ numbers of memory and, for the root, a multiple of $d^3$ operations per
step.
"""


# %% mystnb={"image": {"alt": "Three AdaGrad paths on the turned bowl. The one in x stops on the floor of the valley, far from the minimum. The one in the coordinates of the eigenvectors and the one with the full matrix reach the minimum."}}
class FullMatrix:
    """AdaGrad with the full matrix of Duchi et al., for `trace`."""

    slots = 0

    def __init__(self, lr: float, d: int, eps: float = 1e-6) -> None:
        self.lr, self.sum = lr, eps * np.eye(d)

    def step(self, w: np.ndarray, g: np.ndarray, t: int) -> None:
        """Update w in place."""
        self.sum += np.outer(g, g)
        values, vectors = np.linalg.eigh(self.sum)
        w -= self.lr * vectors @ (vectors.T @ g / np.sqrt(values))


V = turned.eigenvectors
in_eigenvectors = turned.rotated(V.T)  # z -> f(V z)
paths = {
    "in x": trace(rule, turned, start, 20),
    "in the eigenvectors": trace(rule, in_eigenvectors, V.T @ start, 20) @ V.T,
    "full matrix": trace(FullMatrix(2.0, 2), turned, start, 20),
}
for name, path in paths.items():
    print(f"{name:20} f = {turned(path[-1]):.2g} after 20 steps")
aligned = trace(rule, BOWL, BOWL_START, 20)
assert np.allclose(paths["in the eigenvectors"], aligned @ U.T, atol=1e-12)
full = trace(FullMatrix(2.0, 2), BOWL, np.array(BOWL_START), 20)
assert np.allclose(paths["full matrix"], full @ U.T, atol=1e-9)  # equivariant
assert (
    max(turned(paths[name][-1]) for name in ("in the eigenvectors", "full matrix"))
    < 1e-5
)

path_figure(turned, paths, title="AdaGrad on the turned bowl")

# %% [markdown]
r"""
**Sparse features** rarely need the cure. Features that seldom occur together have a matrix $Q$ that
is close to diagonal already, which [exercise 4](4_after_preconditioning.py) measures.

## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.7, exercise 2.
- Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
  Optimization", JMLR 12 (2011): section 3 on the diagonal method, section 4 on the full one.
- Gupta, Koren and Singer, "Shampoo: Preconditioned Stochastic Tensor Optimization", ICML 2018, a
  method between the diagonal and the full one.
"""
