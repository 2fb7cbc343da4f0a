# %% [markdown]
r"""
# The algorithm

AdaGrad keeps one number for each param, the sum of the squares of its gradients. Let $\ell$ be the
loss of an example $x_t$ with the label $y_t$, and $f$ the model. From $s_0 = 0$, step $t$ is

$$
\begin{aligned}
g_t &= \partial_w\, \ell(y_t, f(x_t, w_{t-1})), \\
s_t &= s_{t-1} + g_t^2, \\
w_t &= w_{t-1} - \frac{\eta}{\sqrt{s_t + \epsilon}} \cdot g_t.
\end{aligned}
$$

Squares, roots, quotients and products are those of single coordinates: $g^2$ has the entries
$g_i^2$. In NumPy, the last two lines are
"""

# %%
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

import adagrad
from adagrad.analysis import SGD, trace
from adagrad.plotting import descent_animation, loglog_figure
from adagrad.textbook import BOWL, BOWL_START, playground


def step(
    w: np.ndarray, g: np.ndarray, s: np.ndarray, lr: float, eps: float = 1e-6
) -> None:
    """Update params and accumulator in place."""
    s += g * g
    w -= (lr * g) / np.sqrt(s + eps)


# %% [markdown]
r"""
Three details matter.

- **The gradient is added before the division.** Hence $s_{t,i} \ge g_{t,i}^2$, and no coordinate
  ever moves by more than $\eta$ in a step.
- **$\epsilon$ prevents a division by 0**, where a coordinate has had no gradient yet. The textbook
  puts it under the root, and many libraries add it to the root. `Rule` has both.
- **$s$ is not a variance.** It is a sum, not a mean, and the mean gradient is not subtracted. If
  gradients have mean $\mu$ and variance $\sigma^2$, $s_t$ is about $t\,(\mu^2 + \sigma^2)$. Near a
  minimum $\mu$ vanishes, and $s_t / t$ does estimate the variance.

`adagrad.step` is the function above in one pass over memory, without temporaries. It computes in
the same order with the same roundings, so the results are equal, not only close.
"""

# %%
rng = np.random.default_rng(0)
w, s = rng.standard_normal(10_000), np.zeros(10_000)
other_w, other_s = w.copy(), s.copy()
for _ in range(50):
    g = rng.standard_normal(10_000)
    before = w.copy()
    step(w, g, s, lr=0.1)
    adagrad.step(other_w, g, other_s, lr=0.1)
    assert np.abs(w - before).max() <= 0.1
assert (w == other_w).all()
assert (s == other_s).all()

# %% [markdown]
r"""
## In two dimensions

The chapter descends the bowl

$$f(x) = 0.1\, x_1^2 + 2\, x_2^2$$

from $(-5, -2)$; in code, `BOWL` from `BOWL_START`. The gradient is $(0.2\, x_1, 4\, x_2)$: at equal
distances from the minimum, the bowl is twenty times as steep along $x_2$. The tables have every
number of the trace, before the first and after each of 20 steps, with the chapter's
$\epsilon = 10^{-6}$.
"""


