# %% [markdown]
r"""
# 6. Less aggressive decay

**The exercise.** How can AdaGrad be changed such that its learning rate decays less aggressively?

## Four changes

The rate of a coordinate is $\eta / \sqrt{s}$, where $s$ sums the squares of *all* gradients so far.
To see the decay alone, let every gradient have the size $|g| = 1$, and let $\epsilon = 0$. Then
$s_t = t$ after $t$ steps, and the rate is $\eta\, t^{-1/2}$. The exponent, the sum or its start can
be changed:

| change | rate after $t$ steps | falls to |
|---|---|---|
| none | $\eta\, t^{-1/2}$ | $0$ |
| a smaller power $p$ | $\eta\, t^{-p}$ | $0$ |
| forgetting, factor $a$ | $\eta\, \sqrt{\frac{1 - a}{1 - a^t}}$ | $\eta\, \sqrt{1 - a}$ |
| a window of $W$ steps | $\eta / \sqrt{\min(t, W)}$ | $\eta / \sqrt{W}$ |
| a larger start $s_0$ | $\eta / \sqrt{s_0 + t}$ | $0$ |

**A smaller power** divides by $s^p$ with $0 < p < 1/2$, which is `Rule(power=p)`. With $s_t = t$, the
rate is $\eta\, t^{-p}$. It falls more slowly forever.

**Forgetting** multiplies the old sum by a factor $0 < a < 1$ before it adds the new square:
$s_t = a\, s_{t-1} + g_t^2$, which is `Rule(accumulator_decay=a)`. With $|g| = 1$ and $s_0 = 0$ it
is a geometric sum,

$$s_t = 1 + a + \dots + a^{t-1} = \frac{1 - a^t}{1 - a} .$$

It tends to $1 / (1 - a)$, so the rate stops falling after about $1 / (1 - a)$ steps. This is the
idea of RMSProp, and of the second moment in Adam, which multiply the new square by $1 - a$ so that
$s$ is a mean instead of a sum. It needs no additional memory.

**A window** sums the last $W$ squares only. The rate stops falling after $W$ steps. This needs $W$
arrays, which is why the library does not have it.

**A larger start**, `Rule(initial_accumulator=s0)`, only delays the decay: after $s_0$ steps, the
rate is about $1 / \sqrt 2$ of the first one. Long after, it is that of AdaGrad, because
$\sqrt{t / (s_0 + t)} \to 1$.
"""

# %%
import math
from collections.abc import Callable

import numpy as np

import adagrad
from adagrad.analysis import RMSProp, trace
from adagrad.plotting import loglog_figure, loss_figure
from adagrad.textbook import BOWL, BOWL_START


class Window:
    """AdaGrad with the sum of only the last squares."""

    def __init__(self, width: int, lr: float, shape: tuple[int, ...]) -> None:
        self.squares, self.sum = np.zeros((width, *shape)), np.zeros(shape)
        self.lr, self.t = lr, 0

    def step(self, w: np.ndarray, g: np.ndarray) -> None:
        """Update w in place."""
        oldest = self.squares[self.t % len(self.squares)]
        self.sum += g * g - oldest
        oldest[...] = g * g
        self.t += 1
        w -= self.lr * g / np.sqrt(self.sum + 1e-6)


class Kernel:
    """A rule of the library, with its accumulator."""

    def __init__(self, shape: tuple[int, ...], **fields: float) -> None:
        self.rule = adagrad.Rule(**fields)
        self.s = np.full(shape, self.rule.initial_accumulator)

    def step(self, w: np.ndarray, g: np.ndarray) -> None:
        """Update w in place."""
        adagrad.step(w, g, self.s, self.rule)


Way = Callable[[float, tuple[int, ...]], Window | Kernel]
WAYS: dict[str, Way] = {
    "AdaGrad": lambda lr, shape: Kernel(shape, lr=lr),
    "power 1/4": lambda lr, shape: Kernel(shape, lr=lr, power=0.25),
    "decay 0.999": lambda lr, shape: Kernel(shape, lr=lr, accumulator_decay=0.999),
    "decay 0.99": lambda lr, shape: Kernel(shape, lr=lr, accumulator_decay=0.99),
    "window of 1000": lambda lr, shape: Window(1000, lr, shape),
    "start at 1000": lambda lr, shape: Kernel(shape, lr=lr, initial_accumulator=1000.0),
}

# %% [markdown]
r"""
**Check of every row**, with gradients of 1, for which the length of a step is the rate. Each rate
is compared with its formula in all of 5,000 steps.
"""

