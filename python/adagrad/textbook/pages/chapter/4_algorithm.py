# %% [markdown]
r"""
# The algorithm

AdaGrad keeps one number for each coordinate, the sum `s` of the squares of its gradients, and
divides by its root. In NumPy, for arrays `w`, `g` and `s` of the same shape:
"""

# %%
import numpy as np

import adagrad
from adagrad.analysis import trace
from adagrad.plotting import bowl_figure
from adagrad.textbook import BOWL, BOWL_START


def step(w: np.ndarray, g: np.ndarray, s: np.ndarray, lr: float, eps: float = 1e-6) -> None:
    """Update params and accumulator in place."""
    s += g * g
    w -= (lr * g) / np.sqrt(s + eps)


# %% [markdown]
r"""
`adagrad.step` is this function in one pass over memory, without temporaries. It computes in the
same order with the same roundings, so the results are equal, not just close.
"""

# %%
rng = np.random.default_rng(0)
w, s = rng.standard_normal(10_000), np.zeros(10_000)
other_w, other_s = w.copy(), s.copy()
for _ in range(50):
    g = rng.standard_normal(10_000)
    step(w, g, s, lr=0.1)
    adagrad.step(other_w, g, other_s, lr=0.1)
assert (w == other_w).all()
assert (s == other_s).all()

# %% [markdown]
r"""
**In two dimensions**, take `f(x) = 0.1 x₁² + 2 x₂²`, which curves twenty times as strongly
along `x₂` as along `x₁`, and start from (-5, -2). The gradient is `(0.2 x₁, 4 x₂)`. The
first step has length `lr` along *both* axes, because `g / √g²` is ±1 whatever the slopes.
This is preconditioning at work.
"""

# %%
path = trace(adagrad.Rule(lr=0.4, eps=0.0), BOWL, BOWL_START, steps=20)
print("first step:", path[1] - path[0])
assert np.allclose(path[1] - path[0], 0.4, rtol=1e-15)
for lr in (0.4, 2.0):
    x = trace(adagrad.Rule(lr=lr), BOWL, BOWL_START, steps=20)[-1]
    print(f"lr = {lr}: f = {BOWL(x):.2g} after 20 steps")

# %% [markdown]
r"""
The upper pictures are the textbook's. With `lr = 0.4`, the rates fall before the minimum is
reached, because `s` only grows. A large `lr` does no harm, because `s` then grows too and
slows it down. Gradient descent would diverge with `lr = 2.0`: its limit is `2 / λ_max = 0.5`.
"""

# %%
bowl_figure()

# %% [markdown]
r"""
The lower pictures show the same bowl, turned by 45 degrees, which [an exercise](../exercises/2_rotated_objective.py) explains.

**How fast do the rates fall?** If gradients keep a constant size `|g| = G`, the sum of squares
after `t` steps is `t G²`, and the rate is `lr / (G √t)`. This is the classical schedule,
scaled for each coordinate. If gradients vanish near the minimum, `s` converges, and the rate
settles at a constant. On this bowl, AdaGrad therefore converges linearly, as gradient descent
does.
"""

# %%
path = trace(adagrad.Rule(lr=2.0), BOWL, BOWL_START, steps=40)
s = np.cumsum(np.array([BOWL.gradient(x) for x in path]) ** 2, axis=0)
print("rates of the two coordinates after 10, 20 and 40 steps:")
print(2.0 / np.sqrt(s[[9, 19, 39]] + 1e-6))
assert np.allclose(s[19], s[39], rtol=1e-3)

# %% [markdown]
r"""
## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.3.
- Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
  Optimization", JMLR 12 (2011), section 1.1.
"""