# %%
def descend(
    gradient: Callable[[np.ndarray], np.ndarray],
    start: ArrayLike,
    lr: float,
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the params and the accumulators before the first and after each step."""
    w = np.array(start, dtype=np.float64)
    s = np.zeros_like(w)
    path, accumulators = [w.copy()], [s.copy()]
    for _ in range(steps):
        adagrad.step(w, gradient(w), s, lr)
        path.append(w.copy())
        accumulators.append(s.copy())
    return np.array(path), np.array(accumulators)


slow, slow_s = descend(BOWL.gradient, BOWL_START, lr=0.4, steps=20)
fast, fast_s = descend(BOWL.gradient, BOWL_START, lr=2.0, steps=20)
for lr, x, s in ((0.4, slow, slow_s), (2.0, fast, fast_s)):
    print(f"lr = {lr}\n t        x1        x2      s1       s2       f")
    for t, ((x1, x2), (s1, s2)) in enumerate(zip(x, s, strict=True)):
        print(f"{t:2}{x1:10.6f}{x2:10.6f}{s1:8.4f}{s2:9.4f}{BOWL((x1, x2)):8.1e}")

# %% [markdown]
r"""
The textbook prints the last points, $(-2.382563, -0.158591)$ and $(-0.002295, -0.000000)$.
"""

# %%
assert [f"{x:.6f}" for x in slow[20]] == ["-2.382563", "-0.158591"]
assert [f"{x:.6f}" for x in fast[20]] == ["-0.002295", "-0.000000"]

# %% mystnb={"image": {"alt": "Two descents over the contours of the bowl, step by step. With lr 0.4 the path curves and ends halfway along x1. With lr 2 the first step reaches x2 = 0, and the others follow that axis to the minimum."}}
descent_animation(
    BOWL, {"lr = 0.4": slow, "lr = 2": fast}, title="AdaGrad on the chapter's bowl"
)

# %% [markdown]
r"""
**The first step has length $\eta$ along both axes**, up to $\epsilon$, because $g / \sqrt{g^2}$ is ±1
whatever the slopes. This is preconditioning at work.

**With $\eta = 0.4$, 20 steps cannot reach the minimum.** As long as the gradient of a coordinate
does not grow, $s_t \ge t\, g_t^2$, and step $t$ is at most $\eta / \sqrt t$ long. All 20 together
are at most 3.04 long, and the way along $x_1$ is 5.

**With $\eta = 2$, $x_2$ is in luck.** Its first step ends at the minimum, because the start is as
far away as $\eta$. A large $\eta$ does no harm elsewhere either. A coordinate that steps too far
has a large gradient there, which slows it down. Gradient descent has no such brake. With
$\eta \ge 2 / \lambda_{\max} = 0.5$ it does not converge from any start with $x_2 \ne 0$.
"""

# %%
for x, lr in ((slow, 0.4), (fast, 2.0)):
    assert np.allclose(x[1] - x[0], lr, rtol=1e-5)
reach = 0.4 * np.sum(1 / np.sqrt(np.arange(1, 21)))
print(f"20 steps reach {reach:.2f}; x1 has moved {slow[20, 0] - slow[0, 0]:.2f}")
assert slow[20, 0] - slow[0, 0] < reach < 5
assert abs(fast[1, 1]) < 1e-7
unlucky, _ = descend(BOWL.gradient, (-5.0, -3.0), lr=2.0, steps=20)
print(f"from (-5, -3) with lr = 2: ({unlucky[20, 0]:.6f}, {unlucky[20, 1]:.6f})")
assert BOWL(unlucky[20]) < 1e-5

# %% [markdown]
r"""
**AdaGrad depends on the axes.** Rotate the bowl and the start by 45 degrees. To gradient descent
this makes no difference. But now the steep direction and the flat one have equal shares in both
coordinates, whose rates differ by less than a factor of two, and no rate suits both directions. [An
exercise](../exercises/2_rotated_objective.py) explains it.
"""

# %%
turn = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)
rotated = BOWL.rotated(np.pi / 4)
start = turn @ BOWL_START
rotated_slow, rotated_slow_s = descend(rotated.gradient, start, lr=0.4, steps=20)
rotated_fast, rotated_fast_s = descend(rotated.gradient, start, lr=2.0, steps=20)
for lr, x, s, other, other_s in (
    (0.4, slow, slow_s, rotated_slow, rotated_slow_s),
    (2.0, fast, fast_s, rotated_fast, rotated_fast_s),
):
    ratios = [np.sqrt(sums[20].max() / sums[20].min()) for sums in (s, other_s)]
    print(f"lr = {lr}: f = {BOWL(x[20]):.1e}, ratio of rates {ratios[0]:.1f}")
    print(f"  rotated: f = {rotated(other[20]):.1e}, ratio {ratios[1]:.1f}")
    assert np.isclose(BOWL(x[0]), rotated(other[0]))
    assert BOWL(x[20]) < rotated(other[20]) / 2
    assert ratios[1] < 2 < 4 < ratios[0]

# %% mystnb={"image": {"alt": "Two descents over the contours of the rotated bowl, step by step. Both first go diagonally across the valley. With lr 2 the path overshoots its floor, returns and follows it toward the minimum. With lr 0.4 it reaches the floor after 20 steps."}}
descent_animation(
    rotated,
    {"lr = 0.4": rotated_slow, "lr = 2": rotated_fast},
    title="The same bowl, rotated by 45 degrees",
)

# %% [markdown]
r"""
**Try other rates and angles.** The sliders choose them, and the table has the numbers of the step
that is shown. Which rate ends lowest with the axes aligned, and which at 45 degrees? At which angle
does gradient descent, at its best rate, overtake AdaGrad at its own?
"""

# %%
playground()

# %% [markdown]
r"""
The next cell answers: it prints the best of 61 rates at four angles. Gradient descent, whose rates
stay below its limit of 0.5, overtakes AdaGrad between 20 and 30 degrees.
"""

# %%
print("f after 20 steps at the best rate")
rates = np.geomspace(0.01, 10, 61)
for degrees in (0, 20, 30, 45):
    f = BOWL.rotated(np.radians(degrees))
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    start = np.array([[c, -s], [s, c]]) @ BOWL_START
    ends = [f(trace(adagrad.Rule(lr=lr), f, start, 20)[-1]) for lr in rates]
    best = rates[np.argmin(ends)]
    sgd = min(
        f(trace(SGD(lr), f, start, 20)[-1]) for lr in np.geomspace(0.01, 0.49, 61)
    )
    print(f"{degrees:2}°: AdaGrad {min(ends):.1e} (lr {best:.2f}), SGD {sgd:.1e}")
    assert (min(ends) < sgd) == (degrees <= 20)

# %% [markdown]
r"""
## How fast the rates fall

The rate of a coordinate is $\eta / \sqrt{s_t + \epsilon}$. Two cases differ.

**With noise, accumulators grow linearly.** Learn a linear model from single examples whose labels
have noise of variance $\sigma^2$. The loss is half the squared error. Gradients are large at first,
and become smaller as $w$ approaches the truth. But they do not vanish, because the noise stays.
Once $w$ is near the truth, the mean square of $g_i \approx -\text{noise} \cdot x_i$ is $\sigma^2$
times that of $x_i$, so that

$$
\begin{aligned}
s_{t,i} &\approx t\, \sigma^2\, \operatorname{E}\, x_i^2 = t\, \sigma^2 Q_{ii}, \\
\frac{\eta}{\sqrt{s_{t,i}}} &\approx \frac{\eta}{\sigma \sqrt{Q_{ii}}} \cdot \frac{1}{\sqrt t}.
\end{aligned}
$$

This is the classical schedule, scaled for each coordinate. $Q = \operatorname{E}\, x x^\top$ is the
matrix of second derivatives of the mean loss. The accumulators measure its diagonal, which
[preconditioning](3_preconditioning.py) needs; [the last page](3b_gradients_as_proxy.py) looks
closer. The large gradients of the start add a constant to $s$. Until it is outweighed, the growth
looks slower than linear. The program takes the mean of 30 runs.

**Without noise, they converge.** On the bowl, each coordinate descends a parabola
$h = \tfrac12 \lambda x^2$ of its own. Let $S_t = s_t + \epsilon$, so that $g_t^2 = S_t - S_{t-1}$. A
step of length $\eta\, |g_t| / \sqrt{S_t}$ changes $h$ to

$$h_t = h_{t-1} - \frac{\eta\, g_t^2}{\sqrt{S_t}} + \frac{\lambda \eta^2 g_t^2}{2 S_t} .$$

The fractions have the bounds

$$
\begin{aligned}
\frac{g_t^2}{\sqrt{S_t}} &\ge \frac{g_t^2}{\sqrt{S_t} + \sqrt{S_{t-1}}} \\
  &= \sqrt{S_t} - \sqrt{S_{t-1}} , \\
\frac{g_t^2}{S_t} &= 1 - \frac{S_{t-1}}{S_t} \le \log \frac{S_t}{S_{t-1}} ,
\end{aligned}
$$

the latter because $1 - u \le -\log u$. Add up all steps, with $h_t \ge 0$ and $S_0 = \epsilon$:

$$
\begin{aligned}
&\eta\, \bigl(\sqrt{S_t} - \sqrt\epsilon\bigr) \\
&\quad \le h_0 + \tfrac12 \lambda \eta^2 \log (S_t / \epsilon) .
\end{aligned}
$$

A root outgrows every logarithm, so $S_t$ is bounded. The sum of the squares is finite for *every*
$\eta$, the gradients tend to 0, and the rates settle at a constant. From then on AdaGrad is gradient
descent with one rate for each coordinate, and converges as fast as that: the distance to the minimum
shrinks by a nearly constant factor per step.
"""

# %%
scales = np.array([0.3, 1.0, 3.0])  # of the features
STEPS, RUNS = 20_000, 30


def noisy_gradient(w: np.ndarray) -> np.ndarray:
    """Return the gradients of half the squared errors of examples; the true weights are 1."""
    x = scales * rng.standard_normal(w.shape)
    error = np.sum(x * (w - 1), axis=1) - rng.standard_normal(len(w))
    return error[:, np.newaxis] * x


_, noisy_s = descend(noisy_gradient, np.zeros((RUNS, 3)), lr=0.4, steps=STEPS)
noisy_s = noisy_s.mean(axis=1)
early, late = np.arange(10, 1001), np.arange(STEPS // 10, STEPS + 1)
for i, scale in enumerate(scales):
    at_first, slope = (
        np.polyfit(np.log(part), np.log(noisy_s[part, i]), 1)[0]
        for part in (early, late)
    )
    print(f"scale {scale:g}: s ~ t^{at_first:.2f} at first, t^{slope:.2f} later")
    print(f"  s / t = {noisy_s[-1, i] / STEPS:.3f}, Q = {scale**2:.2f}")
    assert at_first < 0.9
    assert 0.95 < slope < 1.02
    assert np.isclose(noisy_s[-1, i] / STEPS, scale**2, rtol=0.1)

bowl, bowl_s = descend(BOWL.gradient, BOWL_START, lr=0.4, steps=STEPS)
rates = 0.4 / np.sqrt(bowl_s[-1] + 1e-6)
shrinkage = bowl[101] / bowl[100]
print(f"bowl: rates {rates}\n  distances shrink by {shrinkage}")
assert np.allclose(bowl_s[1000], bowl_s[-1], rtol=1e-6)
curvature, S = np.diag(BOWL.Q), bowl_s[-1] + 1e-6
bound = curvature / 2 * (np.square(BOWL_START) + 0.4**2 * np.log(S / 1e-6))
assert (0.4 * (np.sqrt(S) - 1e-3) <= bound).all()
assert np.allclose(shrinkage, 1 - rates * np.diag(BOWL.Q), rtol=1e-3)

# %% mystnb={"image": {"alt": "Accumulators against steps, with logarithmic axes. Those of three weights of the noisy regression approach lines of slope 1. That of the bowl is flat after ten steps."}}
shown = np.unique(np.geomspace(1, STEPS, 20).astype(int))
sums = {f"noise, scale {scale:g}": noisy_s[shown, i] for i, scale in enumerate(scales)}
sums["bowl, x₂"] = bowl_s[shown, 1]
loglog_figure(
    {name: (shown, s) for name, s in sums.items()},
    title="With noise, accumulators grow as t",
    xlabel="steps",
    ylabel="accumulator s",
    slopes={"slope 1": 1.0},
)

# %% mystnb={"image": {"alt": "Rates against steps, with logarithmic axes. Those of the noisy regression fall along lines of slope -1/2. That of the bowl is constant after ten steps."}}
loglog_figure(
    {name: (shown, 0.4 / np.sqrt(s + 1e-6)) for name, s in sums.items()},
    title="With noise, rates fall as 1/√t",
    xlabel="steps",
    ylabel="rate lr / √(s + eps)",
    slopes={"slope -1/2": -0.5},
)

# %% [markdown]
r"""
For convex problems with noise, a rate that falls as $t^{-1/2}$ is what theory asks for. For others
it can be too fast, and [exercise 6](../exercises/6_slower_decay.py) slows it down.

## What it costs

Stochastic gradient descent (SGD) is the step $w \leftarrow w - \eta g$. For each param, AdaGrad
needs in addition

- **memory** for one number, the accumulator: as much again as the params;
- **arithmetic**: a root, a division, a product and two sums;
- **memory traffic**: SGD reads $w$ and $g$ and writes $w$; AdaGrad also reads and writes $s$. These
  are five streams instead of three.

Processors divide and take roots while they wait for memory. So if the arrays do not fit into the
caches, the traffic should decide, and an AdaGrad step should take about $5/3$ of the time of an SGD
step. Where the arrays do fit, the root and the division show.

The next cell measures this on the machine that runs the page. `w -= g` is SGD with $\eta$ already
in the gradient, and the least that any rule must do. NumPy writes `w -= lr * g` in two passes, with
a temporary array between them, and AdaGrad in seven. All run in one thread, in single precision.
The fastest of nine runs counts, because other programs can only slow a run down. The printed ratios
are those of the largest arrays.
"""

# %%
Step = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


def numpy_sgd(w: np.ndarray, g: np.ndarray, s: np.ndarray) -> None:
    """Take a step of SGD as NumPy writes it."""
    w -= 1e-3 * g


def least_sgd(w: np.ndarray, g: np.ndarray, s: np.ndarray) -> None:
    """Take a step of SGD with the rate already in the gradient."""
    w -= g


steps_to_time: dict[str, Step] = {
    "adagrad.step": lambda w, g, s: adagrad.step(w, g, s, lr=1e-3, threads=1),
    "SGD, w -= g": least_sgd,
    "SGD in NumPy": numpy_sgd,
    "AdaGrad in NumPy": lambda w, g, s: step(w, g, s, lr=1e-3),
}
SIZES = 2 ** np.arange(11, 24, 2)
times = {name: np.empty((len(SIZES), 9)) for name in steps_to_time}
for i, size in enumerate(SIZES):
    w, g = rng.standard_normal((2, size)).astype(np.float32) * 1e-3
    s = np.ones(size, np.float32)
    calls = max(1, 2**16 // size)
    for repeat in range(9):
        for name, call in steps_to_time.items():
            start = time.perf_counter()
            for _ in range(calls):
                call(w, g, s)
            times[name][i, repeat] = (time.perf_counter() - start) / calls / size * 1e9

best = {name: ns.min(axis=1) for name, ns in times.items()}
print("time per param, and divided by that of SGD")
for name, ns in times.items():
    ratio = np.array([best[name][-1], np.median(ns[-1])]) / best["SGD, w -= g"][-1]
    print(f"{name:17}{best[name][-1]:5.2f} ns {ratio[0]:5.1f} (median {ratio[1]:.1f})")

# %% mystnb={"image": {"alt": "Nanoseconds per param against the number of params, with logarithmic axes, for adagrad.step, two forms of SGD and AdaGrad in NumPy. Small arrays cost more per param than middling ones, because a call has a fixed cost, and arrays larger than the caches cost more again. AdaGrad in NumPy is the slowest at every size."}}
loglog_figure(
    {name: (SIZES / 1000, ns) for name, ns in best.items()},
    title="Time of a step, the fastest of nine",
    xlabel="thousands of params",
    ylabel="nanoseconds per param",
)

# %% [markdown]
r"""
**The gradient costs more than the update.** For a linear model with $d$ params and ten examples per
step, it takes $40\,d$ operations and reads $10\,d$ numbers twice. The larger the batch, the less
the update matters.
"""

# %%
d = 200_000
X, y = rng.standard_normal((10, d)).astype(np.float32), np.ones(10, np.float32)
w, s = np.zeros(d, np.float32), np.zeros(d, np.float32)
gradient_times, update_times = [], []
for _ in range(15):
    start = time.perf_counter()
    g = (X @ w - y) @ X / np.float32(10)
    middle = time.perf_counter()
    adagrad.step(w, g, s, lr=1e-3, threads=1)
    gradient_times.append(middle - start)
    update_times.append(time.perf_counter() - middle)
gradient_time, update_time = min(gradient_times), min(update_times)
print(
    f"gradient {1e6 * gradient_time:.0f} µs, update {1e6 * update_time:.0f} µs:",
    end=" ",
)
print(f"{update_time / (gradient_time + update_time):.0%} of the step")

# %% [markdown]
r"""
## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.3.
- Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
  Optimization", JMLR 12 (2011), section 1.1.
"""
