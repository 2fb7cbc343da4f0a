# %% [markdown]
r"""
# Gradients as a proxy for curvature

The [last page](3_preconditioning.py) divides by the diagonal of the Hessian. AdaGrad does not
compute it. It divides by the size of the gradients, which it has anyway. This page asks what the
one has to do with the other: without noise and with noise, in theory, on a quadratic and on data of
your own.

## Second derivatives are out of reach

A model with $d$ params has a gradient of $d$ numbers, and a Hessian of $d^2$.
"""

# %%
import math

import numpy as np

import adagrad
from adagrad.analysis import (
    SGD,
    Quadratic,
    condition_number,
    gradient_scales,
    power_law,
    trace,
)
from adagrad.datasets import airfoil
from adagrad.plotting import loglog_figure

for name, d in (
    ("the airfoil regression", 6),
    ("LeNet", 61_706),
    ("ResNet-50", 25_557_032),
):
    print(f"{name}: gradient {4 * d:,} bytes, Hessian {4 * d**2:,} bytes")
assert 4 * 25_557_032**2 > 2.6e15

# %% [markdown]
r"""
The Hessian of a network of 25 million params takes 2.6 petabytes in single precision. The diagonal
alone has only $d$ entries, but in general no cheap way leads to them. What *is* cheap is the product
$Hv$ with a vector. It costs about two gradients, for example by their difference,

$$H v \approx \frac{\nabla f(x + h v) - \nabla f(x - h v)}{2h} .$$

The $d$ unit vectors give the diagonal with $d$ such products. Random signs give an estimate with
fewer: if the entries of $v$ are independent and $\pm 1$ with equal chance, then
$\operatorname{E} v_i (Hv)_i = H_{ii}$, because $v_i^2 = 1$ and $\operatorname{E} v_i v_j = 0$ for
$j \ne i$. The variance of one such $v_i (Hv)_i$ is $\sum_{j \ne i} H_{ij}^2$. Here is the estimate
for a logistic loss:
"""

# %%
rng = np.random.default_rng(0)
d = 20
features = rng.standard_normal((400, d)) + 0.5 * rng.standard_normal((400, 1))
signed = features * rng.choice([-1.0, 1.0], 400)[:, None]


def gradient(w):
    return -(1 / (1 + np.exp(signed @ w))) @ signed / 400


w, h = np.zeros(d), 1e-4
H = signed.T @ signed / (4 * 400)  # at w = 0, where every chance is 1/2
deviation = np.sqrt(
    np.sum(H**2) - np.sum(np.diag(H) ** 2)
)  # of one product, all entries together


def estimate(samples):
    signs = rng.choice([-1.0, 1.0], (samples, d))
    products = [(gradient(w + h * v) - gradient(w - h * v)) / (2 * h) for v in signs]
    return np.mean(signs * products, axis=0)


samples = np.array([1, 4, 16, 64, 256])
errors = []
for k in samples:
    squares = [np.sum((estimate(k) - np.diag(H)) ** 2) for _ in range(40)]
    errors.append(np.sqrt(np.mean(squares)))
    assert abs(errors[-1] * math.sqrt(k) / deviation - 1) < 0.3
relative = np.array(errors) / np.linalg.norm(np.diag(H))
print(f"{samples[-1]} products, or {2 * samples[-1]} gradients: {relative[-1]:.0%} off")

# %% mystnb={"image": {"alt": "On logarithmic axes, the relative error of the estimated diagonal falls with the number of products along a line of slope minus one half."}}
loglog_figure(
    {"logistic loss, d = 20": (samples, relative)},
    title="Estimates of the diagonal by random signs",
    xlabel="Hessian-vector products",
    ylabel="relative error",
    slopes={"power -1/2": -0.5},
)

# %% [markdown]
r"""
Optimizers such as AdaHessian average such estimates over the steps, and pay for them. AdaGrad pays
nothing.

## Without noise: curvature times distance

In the eigenbasis of a quadratic with the minimizer $x^*$, the gradient is

$$\nabla \bar f(\bar x) = \Lambda \bar x + \bar c = \Lambda\, (\bar x - \bar x^*) .$$

Its entries have the ratios of the curvatures if all coordinates are *equally far* from the minimum.
The chapter asks only that $\bar x - \bar x^*$ does not change. That is not enough: a flat coordinate
that stays far away looks steep.
"""

# %%
f = Quadratic(np.diag([1.0, 100.0]))
x = np.array([1000.0, 1.0])  # minus the minimizer, 0
print("curvature", np.diag(f.Q), "gradient", f.gradient(x))
assert f.gradient(x).tolist() == [1000.0, 100.0]