# %%
EXPECTED = {
    "AdaGrad": lambda t: t**-0.5,
    "power 1/4": lambda t: t**-0.25,
    "decay 0.999": lambda t: math.sqrt((1 - 0.999) / (1 - 0.999**t)),
    "decay 0.99": lambda t: math.sqrt((1 - 0.99) / (1 - 0.99**t)),
    "window of 1000": lambda t: min(t, 1000) ** -0.5,
    "start at 1000": lambda t: (1000 + t) ** -0.5,
}
STEPS, rates = 5000, {}
for name, way in WAYS.items():
    w, g = np.zeros(1), np.ones(1)
    optimizer, rates[name] = way(1.0, (1,)), []
    for t in range(1, STEPS + 1):
        before = w[0]
        optimizer.step(w, g)
        rates[name].append(before - w[0])
        assert np.isclose(rates[name][-1], EXPECTED[name](t), rtol=1e-5)

print("rate after        1       10      100     1000     5000 steps")
for name, found in rates.items():
    print(
        f"{name:14}",
        " ".join(f"{found[t - 1]:8.4f}" for t in (1, 10, 100, 1000, STEPS)),
    )
assert np.isclose(rates["decay 0.99"][-1], math.sqrt(1 - 0.99))
assert np.isclose(rates["window of 1000"][-1], 1000**-0.5)
assert np.isclose(
    rates["start at 1000"][999] / rates["start at 1000"][0], 0.5**0.5, rtol=1e-3
)
shares = {name: found[-1] / found[0] for name, found in rates.items()}
assert min(shares, key=shares.__getitem__) == "AdaGrad"  # all others decay less

# %% mystnb={"image": {"alt": "Learning rates against steps, on logarithmic axes, for AdaGrad and five changes. AdaGrad is a straight line and falls furthest, the smaller power a line of half its slope. Forgetting and the window follow AdaGrad and then level off. The larger start is level at first and then follows AdaGrad."}}
chosen = np.unique(np.geomspace(1, STEPS, 25).round().astype(int))
loglog_figure(
    {name: (chosen, np.array(found)[chosen - 1]) for name, found in rates.items()},
    title="Rates for gradients of size 1",
    xlabel="steps",
    ylabel="rate, for lr = 1",
)

# %% [markdown]
r"""
**RMSProp is forgetting in other units.** With $a$ for its decay and $r = \sqrt{1 - a}$, it takes
the same path as our rule with the rate $\eta / r$ and the constant $\epsilon / r^2$, up to
rounding.
"""

# %%
a = 0.9
r = math.sqrt(1 - a)
rule = adagrad.Rule(lr=0.1 / r, eps=1e-6 / r**2, accumulator_decay=a)
ours, theirs = (
    trace(each, BOWL, BOWL_START, 50) for each in (rule, RMSProp(lr=0.1, decay=a))
)
print(f"largest difference of the paths: {np.abs(ours - theirs).max():.1g}")
assert np.allclose(ours, theirs, rtol=1e-10, atol=1e-12)

# %% [markdown]
r"""
## What each change costs

**The scale.** If all gradients are multiplied by $c > 0$, AdaGrad's steps stay as they are, because
$g$ and $\sqrt s$ both grow by $c$. Forgetting and the window keep this property. A smaller power
loses it: a step is multiplied by $c / c^{2p} = c^{1 - 2p}$. A larger start loses it too, because
$s_0$ is a size to which gradients are compared. Then `lr` depends on the units of the loss.
"""

# %%
rng = np.random.default_rng(0)
gradients = rng.standard_normal((50, 8))


def walk(c: float, **fields: float) -> np.ndarray:
    """Return the sum of 50 steps with gradients that are multiplied by c."""
    w, kernel = np.zeros(8), Kernel((8,), lr=0.1, eps=0.0, **fields)
    for g in gradients:
        kernel.step(w, c * g)
    return w


for fields in ({}, {"accumulator_decay": 0.9}):
    assert (walk(16.0, **fields) == walk(1.0, **fields)).all()  # not a bit differs
assert np.allclose(walk(16.0, power=0.25), 16 ** (1 - 2 * 0.25) * walk(1.0, power=0.25))
assert not np.allclose(
    walk(16.0, initial_accumulator=10.0), walk(1.0, initial_accumulator=10.0)
)

# %% [markdown]
r"""
**The noise.** A small rate averages the noise of the gradients out; a rate that does not fall never
does. A large rate follows a truth that changes. We measure both on streams of 3,000 examples of a
linear regression with 20 features and noise of variance 0.09. After half of the examples, new true
weights are drawn. Every example is predicted before it is learned. Each method uses the one of nine
rates that gives the smallest mean error over the whole of eight streams.
"""

