# %% [markdown]
r"""
# 2. The rotated objective

*Try AdaGrad on* `f(x) = 0.1 x₁² + 2 x₂²` *and on the same function turned by 45 degrees. Does it
behave differently?*

**Yes, and it must.** The matrix of second derivatives of the first function is diagonal, `Q =
diag(0.2, 4)`. Turned by 45 degrees, it becomes

`Q' = [[2.1, -1.9], [-1.9, 2.1]]`,

with the same eigenvalues, 0.2 and 4, but with *equal* entries on the diagonal. A diagonal
preconditioner only divides by the diagonal. Here it divides by a single number, 2.1, which is what
a single learning rate does. The condition number is 20 before and after. The valley runs between
the axes, and no pair of rates for `x₁` and `x₂` makes it round.
"""

# %%
import math

import numpy as np

import adagrad
from adagrad.analysis import SGD, condition_number, jacobi_precondition, trace
from adagrad.plotting import bowl_figure, path_figure
from adagrad.textbook import BOWL, BOWL_START

angle = math.pi / 4
U = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
turned = BOWL.rotated(angle)
start = U @ BOWL_START  # the same point of the landscape
for name, f in (("axes aligned", BOWL), ("turned", turned)):
    after = condition_number(jacobi_precondition(f.Q))
    print(f"{name}: κ = {condition_number(f.Q):.3g}, after diagonal scaling {after:.3g}")
assert math.isclose(condition_number(jacobi_precondition(turned.Q)), 20, rel_tol=1e-12)

# %% [markdown]
r"""
**The descents** start from the same point of the landscape. The upper row is aligned with the
axes, and the lower row is turned.
"""

# %%
bowl_figure()

# %% [markdown]
r"""
In the upper row, AdaGrad heads straight for the minimum's `x₂`, then for its `x₁`. In the
lower row, the two components of the gradient are nearly equal in size until the path reaches the
floor of the valley. Both sums of squares grow large with the steep direction that they share.
Only small rates are then left for the way along the floor.

**The best that each can do** is found with 60 rates, up to 20 for AdaGrad and up to 0.5 for SGD,
which diverges above that:
"""

# %%
best = {}
for name, f, x in (("axes aligned", BOWL, BOWL_START), ("turned", turned, start)):
    for rule, rates in (
        ("AdaGrad", np.geomspace(0.1, 20, 60)),
        ("SGD", np.linspace(0.01, 0.5, 60)),
    ):
        runs = [adagrad.Rule(lr=lr) if rule == "AdaGrad" else SGD(lr) for lr in rates]
        best[name, rule] = min(f(trace(run, f, x, 20)[-1]) for run in runs)
        print(f"{name:13}{rule:8} f = {best[name, rule]:.2g} after 20 steps")
assert best["axes aligned", "AdaGrad"] < 1e-6 < best["axes aligned", "SGD"]
assert best["turned", "AdaGrad"] > best["turned", "SGD"]
assert math.isclose(best["turned", "SGD"], best["axes aligned", "SGD"], rel_tol=1e-9)

# %% [markdown]
r"""
Plain gradient descent does equally well on both ([1. Orthogonal changes of variables](1_orthogonal_invariance.py)), because a
rotation does not change κ. AdaGrad wins by far on the aligned bowl. On the turned bowl it loses,
because its rates fall in vain.

**The cure** is to descend in coordinates in which `Q` is nearly diagonal, such as those of its
eigenvectors if they are known. AdaGrad on `z = Vᵀx` is the full-matrix method for a fixed
`V`, and its path, turned back, is that of the aligned bowl. The full method of Duchi et al.
sums the outer products `g gᵀ` and takes the root of the matrix in every step, with `d²`
memory and `d³` time. The sparse features of a click log need no such cure: they are nearly
aligned with the axes, because they hardly ever occur together.
"""

# %%
V = turned.eigenvectors
in_eigenvectors = turned.rotated(V.T)  # z -> f(V z)
path = trace(adagrad.Rule(lr=2.0), in_eigenvectors, V.T @ start, 20) @ V.T
plain = trace(adagrad.Rule(lr=2.0), turned, start, 20)
print(f"f = {turned(plain[-1]):.2g} in x, {turned(path[-1]):.2g} in the eigenvectors' coordinates")
assert turned(path[-1]) < 1e-6

figure = path_figure(
    turned, {"in x": plain, "in the eigenvectors": path}, title="AdaGrad on the turned bowl"
)
figure

# %% [markdown]
r"""
The textbook writes the turned function as `0.1 (x₁ + x₂)² + 2 (x₁ - x₂)²`. Its values are twice
ours, because a rotation would use `(x₁ ± x₂) / √2`. With `eps = 0`, a factor on `f` does
not change AdaGrad's path. If the factor is a power of 2, the path is the same to the last bit.
"""

# %%
free = adagrad.Rule(lr=2.0, eps=0.0)
double = trace(free, (None, lambda x: 2 * turned.gradient(x)), start, 20)
assert (double == trace(free, turned, start, 20)).all()

# %% [markdown]
r"""
## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.7, exercise 2.
- Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
  Optimization", JMLR 12 (2011), sections 1.1 and 4, on diagonal and full matrices.
- Gupta, Koren and Singer, "Shampoo: Preconditioned Stochastic Tensor Optimization", ICML 2018, a
  cheaper method between the two.
"""