curvatures = np.geomspace(0.01, 100, 9)
Q = np.diag(curvatures)
near = gradient_scales(Q, starts=np.ones(9))
far = gradient_scales(Q, starts=1 / curvatures)
spread = gradient_scales(Q, starts=10 ** rng.uniform(-1, 1, 9))
assert np.allclose(near.signal, curvatures)
assert np.allclose(far.signal, 1)
print(
    f"random distances: correlation {power_law(curvatures, spread.signal).correlation:.2f}"
)

# %% mystnb={"image": {"alt": "Gradient against curvature on logarithmic axes. With equal distances the points are on the line of slope 1, with distances that are inversely proportional to the curvature they are on a horizontal line, and with random distances they scatter around the first line."}}
loglog_figure(
    {
        "equal distances": (curvatures, near.signal),
        "distances 1 / curvature": (curvatures, far.signal),
        "random distances": (curvatures, spread.signal),
    },
    title="The gradient without noise",
    xlabel="curvature of the coordinate",
    ylabel="size of the gradient",
    lines=False,
)

# %% [markdown]
r"""
The second case is not contrived. A descent soon arrives along steep coordinates, and is still far
from the minimum along flat ones. The flattest then has the largest gradient of all:
"""

# %%
late = trace(SGD(1 / 200), Quadratic(Q), np.ones(9), 20_000)[-1]
assert np.argmax(Q @ late) == 0
print("gradients late in a descent, from flat to steep", (Q @ late).round(4))

# %% [markdown]
r"""
What does AdaGrad make of such gradients? On a quadratic with a positive diagonal $Q$ and without
`eps`, the curvature cancels. With the distance $\delta_t$ to go at step $t$, a coordinate moves by

$$
\frac{\eta\, \lambda \delta_t}{\sqrt{\sum_{r \le t} \lambda^2 \delta_r^2}}
= \frac{\eta\, \delta_t}{\sqrt{\sum_{r \le t} \delta_r^2}} ,
$$

whatever $\lambda$ is: from the same start to the same minimizer, the path is *the same* for all such
matrices. But the formula shows the price as well. The first step has the length $\eta$, whether the
minimum is near or far, and later steps are shorter. While $\delta$ falls from $D$ to $D/2$, step $t$
is between $\tfrac12 \eta / \sqrt t$ and $\eta / \sqrt t$ long, and $t$ such steps together are
between about $\eta \sqrt t$ and $2 \eta \sqrt t$. So half of a long way takes between
$\tfrac1{16} (D/\eta)^2$ and $\tfrac14 (D/\eta)^2$ steps: their number grows as the square of the
distance.
"""

# %%
rule = adagrad.Rule(lr=1.0, eps=0.0)
start = np.full(9, -3.0)
path = trace(rule, Quadratic(Q), start, 30)
assert np.allclose(path, path[:, :1])  # all curvatures from 0.01 to 100: one path

steps = {}
for distance in (1.0, 10.0, 100.0):
    way = trace(rule, Quadratic([[1.0]]), [distance], 20_000)[:, 0]
    steps[distance] = int(np.argmax(np.abs(way) < distance / 2))
    print(f"steps for half of the distance {distance:g}: {steps[distance]:,}")
    if distance > 1:  # where rounding to whole steps does not matter
        assert distance**2 / 16 < steps[distance] < distance**2 / 4
assert steps[100.0] > 50 * steps[10.0] > 500 * steps[1.0]

# %% [markdown]
r"""
## With noise: the variance knows the curvature

AdaGrad sees the gradients of single examples or small batches. At the minimizer, their mean is zero,
and the distance no longer plays a part. What is left is noise. Take least squares, with the mean of
half the squared residuals as the loss: an example with the features $x$ and the residual $r$ has the
gradient $-r x$, and $Q = \operatorname{E} x x^\top$. If the residuals have mean 0 and variance
$\sigma^2$ and are independent of the features,

$$
\begin{aligned}
\operatorname{Cov} g &= \sigma^2 \operatorname{E} x x^\top = \sigma^2 Q \\
\operatorname{Var} g_i &= \sigma^2 Q_{ii}
\end{aligned}
$$

This is no accident of least squares. Let the loss be $\ell_w = -\log p_w$, where $p_w$ is the
density of the data in a model with the params $w$. Differentiate $\int p_w = 1$ once and twice under
the integral, with $\nabla p_w = -p_w \nabla \ell_w$. If the data come from the model, the integrals
are expectations:

$$
\begin{aligned}
0 &= \operatorname{E} \nabla \ell_w , \\
0 &= \operatorname{E} \left[ \nabla \ell_w \nabla \ell_w^\top - \nabla^2 \ell_w \right] .
\end{aligned}
$$

So the gradients have mean 0 at the true params, and their covariance (Fisher's information) *equals*
the expected Hessian. The variance of a coordinate's gradient is its curvature. For a logistic
regression:
"""


