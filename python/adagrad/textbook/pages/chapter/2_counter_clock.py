# %% [markdown]
r"""
# A counter as the clock

The simplest way to give each feature its own clock is to count. Let `n` be the number of steps in
which a feature has had a gradient, and use the rate `lr / √n`. The library has this rule:
`Rule(statistic="count")`. AdaGrad replaces the count with the sum of the squares of the
gradients, `s = g₁² + g₂² + …`. This page shows what that changes.
"""

# %%
import numpy as np

import adagrad
from adagrad.plotting import rates_figure
from adagrad.textbook import rare_features

count = adagrad.Rule(lr=0.1, statistic="count")
square = adagrad.Rule(lr=0.1)


def descend(gradients: np.ndarray, rule: adagrad.Rule) -> np.ndarray:
    """Return the params after one step per row of the gradients, [steps, d], starting from 0."""
    w, s = np.zeros(gradients.shape[1]), np.zeros(gradients.shape[1])
    for g in gradients:
        adagrad.step(w, g, s, rule)
    return w


# %% [markdown]
r"""
**If every gradient is -1, 0 or +1, nothing changes.** The square of a nonzero gradient is then 1,
so the sum of squares is the count. The params are equal to the last bit.
"""

# %%
rng = np.random.default_rng(0)
g = rng.integers(-1, 2, size=(500, 20)).astype(np.float64)
assert (descend(g, count) == descend(g, square)).all()

# %% [markdown]
r"""
**A sum of squares needs no threshold.** Unless someone chooses a threshold, a counter ticks for a
tiny gradient as for any other. Its rate is used up before the gradients matter.
"""

# %%
small = np.ones((100, 2))
small[:50, 1] = 1e-3  # the second coordinate hardly matters in the first half
for name, rule in (("counter", count), ("AdaGrad", square)):
    w = descend(small, rule)
    print(f"{name}: the second coordinate has moved {w[1] / w[0]:.2f} times as far as the first")

# %% [markdown]
r"""
With the counter, the second coordinate has covered only part of the distance. To AdaGrad, small
gradients are just another scale. It takes its usual steps in the first half, and starts the
second half with a rate that is as good as new.
"""

# %% [markdown]
r"""
**AdaGrad adapts to the scale of a coordinate.** Multiply the gradients of a coordinate by a
factor `c`, for example by changing the unit of its feature. With `eps = 0`, AdaGrad's steps
do not change, because `lr·(c·g) / √(c²·s)` is `lr·g / √s`. If the factor is a power of 2, the
result is the same to the last bit.
"""

# %%
free = square.replace(eps=0.0)
g = rng.standard_normal((500, 20))
assert (descend(1024 * g, free) == descend(g, free)).all()
assert not np.allclose(descend(1024 * g, count), descend(g, count))

# %% [markdown]
r"""
**The rate of a feature still follows its frequency.** On the sparse features of
[Sparse features and learning rates](1_sparse_features.py), the counter's rates form a line, which bends only for
features that occur more than once in a step. AdaGrad's rates form a cloud with the same slope: of
two equally frequent features, the one with smaller gradients has the larger rate.
"""

# %%
result = rare_features(examples=8000)
for clock in ("counter clock", "AdaGrad"):
    slope, _ = np.polyfit(np.log(result.counts), np.log(result.rates[clock]), 1)
    print(f"{clock}: the rate is roughly proportional to occurrences ** {slope:.2f}")

rates_figure(result)

# %% [markdown]
r"""
Both clocks need state for each feature. Some systems count because a counter can be a small
integer. `Table(..., rule=Rule(statistic="count"), state="row")` keeps one counter per row.

## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.1.
- Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
  Optimization", JMLR 12 (2011).
"""
