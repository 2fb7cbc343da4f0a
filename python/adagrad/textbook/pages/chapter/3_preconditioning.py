# %% [markdown]
r"""
# Preconditioning

How many steps does a descent need? On a quadratic, its start and the eigenvalues of the matrix
answer this exactly, and near a minimum, many losses are nearly quadratic. *Preconditioning* is a
change of coordinates that makes the steps fewer. This page follows the chapter's argument on
quadratics of two variables, which can be drawn: what the eigenvalues do to the minimizer and to the
number of steps, which change of coordinates removes the difficulty, and how much of that a diagonal
can do. The [next page](3b_gradients_as_proxy.py) asks what a gradient knows of that diagonal.

## Near a minimum

Let $f$ have continuous second derivatives and a minimum at $x^*$, where the gradient is zero. The
best quadratic there has the Hessian $H$, the matrix of second derivatives at $x^*$:

$$q(x) = f(x^*) + \tfrac12\,(x - x^*)^\top H\,(x - x^*)$$

Taylor's theorem says that $f - q$ is small compared with $\lVert x - x^*\rVert^2$ as $x$ approaches
$x^*$. If $f$ has bounded third derivatives, the error is even at most
$\tfrac{M}{6} \lVert x - x^*\rVert^3$, where $M$ bounds the third derivative in any direction.

Is that small compared with what $q$ describes, the rise of $f$ above its minimum? At a minimum, $H$
has no negative eigenvalue. If it is nonsingular as well, its smallest eigenvalue $\lambda_{\min}$ is
positive, and $q$ rises by at least $\tfrac12 \lambda_{\min} \lVert x - x^*\rVert^2$. So the answer is
yes: *near a minimum with a nonsingular Hessian*, a smooth function is approximately a quadratic.

As an example, take a logistic loss of two features. The third derivative of $\log(1 + e^{-t})$ is
at most $1 / (6\sqrt3)$ in size.
"""

# %%
import math

import numpy as np
from scipy.optimize import minimize

from adagrad.analysis import (
    SGD,
    Momentum,
    Quadratic,
    condition_number,
    gershgorin_discs,
    jacobi_precondition,
    power_law,
    trace,
)
from adagrad.datasets import airfoil
from adagrad.plotting import (
    gershgorin_figure,
    loglog_figure,
    quadratic_figure,
    sensitivity_figure,
)
from adagrad.textbook import BOWL

# %% [markdown]
r"""
The 300 examples have the labels $\pm 1$, drawn with the chances of a logistic model. An example
enters the loss only through the product of its label and its features. Newton's method finds the
minimum, where the Hessian is $H$.
"""

# %%
rng = np.random.default_rng(0)
features = rng.standard_normal((300, 2))
chance = 1 / (1 + np.exp(-features @ [1.0, -2.0]))
labels = np.where(rng.random(300) < chance, 1.0, -1.0)
signed = labels[:, None] * features


def loss(w):
    return np.mean(np.log1p(np.exp(-(w @ signed.T))), axis=-1)


def gradient_and_hessian(w):
    p = 1 / (1 + np.exp(signed @ w))  # the chance of the wrong label, by the model
    return -p @ signed / 300, (signed.T * (p * (1 - p))) @ signed / 300


w = np.zeros(2)
for _ in range(10):
    gradient, H = gradient_and_hessian(w)
    w = w - np.linalg.solve(H, gradient)
assert np.linalg.norm(gradient_and_hessian(w)[0]) < 1e-12

# %% [markdown]
r"""
On circles around the minimum, we measure the share of the rise that the quadratic misses, in the
worst direction.
"""

# %%
angles = np.linspace(0, 2 * np.pi, 64)
circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
radii = np.geomspace(1e-3, 1, 13)
M = np.mean(np.linalg.norm(features, axis=1) ** 3) / (6 * math.sqrt(3))
logistic, quartic = [], []
for r in radii:
    rise = loss(w + r * circle) - loss(w)
    missed = np.abs(rise - Quadratic(H)(r * circle))
    assert (missed <= M / 6 * r**3 + 1e-15).all()
    logistic.append((missed / rise).max())
    quartic.append((r**4 - Quadratic([[0.0]])([r])) / r**4)
