"""
A counter as the clock
======================

If time must pass for each feature by itself, count: let ``n`` be the number of steps in which
feature ``i`` has had a gradient, and take the rate ``lr / √n``. That is a rule of the library,
``Rule(statistic="count")``. AdaGrad replaces the count by the sum of the squares of the gradients,
``s = g₁² + g₂² + …``. This page is about what that changes.
"""

import numpy as np

import adagrad
from adagrad.plotting import rates_figure
from adagrad.textbook import rare_features

count = adagrad.Rule(lr=0.1, statistic="count")
square = adagrad.Rule(lr=0.1)


def descend(gradients: np.ndarray, rule: adagrad.Rule) -> np.ndarray:
    """Return the params after a step with each of the gradients, [steps, d], from 0."""
    w, s = np.zeros(gradients.shape[1]), np.zeros(gradients.shape[1])
    for g in gradients:
        adagrad.step(w, g, s, rule)
    return w


# %%
# **Where every gradient is -1, 0 or +1 nothing changes**: the square of a gradient is then 1 if
# there was one, and the sum of squares is the count. The params are equal to the last bit.

rng = np.random.default_rng(0)
g = rng.integers(-1, 2, size=(500, 20)).astype(np.float64)
assert (descend(g, count) == descend(g, square)).all()

# %%
# **A sum of squares need not ask what counts as a gradient.** A counter ticks for a tiny gradient
# as for any other, unless someone chooses a threshold, and so the rate is used up before it
# matters.

small = np.ones((100, 2))
small[:50, 1] = 1e-3  # the second coordinate hardly matters, in the first half
for name, rule in (("counter", count), ("AdaGrad", square)):
    w = descend(small, rule)
    print(f"{name}: the second coordinate has moved {w[1] / w[0]:.2f} times as far as the first")

# %%
# With the counter it has lost most of its way. To AdaGrad a thousandth is another scale, on which
# it makes its usual steps, and the second half comes with a rate that is as good as new.

# %%
# **It adapts to the scale of a coordinate by itself.** Measure a feature in metres instead of
# kilometres, and its gradients are 1000 times smaller, its best weight 1000 times larger. With
# ``eps = 0`` AdaGrad's steps do not depend on the factor at all: ``lr·(c·g) / √(c²·s)`` is
# ``lr·g / √s``. If the factor is a power of 2, not even rounding tells the difference.

free = square.replace(eps=0.0)
g = rng.standard_normal((500, 20))
assert (descend(1024 * g, free) == descend(g, free)).all()
assert not np.allclose(descend(1024 * g, count), descend(g, count))

# %%
# **The rate of a feature still follows its frequency.** On the sparse features of the last page the
# counter's rates are a line, which bends only where a feature occurs more than once in a step.
# AdaGrad's are a cloud with the same slope: of two features that are equally frequent the one whose
# gradients are smaller has the larger rate.

result = rare_features(examples=8000)
for clock in ("counter clock", "AdaGrad"):
    slope, _ = np.polyfit(np.log(result.counts), np.log(result.rates[clock]), 1)
    print(f"{clock}: the rate is about as occurrences to the power of {slope:.2f}")

figure = rates_figure(result)
figure.savefig("rates-by-frequency.png", dpi=120)

# %%
# Both clocks need state for each feature, and a counter could be a small integer. That is why some
# systems count: ``Table(..., rule=Rule(statistic="count"), state="row")`` keeps one for a row.
#
# References
# ----------
# - Zhang et al., *Dive into Deep Learning*, section 12.7.1.
# - Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
#   Optimization", JMLR 12 (2011).