# %%
STREAMS, EXAMPLES, D, NOISE = 8, 3000, 20, 0.3
HALF = EXAMPLES // 2
rng = np.random.default_rng(1)
truths = rng.standard_normal((2, STREAMS, D))
x = rng.standard_normal((EXAMPLES, STREAMS, D))
y = rng.normal(0, NOISE, (EXAMPLES, STREAMS))
for part, truth in zip((slice(HALF), slice(HALF, None)), truths, strict=True):
    y[part] += (x[part] * truth).sum(axis=-1)


def losses(way: Way, lr: float) -> np.ndarray:
    """Return the squared errors, as means over the streams: [examples]."""
    w, optimizer = np.zeros((STREAMS, D)), way(lr, (STREAMS, D))
    errors = np.empty((EXAMPLES, STREAMS))
    for i in range(EXAMPLES):
        errors[i] = (x[i] * w).sum(axis=-1) - y[i]
        optimizer.step(w, errors[i][:, np.newaxis] * x[i])
    return (errors**2).mean(axis=1)


def total(loss: np.ndarray) -> float:
    """Return the mean, infinite for a diverging run."""
    return float(np.nan_to_num(loss.mean(), nan=np.inf))


best = {}
print("mean squared error  best lr     all  300 after  last 300")
with np.errstate(over="ignore", invalid="ignore"):
    for name, way in WAYS.items():
        runs = {lr: losses(way, lr) for lr in np.geomspace(0.05, 5, 9)}
        lr = min(runs, key=lambda lr: total(runs[lr]))
        best[name] = runs[lr]
        parts = [
            part.mean() for part in (runs[lr], runs[lr][HALF:][:300], runs[lr][-300:])
        ]
        print(f"{name:18}{lr:9.2f}", "{:7.3f}{:11.2f}{:10.3f}".format(*parts))

# %% [markdown]
r"""
The picture shows the errors over time. The peak is the change of the truth.
"""

# %% mystnb={"image": {"alt": "The mean squared error of six methods against examples, on a logarithmic axis. All fall, jump when the truth changes after 1,500 examples, and fall again. At the end AdaGrad is lowest, close to the noise of 0.09, and the methods that forget remain above it, the one with decay 0.99 furthest."}}
width = 100
loss_figure(
    {
        name: (
            np.arange(width, EXAMPLES + 1),
            np.convolve(loss, np.full(width, 1 / width), mode="valid"),
        )
        for name, loss in best.items()
    },
    title="The truth changes after 1,500 examples",
    ylabel="squared error, mean of 100",
    reference=("noise", NOISE**2),
)

# %%
everything = {name: loss.mean() for name, loss in best.items()}
after = {name: loss[HALF:][:300].mean() for name, loss in best.items()}
end = {name: loss[-300:].mean() for name, loss in best.items()}
for name in ("power 1/4", "decay 0.999", "window of 1000", "start at 1000"):
    assert everything[name] < everything["AdaGrad"]
for name in ("power 1/4", "decay 0.999", "start at 1000"):
    assert after[name] < 0.9 * after["AdaGrad"]
assert min(end, key=end.__getitem__) == "AdaGrad"
assert end["power 1/4"] < 1.2 * end["AdaGrad"] < end["decay 0.999"]
assert everything["decay 0.99"] > everything["AdaGrad"]
assert end["decay 0.99"] > 3 * end["AdaGrad"]

# %% [markdown]
r"""
On these streams, four of the changes beat AdaGrad over the whole stream. Three of them recover
clearly sooner from the change; the window gains later. All of them pay for it: when nothing changes
any more, AdaGrad averages the noise out best. A smaller power loses little at the end. A memory
that is too short costs more than it gains: with a decay of 0.99, which remembers about 100
examples, the error remains a multiple of the noise, and the whole stream is worse than with
AdaGrad.

So change the decay if the truth changes, and choose a memory about as long as the truth holds. For
tables on long streams, `Table.decay(gamma, floor)` forgets between steps, whenever you call it, and
adds no cost to the steps themselves.

## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.7, exercise 6.
- Zeiler, "ADADELTA: An Adaptive Learning Rate Method", arXiv:1212.5701 (2012). Section 3.1 goes
  from a window to forgetting.
- Tieleman and Hinton, "Lecture 6.5: rmsprop", Coursera (2012).
- Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
"""