assert logistic[0] < 1e-3
assert quartic == [1.0] * 13
print(f"at distance {radii[0]:g}, the quadratic misses {logistic[0]:.1g} of the rise")

# %% [markdown]
r"""
The counterexample is $f(x) = x^4$. Its second derivative at the minimum is 0, so that $q = 0$: the
quadratic misses the whole rise, however near the minimum is. The losses of deep networks are between
the two: most eigenvalues of their Hessians are close to 0 (Sagun et al.).
"""

# %% mystnb={"image": {"alt": "On logarithmic axes, the share that the quadratic misses falls in proportion to the distance for the logistic loss, and stays at 1 for the fourth power."}}
loglog_figure(
    {"logistic loss": (radii, logistic), "x⁴: a singular Hessian": (radii, quartic)},
    title="What the quadratic misses",
    xlabel="distance from the minimizer",
    ylabel="share of the rise",
    slopes={"power 1": 1.0},
)

# %% [markdown]
r"""
## The eigenbasis

From here on, $f$ is a quadratic with a symmetric, positive definite matrix $Q$:

$$f(x) = \tfrac12\, x^\top Q x + c^\top x + b$$

With orthonormal eigenvectors of $Q$ as the rows of $U$ and their eigenvalues, in the same order, on
the diagonal of $\Lambda$, we have $Q = U^\top \Lambda U$. (The chapter puts the largest eigenvalue
first, NumPy the smallest. The order does not matter.) Write $\bar x = U x$ and $\bar c = U c$. Since
$U$ is orthogonal, $c^\top x = \bar c^\top \bar x$, and

$$f(x) = \bar f(\bar x) = \tfrac12\, \bar x^\top \Lambda \bar x + \bar c^\top \bar x + b$$

is a sum of parabolas, one for each coordinate:
$\tfrac12 \lambda_i \bar x_i^2 + \bar c_i \bar x_i$. Each has its minimum at
$-\bar c_i / \lambda_i$, with the value $-\bar c_i^2 / (2 \lambda_i)$. Together:

$$
\begin{aligned}
\bar x^* &= -\Lambda^{-1} \bar c \\
f(x^*) &= b - \tfrac12\, \bar c^\top \Lambda^{-1} \bar c
\end{aligned}
$$

In code, `Quadratic(Q, c, b)` is the function, and `in_coordinates` changes its coordinates.
"""

# %%
f = Quadratic([[0.5, 0.0], [0.0, 4.0]], c=[-1.5, -4.0], b=1.0).rotated(np.pi / 6)
U, eigenvalues = f.eigenvectors.T, f.eigenvalues
f_bar = f.in_coordinates(U)  # z -> f(U^-1 z)
c_bar = U @ f.c
print("Q =\n", f.Q.round(3), "\nin the eigenbasis\n", f_bar.Q.round(3))
assert np.allclose(U.T @ np.diag(eigenvalues) @ U, f.Q)
assert np.allclose(f_bar.Q, np.diag(eigenvalues))
assert np.allclose(f_bar.c, c_bar)
assert np.allclose(f.minimizer, U.T @ (-c_bar / eigenvalues))
assert math.isclose(f.minimum, f.b - np.sum(c_bar**2 / eigenvalues) / 2)

# %% mystnb={"image": {"alt": "Left, the level sets are ellipses whose axes, the eigenvectors, are oblique. Right, the same ellipses in the eigenbasis, with axes parallel to the coordinates."}}
quadratic_figure({"x": f, "x̄": f_bar}, title="The eigenvectors become the axes")

# %% [markdown]
r"""
## What a small change does

Change $c$ a little, to $c + \delta$. Errors of the data do this: in least squares, $c$ is
$-X^\top y$ with the features $X$ and the targets $y$. In the eigenbasis, the change $\bar\delta = U
\delta$ has the same length, because $U$ is
[orthogonal](../exercises/1_orthogonal_invariance.py). But the minimizer moves by

$$\delta \bar x^*_i = -\bar\delta_i / \lambda_i .$$

Large eigenvalues damp the change; small ones magnify it. A disc of changes with radius 1 becomes an
ellipse of minimizers with half axes $1/\lambda_i$.
"""