# %%
def variance_over_curvature(X, y):
    """Fit a logistic regression; return Var(g_i) / H_ii at its minimizer, for each i."""
    w = np.zeros(X.shape[1])
    for _ in range(12):  # Newton's method
        p = 1 / (1 + np.exp(-(X @ w)))
        H = (X.T * (p * (1 - p))) @ X
        w = w - np.linalg.solve(H, X.T @ (p - y))
    return ((p - y)[:, None] * X).var(axis=0) / (np.diag(H) / len(X))


units = np.geomspace(0.03, 30, 6)
X = rng.standard_normal((50_000, 6)) * units
logits = 0.5 * X @ (rng.standard_normal(6) / units)
models = {
    "labels of the model": 1 / (1 + np.exp(-logits)),
    "labels of another": 0.5 + 0.4 * np.sign(logits),
}
ratios = {}
for name, chance in models.items():
    ratios[name] = variance_over_curvature(
        X, (rng.random(len(X)) < chance).astype(float)
    )
    print(f"{name}: variance over curvature", ratios[name].round(2))
assert np.abs(ratios["labels of the model"] - 1).max() < 0.05
assert np.abs(ratios["labels of another"] - 1).max() > 0.1
assert 0.5 < ratios["labels of another"].min() < ratios["labels of another"].max() < 2

# %% [markdown]
r"""
The curvatures differ by a factor of a million here. If the labels do not come from the model, the
ratio is no longer 1, but the *scale* of the curvature is still there. It is a proxy, not a theorem.

## The experiment, on your own quadratic

`gradient_scales` takes a matrix $Q$ and measures for each coordinate the curvature $Q_{ii}$, the
size of the gradient without noise at standard normal distances from the minimizer, and the standard
deviation of noisy gradients at the minimizer. These functions print and draw the result:
"""


# %%
def report(scales):
    if np.ptp(scales.curvature) < 1e-9 * scales.curvature.max():
        print("the curvatures are equal")
        return
    for name in ("signal", "noise"):
        sizes = getattr(scales, name)
        if sizes.min() == 0:
            print(f"{name:6} is 0 for some coordinates")
            continue
        power, correlation = power_law(scales.curvature, sizes)
        print(f"{name:6} ~ curvature^{power:.2f}, correlation {correlation:.3f}")


def draw(scales, title):
    sizes = {
        "noise at the minimizer": scales.noise,
        "no noise, from afar": scales.signal,
    }
    return loglog_figure(
        {name: (scales.curvature, size) for name, size in sizes.items() if size.any()},
        title=title,
        xlabel="curvature of the coordinate",
        ylabel="size of the gradient",
        slopes={"power 1/2": 0.5, "power 1": 1.0},
        lines=False,
    )


# %% [markdown]
r"""
The correlation is that of the logarithms. Replace the first line of the next cell by a positive
definite matrix of your own, such as `own = [[2.0, 1.0], [1.0, 3.0]]`, and run it and the one after it.
"""

# %%
own = np.diag(np.geomspace(0.01, 100, 12))

scales = gradient_scales(own, samples=20_000)
report(scales)
assert np.allclose(scales.signal, np.linalg.norm(own, axis=1), rtol=0.1)
assert np.allclose(scales.noise, np.sqrt(np.diag(own)), rtol=0.1)

# %% mystnb={"image": {"alt": "The size of the gradient against the curvature on logarithmic axes: with noise along the line of slope one half, without noise along a line of slope one."}}
draw(scales, "Two proxies for the curvature")

# %% [markdown]
r"""
Without noise, the size of a gradient follows the curvature itself here; with noise, its root. A batch
of $m$ examples divides all variances by $m$, and changes no ratio.

Two warnings. First, where the noise comes from matters. Above, an example is a residual times its
features, as in regression. If instead each example has a *minimizer* of its own, scattered about the
common one by a random $\xi$, its gradient at $x^*$ is $-Q \xi$. For a diagonal $Q$ and a scatter
equally wide along all coordinates, the deviation is proportional to $Q_{ii}$ itself.

Second, without a diagonal $Q$, a gradient at a distance mixes the coordinates. At standard normal
distances, $\sum_j Q_{ij}^2$ is its mean square, and one steep coordinate shows in all that are
correlated with it. The noise does not mix: $\operatorname{Var} g_i = \sigma^2 Q_{ii}$ holds in every
basis.
"""

