"""
The algorithm
=============

AdaGrad keeps one number for each coordinate, the sum ``s`` of the squares of its gradients, and
divides by the root of it. In NumPy, for arrays ``w``, ``g`` and ``s`` of one shape:
"""

import numpy as np

import adagrad
from adagrad.analysis import trace
from adagrad.plotting import bowl_figure
from adagrad.textbook import BOWL, BOWL_START


def step(w: np.ndarray, g: np.ndarray, s: np.ndarray, lr: float, eps: float = 1e-6) -> None:
    """Update params and accumulator in place."""
    s += g * g
    w -= (lr * g) / np.sqrt(s + eps)


# %%
# ``adagrad.step`` is that function in one pass over memory, without temporaries. *In that order and
# with these roundings*: the results are equal, not close.

rng = np.random.default_rng(0)
w, s = rng.standard_normal(10_000), np.zeros(10_000)
other_w, other_s = w.copy(), s.copy()
for _ in range(50):
    g = rng.standard_normal(10_000)
    step(w, g, s, lr=0.1)
    adagrad.step(other_w, g, other_s, lr=0.1)
assert (w == other_w).all()
assert (s == other_s).all()

# %%
# **In two dimensions**: ``f(x) = 0.1 x₁² + 2 x₂²``, twenty times steeper along ``x₂`` than along
# ``x₁``, from (-5, -2). The gradient is ``(0.2 x₁, 4 x₂)``. The first step has the length ``lr``
# along *both* axes, whatever the slopes, since ``g / √g²`` is ±1: preconditioning at work.

path = trace(adagrad.Rule(lr=0.4, eps=0.0), BOWL, BOWL_START, steps=20)
print("first step:", path[1] - path[0])
assert np.allclose(path[1] - path[0], 0.4, rtol=1e-15)
for lr in (0.4, 2.0):
    x = trace(adagrad.Rule(lr=lr), BOWL, BOWL_START, steps=20)[-1]
    print(f"lr = {lr}: f = {BOWL(x):.2g} after 20 steps")

# %%
# The upper pictures are the textbook's. At 0.4 the rates fall before the minimum is reached, as
# ``s`` only ever grows; a large rate does no harm, since ``s`` is then large too and slows it
# down. Gradient descent at 2.0 would diverge: it bears ``2 / λ_max = 0.5``.

figure = bowl_figure()
figure.savefig("two-bowls.png", dpi=120)

# %%
# The lower ones are the same bowl, turned by 45 degrees, which :doc:`an exercise
# </textbook/exercises/2_rotated_objective>` explains.
#
# **How fast do the rates fall?** With gradients of one size, ``|g| = G``, the sum of squares after
# ``t`` steps is ``t G²``, and the rate ``lr / (G √t)``: the classical schedule, with a scale of its
# own for each coordinate. If gradients vanish as the minimum comes near, ``s`` converges, and the
# rate settles at a constant: on this bowl AdaGrad converges as fast as gradient descent does.

path = trace(adagrad.Rule(lr=2.0), BOWL, BOWL_START, steps=40)
s = np.cumsum(np.array([BOWL.gradient(x) for x in path]) ** 2, axis=0)
print("rates of both coordinates after 10, 20 and 40 steps:")
print(2.0 / np.sqrt(s[[9, 19, 39]] + 1e-6))
assert np.allclose(s[19], s[39], rtol=1e-3)

# %%
# References
# ----------
# - Zhang et al., *Dive into Deep Learning*, section 12.7.3.
# - Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
#   Optimization", JMLR 12 (2011), section 1.1.