# %%
for eigenvalue, direction in zip(eigenvalues, U, strict=True):
    moved = Quadratic(f.Q, f.c + 0.1 * direction).minimizer - f.minimizer
    print(
        f"λ = {eigenvalue:.3g}: c moves by 0.1, the minimizer by {np.linalg.norm(moved):.3g}"
    )
    assert np.allclose(moved, -0.1 * direction / eigenvalue)

# %% mystnb={"image": {"alt": "Left, a disc of changes of c. Right, with the same scale, the ellipse of the minimizers: twice as long as the disc along the eigenvector of the small eigenvalue, and a quarter as wide along the other."}}
sensitivity_figure(f)

# %% [markdown]
r"""
What does the change cost? The minimum value moves by
$\delta^\top x^* - \tfrac12 \bar\delta^\top \Lambda^{-1} \bar\delta$. Whoever stays at the old
minimizer is above the new minimum by the second term alone,
$\tfrac12 \bar\delta^\top \Lambda^{-1} \bar\delta$. Coordinate $i$ has the share
$\bar\delta_i^2 / (2\lambda_i)$ of it, which is large if $\lambda_i$ is small.

Let $c \ne 0$. Relative to the lengths of $x^*$ and $c$, the change is magnified by at most the
**condition number** $\kappa$, the ratio of the largest to the smallest eigenvalue:

$$
\frac{\lVert \delta x^* \rVert}{\lVert x^* \rVert}
\le \kappa \, \frac{\lVert \delta \rVert}{\lVert c \rVert},
\quad \kappa = \frac{\lambda_{\max}}{\lambda_{\min}} .
$$

The reason: $\lVert \delta x^* \rVert \le \lVert \delta \rVert / \lambda_{\min}$, and
$\lVert c \rVert = \lVert Q x^* \rVert \le \lambda_{\max} \lVert x^* \rVert$. Both hold with
equality if $c$ is along the steepest and $\delta$ along the flattest eigenvector.
"""

# %%
kappa = condition_number(f.Q)
for _ in range(1000):
    c, change = rng.standard_normal((2, 2))
    old, new = Quadratic(f.Q, c), Quadratic(f.Q, c + change)
    moved, change_bar = new.minimizer - old.minimizer, U @ change
    lost = np.sum(change_bar**2 / eigenvalues) / 2
    assert math.isclose(
        new.minimum, old.minimum + change @ old.minimizer - lost, abs_tol=1e-9
    )
    assert math.isclose(new(old.minimizer), new.minimum + lost, abs_tol=1e-9)
    ratio = np.linalg.norm(moved) / np.linalg.norm(old.minimizer)
    assert ratio <= kappa * np.linalg.norm(change) / np.linalg.norm(c) * (1 + 1e-12)

flattest, steepest = U
old, new = (
    Quadratic(f.Q, steepest).minimizer,
    Quadratic(f.Q, steepest + 0.01 * flattest).minimizer,
)
worst = np.linalg.norm(new - old) / np.linalg.norm(old)
print(f"κ = {kappa:.3g}: 1 % of c may move the minimizer by {worst:.0%}")
assert math.isclose(worst, 0.01 * kappa)

# %% [markdown]
r"""
## What κ costs a descent

A step of gradient descent with the rate $\eta$ multiplies $\bar x_i - \bar x^*_i$ by
$1 - \eta \lambda_i$. The rate must suit the steepest and the flattest direction at once. The best is
$\eta = 2 / (\lambda_{\max} + \lambda_{\min})$, which makes the two factors equal in size
([exercise 2](../exercises/2_rotated_objective.py) has the proof). Each step then multiplies the
distance by at most

$$\rho = \frac{\kappa - 1}{\kappa + 1} ,$$

and by exactly that if the start differs from the minimizer only along these two directions. To come
closer by a factor $\varepsilon < 1$ takes $\log \varepsilon / \log \rho$ steps, rounded up. Since
$\log \rho \approx -2 / \kappa$ for large $\kappa$, this is nearly
$\tfrac12 \kappa \log(1/\varepsilon)$: in proportion to $\kappa$.

`trace` returns the points of a descent by a rule, such as `SGD(lr)`.
"""