# %%
Q = np.diag(np.geomspace(0.01, 100, 12))
scattered = gradient_scales(Q, noise="minimizers", samples=20_000)
assert math.isclose(
    power_law(scattered.curvature, scattered.noise).power, 1.0, abs_tol=0.02
)

roots = np.sqrt(np.diag(Q))
correlated = 0.5 * (np.diag(roots**2) + np.outer(roots, roots))
scales = gradient_scales(correlated, samples=20_000)
report(scales)
assert power_law(scales.curvature, scales.signal).power < 0.7
assert math.isclose(power_law(scales.curvature, scales.noise).power, 0.5, abs_tol=0.02)

# %% [markdown]
r"""
**On data.** With `gram=True`, the function takes the features and the targets of a least-squares
problem: the noise is then that of the gradients of the examples. The airfoil data, in their own
units and with a column of ones for the intercept, are an example. For data of your own, replace the
first line, for example by these two, for a file whose last column has the targets:

```python
table = np.loadtxt("mine.csv", delimiter=",", skiprows=1)
X, y = table[:, :-1], table[:, -1]
```

Run the cell and the picture after it. Data that a linear model fits exactly have no noise.
"""

# %%
X, y = airfoil()
X = np.column_stack([X, np.ones(len(X))])
scales = gradient_scales(X, y, gram=True)
report(scales)
ratio = scales.noise / np.sqrt(scales.curvature)
print("noise over the root of the curvature:", ratio.round(2))
# %% mystnb={"image": {"alt": "Airfoil data: over eleven decades of curvature, the noise of the gradients lies close to the line of slope one half. The gradients without noise do as well, because the columns are correlated."}}
draw(scales, "The airfoil data")

# %%
assert power_law(scales.curvature, scales.noise).correlation > 0.99
assert ratio.max() < 2 * ratio.min()
assert round(math.log10(scales.curvature.max() / scales.curvature.min())) == 11

# %% [markdown]
r"""
The curvatures of the airfoil data span eleven decades. The ratios of the noise to their roots differ
by less than a factor of 2. With residuals independent of the features, they would be nearly equal.

## What AdaGrad divides by

AdaGrad's $s_i$ is a sum of squares. Near the minimum, $s_i \approx \sigma^2 Q_{ii}\, t$ after $t$
steps: the *variance* is proportional to the curvature, and AdaGrad divides by its root. Here are
its accumulators after a regression whose features have curvatures from 0.01 to 100:
"""

# %%
rng = np.random.default_rng(1)
curvatures = np.geomspace(0.01, 100, 9)
truth, steps = np.ones(9), 20_000
optimizer = adagrad.Adagrad(np.zeros(9), lr=0.5)
(w,) = optimizer.params
for _ in range(steps):
    x = rng.standard_normal(9) * np.sqrt(curvatures)
    residual = x @ (w - truth) + rng.standard_normal()
    optimizer.step([residual * x])
divisor = np.sqrt(optimizer.accumulators[0] / steps)
fit = power_law(curvatures, divisor)
print(
    f"√(s/t) ~ curvature^{fit.power:.3f}; over the root",
    (divisor / np.sqrt(curvatures)).round(2),
)
assert math.isclose(fit.power, 0.5, abs_tol=0.02)
assert (np.abs(divisor / np.sqrt(curvatures) - 1) < 0.2).all()

# %% mystnb={"image": {"alt": "AdaGrad's root of s over t against the curvature on logarithmic axes: the points lie on the line of slope one half."}}
loglog_figure(
    {"AdaGrad, √(s / t)": (curvatures, divisor)},
    title="What AdaGrad divides by, over √t",
    xlabel="curvature of the coordinate",
    ylabel="√(s / t)",
    slopes={"power 1/2": 0.5, "power 1": 1.0},
    lines=False,
)