# %%
def steps_needed(Q, accuracy=1e-6, momentum=False):
    """Return how many steps of the best rate bring x closer to the minimum by this factor."""
    f = Quadratic(Q)
    low, high = f.eigenvalues[[0, -1]]
    rule = SGD(2 / (low + high))
    if momentum:  # Polyak's rate and fraction
        low, high = np.sqrt([low, high])
        rule = Momentum(4 / (low + high) ** 2, ((high - low) / (high + low)) ** 2)
    path = trace(rule, f, f.eigenvectors[:, 0] + f.eigenvectors[:, -1], 15_000)
    distance = np.linalg.norm(path, axis=1)
    return int(np.argmax(distance <= accuracy * distance[0]))


kappas = np.array([2.0, 5.0, 20.0, 100.0, 400.0, 2000.0])
rates = (kappas - 1) / (kappas + 1)
theory = np.log(1e-6) / np.log(rates)
measured = [steps_needed(np.diag([1.0, kappa])) for kappa in kappas]
helped = [steps_needed(np.diag([1.0, kappa]), momentum=True) for kappa in kappas]
for kappa, steps, predicted, fewer in zip(
    kappas, measured, theory, helped, strict=True
):
    print(
        f"κ = {kappa:5.0f}: {steps:6} steps, formula {predicted:8.1f}, momentum {fewer:4}"
    )
    assert steps == math.ceil(predicted)
assert math.isclose(power_law(kappas[-3:], measured[-3:]).power, 1.0, abs_tol=0.05)
assert math.isclose(power_law(kappas[-3:], helped[-3:]).power, 0.5, abs_tol=0.05)

# %% mystnb={"image": {"alt": "On logarithmic axes, the steps of gradient descent rise along a line of slope 1 with the condition number, those with momentum along one of slope one half."}}
loglog_figure(
    {"gradient descent": (kappas, measured), "with momentum": (kappas, helped)},
    title="Steps of the best rate to 1e-6 of the distance",
    xlabel="condition number κ",
    ylabel="steps",
)

# %% [markdown]
r"""
With [momentum](https://d2l.ai/chapter_optimization/momentum.html) at its best rate and fraction, the
number of steps is nearly in proportion to $\sqrt\kappa$. Preconditioning reduces $\kappa$ itself, and
helps with and without it.

## Coordinates in which every eigenvalue is 1

Stretch the eigenbasis by the roots of the eigenvalues, $z = \Lambda^{1/2} U x$. Then
$x^\top Q x = \lVert z \rVert^2$: the level sets are circles, and the gradient in $z$ is $z - z^*$,
straight away from the minimizer $z^*$. *One* step with rate 1 is enough. In the old coordinates, this
step is Newton's: $x - Q^{-1} \nabla f(x)$.
"""

# %%
T = np.sqrt(eigenvalues)[:, None] * U
whitened = f.in_coordinates(T)
assert np.allclose(whitened.Q, np.eye(2))
assert np.allclose(f.in_coordinates(np.linalg.cholesky(f.Q).T).Q, np.eye(2))
start = np.array([-4.0, 0.0])
in_x = trace(SGD(2 / (eigenvalues[0] + eigenvalues[-1])), f, start, 15)
in_z = trace(SGD(1.0), whitened, T @ start, 1)
assert np.allclose(in_z[1], whitened.minimizer)
assert np.allclose(
    np.linalg.solve(T, in_z[1]), start - np.linalg.solve(f.Q, f.gradient(start))
)

# %% mystnb={"image": {"alt": "Left, a descent zigzags over the ellipses in x. Right, in z, the level sets are circles, and a single step leads to the minimizer."}}
quadratic_figure(
    {"x": f, "z": whitened}, {"x": in_x, "z": in_z}, title="One step is enough"
)