# %% [markdown]
r"""
The rates are $\eta / (\sigma \sqrt{Q_{ii}\, t})$: they fall like $t^{-1/2}$, and the gradient is
multiplied by $\operatorname{diag}(Q)^{-1/2}$.

This is *half* of Jacobi's preconditioner, although its formula has the same power. There, the
matrix $\operatorname{diag}(Q)^{-1/2}$ is on both sides of $Q$, so that the gradient is multiplied by
$\operatorname{diag}(Q)^{-1}$. A descent that multiplies it by $\operatorname{diag}(Q)^{-p}$ is plain
gradient descent in the coordinates $z_i = Q_{ii}^{p/2} x_i$. For a diagonal $Q$, the condition number
there is $\kappa^{1-p}$:
"""

# %%
diagonal = np.mean(X**2, axis=0)
print("power   diagonal Q   airfoil")
for p in (0.0, 0.25, 0.5, 0.75, 1.0):
    simple = condition_number(Quadratic(Q).in_coordinates(np.diag(Q) ** (p / 2)).Q)
    data = condition_number(X / diagonal ** (p / 2), gram=True)
    print(f"{p:5.2f} {simple:12,.0f} {data:9.2g}")
    assert math.isclose(simple, 1e4 ** (1 - p), rel_tol=1e-6)

# %% [markdown]
r"""
Why only half? Units tell. If a feature is measured in units that make its numbers $a$ times as large,
its gradients are $a$ times as large, its curvature $a^2$ times, and its weight has $1/a$ of the way
to go. The step of Jacobi or Newton becomes $1/a$ times as long, as it should. AdaGrad's step,
$\eta\, g / \sqrt{s}$, stays the same: it does not see the gradient's units, but $\eta$ has those of
the params.

And noise is a reason not to go further. Let step $r$ have a convex loss $f_r$, with the gradient
$g_r$ at $w_r$. With a constant rate $\eta_i$ for each coordinate and the distance $D_i$ from the
start to the minimizer $w^*$ of the mean loss, the excess loss $f_r(w_r) - f_r(w^*)$, summed over $t$
steps, is at most

$$
\sum_i \left( \frac{D_i^2}{2 \eta_i} + \frac{\eta_i}{2} \sum_{r \le t} g_{r,i}^2 \right) .
$$

The proof looks at the squared distance $(w_i - w^*_i)^2$. A step changes it by
$-2 \eta_i\, g_i (w_i - w^*_i) + \eta_i^2 g_i^2$. It starts at $D_i^2$ and is never negative, so over
all steps

$$
\begin{aligned}
&\sum_{r \le t} g_{r,i} (w_{r,i} - w^*_i) \\
&\quad \le \frac{D_i^2}{2 \eta_i} + \frac{\eta_i}{2} \sum_{r \le t} g_{r,i}^2 .
\end{aligned}
$$

A convex function lies above its tangents: $f_r(w_r) - f_r(w^*) \le g_r^\top (w_r - w^*)$. Add up the
coordinates. ∎

With $s_i$ for the sum of squares, the bound is smallest at $\eta_i = D_i / \sqrt{s_i}$. This is
AdaGrad's rate after the last step if all coordinates have equally far to go. No curvature is in the
bound, only gradients. AdaGrad, which knows $s_i$ only as it grows, attains the smallest bound up to a
constant factor if the iterates stay bounded (Duchi et al.).

So the chapter's proxy is two proxies. Far from the minimum, where the signal dominates, $\sqrt{s_i}$
follows the curvature times the distance. Near it, where noise dominates, it follows the root of the
curvature. In both cases, coordinates with large gradients get small rates, and a sum of squares is
all that it takes.

None of this helps if the valley lies [between the axes](../exercises/2_rotated_objective.py).

## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.2.
- Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
  Optimization", JMLR 12 (2011).
- McMahan and Streeter, "Adaptive Bound Optimization for Online Convex Optimization", COLT 2010, on
  the best rate for each coordinate.
- Amari, "Natural Gradient Works Efficiently in Learning", Neural Computation 10 (1998), on Fisher's
  information.
- Kunstner, Balles and Hennig, "Limitations of the Empirical Fisher Approximation for Natural
  Gradient Descent", NeurIPS 2019, on what squared gradients say of curvature, and what not.
- Bekas, Kokiopoulou and Saad, "An estimator for the diagonal of a matrix", Applied Numerical
  Mathematics 57 (2007).
- Pearlmutter, "Fast Exact Multiplication by the Hessian", Neural Computation 6 (1994).
- Yao et al., "ADAHESSIAN: An Adaptive Second Order Optimizer for Machine Learning", AAAI 2021.
- Zeiler, "ADADELTA: an adaptive learning rate method", arXiv:1212.5701 (2012), on units.
"""