# %% [markdown]
r"""
Why does nobody do this? It needs all of $Q$, that is $d^2$ numbers, and its eigenvectors. They cost
27 times as much as the *solution* of $Q x = -c$ by Cholesky's method. The remedy is more expensive
than the problem. Cholesky's factor is cheaper, and would do: with $Q = L L^\top$ and $z = L^\top x$,
again $x^\top Q x = \lVert z \rVert^2$. But whoever has the factor has all but solved the problem.

| | operations | $d = 1000$ |
|---|---|---|
| eigenvectors of $Q$ | $9 d^3$ | 9 billion |
| solution | $d^3 / 3$ | 333 million |
| step of a descent | $2 d^2$ | 2 million |
"""

# %% [markdown]
r"""
## The diagonal alone

*Jacobi's preconditioner* stretches each coordinate on its own, $z_i = \sqrt{Q_{ii}}\, x_i$. It needs
only the diagonal of $Q$, and no eigenvectors:

$$
\begin{aligned}
\tilde Q &= \operatorname{diag}(Q)^{-1/2}\, Q\, \operatorname{diag}(Q)^{-1/2} \\
\tilde Q_{ij} &= Q_{ij} \, / \sqrt{Q_{ii} Q_{jj}}
\end{aligned}
$$

The diagonal becomes 1; what remains are the *correlations* of the coordinates. A step with rate
$\eta$ in $z$ is a step in $x$ with a rate of its own for each coordinate, $\eta / Q_{ii}$.

Scaling undoes whatever comes from the units of the coordinates: $\tilde Q$ is the same in all units.
The following matrix is ill-conditioned only because of its scales.
"""

# %%
rng = np.random.default_rng(3)
half = rng.uniform(-0.15, 0.15, size=(6, 6))
scales = 10.0 ** np.linspace(-0.5, 0.5, 6)
Q = scales[:, None] * (np.eye(6) + (half + half.T) / 2) * scales
scaled = jacobi_precondition(Q)
assert (np.diag(scaled) == 1).all()
roots = np.sqrt(np.diag(Q))
assert np.allclose(scaled, Quadratic(Q).in_coordinates(roots).Q)
assert np.allclose(scaled, jacobi_precondition(100 * scales[:, None] * Q * scales))
for name, matrix in (("Q", Q), ("Q̃", scaled)):
    discs = gershgorin_discs(matrix)
    print(
        f"{name}: κ = {condition_number(matrix):.3g}, {steps_needed(matrix)} steps,"
        f" κ is at most {discs.condition_bound:.3g} by Gershgorin's discs"
    )
assert steps_needed(scaled) < steps_needed(Q) / 50

# %% [markdown]
r"""
The discs are those of [Gershgorin's theorem](../exercises/3_gershgorin.py), which bounds eigenvalues
by entries. Scaling moves all of their centers to 1, and so away from 0.
"""

# %% mystnb={"image": {"alt": "Above, the discs of Q have centers between 0.1 and 10. Below, after scaling, all centers are 1, and no disc reaches 0."}}
gershgorin_figure(Q)

# %% [markdown]
r"""
**How good is it?** Van der Sluis proved that no diagonal scaling has a condition number more than $d$
times smaller. The reason is short. The eigenvalues of $\tilde Q$ are positive and
[add up to $d$](../exercises/4_after_preconditioning.py), so none is larger. Any other scaling of $Q$
is a scaling of $\tilde Q$, $B = D \tilde Q D$ with a positive diagonal $D$. Let $m$ be the largest
entry of $D$. Since $\tilde Q$ has ones on its diagonal, $B$ has $m^2$ there, and
$\lambda_{\max}(B) \ge m^2$. Let $v$ be an
eigenvector of the smallest eigenvalue of $\tilde Q$, and $u = D^{-1} v$. Then
$\lVert v \rVert \le m \lVert u \rVert$, and

$$
\begin{aligned}
\lambda_{\min}(B) &\le \frac{u^\top B u}{u^\top u} = \frac{v^\top \tilde Q v}{u^\top u} \\
&\le m^2\, \lambda_{\min}(\tilde Q) , \\
\kappa(B) &\ge \frac{1}{\lambda_{\min}(\tilde Q)} \ge \frac{\kappa(\tilde Q)}{d} .
\end{aligned}
$$

Usually it is much closer to the best. The next cell searches for the best scaling of 50 random
matrices.
"""


# %%
def scaled_condition(logs, Q):
    return math.log(condition_number(Q * np.exp(logs[:, None] + logs)))


worst, improved = 1.0, 0
for _ in range(50):
    X = rng.standard_normal((6, 3)) * 10 ** rng.uniform(-1, 1, 3)
    Q = X.T @ X
    ours = condition_number(jacobi_precondition(Q))
    jacobi = -np.log(np.diag(Q)) / 2  # where the search starts
    best = math.exp(
        minimize(scaled_condition, jacobi, args=(Q,), method="Nelder-Mead").fun
    )
    worst, improved = max(worst, ours / best), improved + (ours < condition_number(Q))
print(
    f"κ falls for {improved} of 50, and is at most {worst:.3g} times that of the best scaling"
)
assert improved >= 48
assert worst < 1.5

# %% [markdown]
r"""
**When does it help?** Always if the valley is aligned with the axes, as in the chapter's
$0.1 x_1^2 + 2 x_2^2$: then $\tilde Q$ is the identity. It does not help if the difficulty is in the
correlations, as when the valley runs [between the axes](../exercises/2_rotated_objective.py): with
equal entries on the diagonal, $\tilde Q$ is a multiple of $Q$. It may even do harm. The last matrix
has the eigenvalues 1, 1 and 10, and $\kappa$ rises from 10 to almost 12.
"""

# %%
for name, f in (("aligned", BOWL), ("turned", BOWL.rotated(np.pi / 4))):
    before, after = condition_number(f.Q), condition_number(jacobi_precondition(f.Q))
    print(f"{name}: κ = {before:.3g}, after scaling {after:.3g}")
    assert math.isclose(before, 20)
    assert math.isclose(after, 1 if name == "aligned" else 20)

Q = np.array([[2.0, -2.0, -2.0], [-2.0, 5.0, 4.0], [-2.0, 4.0, 5.0]])
harmed = condition_number(jacobi_precondition(Q))
print(f"harmed: κ = {condition_number(Q):.3g}, after scaling {harmed:.3g}")
assert np.allclose(np.linalg.eigvalsh(Q), [1, 1, 10])
assert 11.8 < harmed < 12

# %% [markdown]
r"""
**For data** $X$ with one example per row, least squares has $Q = X^\top X$, the *Gram matrix* of the
columns. With `gram=True`, the functions take $X$ itself, dense or sparse, without forming the
product; the diagonal is then the squared norm of each column. The airfoil data mix columns in hertz
and in meters:
"""

# %%
X, _ = airfoil()
raw = condition_number(X, gram=True)
scaled = condition_number(jacobi_precondition(X, gram=True), gram=True)
print(f"airfoil: κ = {raw:.2g} as measured, {scaled:.2g} after diagonal scaling")
assert scaled < 1e-9 * raw

# %% [markdown]
r"""
**For a table of your own**, replace the first line of the next cell, for example by
`own = np.loadtxt("mine.csv", delimiter=",", skiprows=1)`. Leave out columns of zeros. If columns are
linearly dependent, $\kappa$ is infinite.
"""

# %%
own = X

raw = condition_number(own, gram=True)
scaled = condition_number(jacobi_precondition(own, gram=True), gram=True)
print(f"κ = {raw:.2g} as measured, {scaled:.2g} after diagonal scaling")

# %% [markdown]
r"""
In such a model, the diagonal costs no more than a gradient. In a deep network it does, and AdaGrad
works without it. How it does is the subject of the [next page](3b_gradients_as_proxy.py).

## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.2.
- van der Sluis, "Condition numbers and equilibration of matrices", Numerische Mathematik 14
  (1969), on the best diagonal scaling.
- Nesterov, *Lectures on Convex Optimization*, second edition (2018), section 2.1, on the factor
  $(\kappa - 1) / (\kappa + 1)$.
- Polyak, "Some methods of speeding up the convergence of iteration methods" (1964), on momentum.
- Sagun et al., "Empirical Analysis of the Hessian of Over-Parametrized Neural Networks",
  arXiv:1706.04454 (2017).
- Golub and Van Loan, *Matrix Computations*, fourth edition (2013), sections 2.6, 4.2 and 8.3, on
  sensitivity and on the cost of solutions and eigenvectors.
"""
