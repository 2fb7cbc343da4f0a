# %% [markdown]
r"""
# 1. Orthogonal changes of variables

*Prove that for an orthogonal matrix U and vectors c and δ,* `‖c - δ‖ = ‖Uc - Uδ‖`. *Why does it
mean that the magnitude of a perturbation does not change after an orthogonal change of variables?*

**Proof.** A matrix is orthogonal if `UᵀU = 1`, the identity. For any vector `x`, therefore,

`‖Ux‖² = (Ux)·(Ux) = x·(UᵀU x) = x·x = ‖x‖²`.

The claim follows with `x = c - δ`, because `Uc - Uδ = U(c - δ)`. ∎

**What it means.** Let `c` be the point we want to reach, and `δ` the point where rounding, a
noisy gradient or too few steps have left us. In the variables `z = Ux`, the two points are as far
apart as before. An orthogonal change of variables, such as that to the eigenvectors of `Q`,
therefore makes no error larger or smaller. Points that are hard to tell apart in `z` are just as
hard to tell apart in `x`. A change that stretches, such as `1/√Λ`, does change distances, by up
to the root of the condition number.
"""

# %%
import math

import numpy as np

import adagrad
from adagrad.analysis import SGD, Quadratic, condition_number, trace
from adagrad.plotting import path_figure
from adagrad.textbook import BOWL, BOWL_START

# %% [markdown]
r"""
**Check.** We try random orthogonal matrices, from the QR decomposition of normal ones, on random
vectors. Only rounding errors remain.
"""

# %%
rng = np.random.default_rng(0)
worst = 0.0
for d in (2, 5, 50, 200):
    U = np.linalg.qr(rng.standard_normal((d, d)))[0]
    c, delta = rng.standard_normal((2, d))
    before, after = np.linalg.norm(c - delta), np.linalg.norm(U @ c - U @ delta)
    worst = max(worst, abs(after / before - 1))
print(f"largest relative change of a distance: {worst:.1e}")
assert worst < 1e-14

# %% [markdown]
r"""
Eigenvalues do not change either, and so neither does the condition number: if `v` is an
eigenvector of `Q`, then `Uv` is one of `U Q Uᵀ` with the same eigenvalue. A stretch does
change them.
"""

# %%
half = rng.standard_normal((5, 8))
f = Quadratic(half @ half.T)
U = np.linalg.qr(rng.standard_normal((5, 5)))[0]
stretch = np.diag([1.0, 1.0, 1.0, 1.0, 10.0])
print(f"κ = {condition_number(f.Q):.6g}, turned: {condition_number(f.rotated(U).Q):.6g},", end=" ")
print(f"stretched: {condition_number(stretch @ f.Q @ stretch):.3g}")
assert np.allclose(f.eigenvalues, f.rotated(U).eigenvalues, rtol=1e-10)

# %% [markdown]
r"""
**Which descents are invariant?** Plain gradient descent is. The gradient of the turned function
is the turned gradient, so the path from a turned start is the turned path. AdaGrad is not,
because it squares the gradient coordinate by coordinate, and squares do not turn with the
gradient.
"""

# %%
angle = math.pi / 4
turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
turned, start = BOWL.rotated(angle), turn @ BOWL_START
off, paths = {}, {}
for name, rule in (("SGD", SGD(0.4)), ("AdaGrad", adagrad.Rule(lr=2.0))):
    path = trace(rule, BOWL, BOWL_START, 20)
    paths[name] = trace(rule, turned, start, 20)
    paths[f"{name}, turned afterwards"] = path @ turn.T
    off[name] = np.abs(paths[name] - path @ turn.T).max()
    print(f"{name}: the two paths are at most {off[name]:.1e} apart in a coordinate")
assert off["SGD"] < 1e-14
assert off["AdaGrad"] > 1

# %% [markdown]
r"""
In the picture, the two paths of SGD coincide. Those of AdaGrad part at the first step.
"""

# %%
path_figure(turned, paths, title="Descent on a turned bowl; turned descent")

# %% [markdown]
r"""
## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.7, exercise 1.
- Golub and Van Loan, *Matrix Computations*, 4th edition (2013), section 2.3.5, on the norms that
  orthogonal matrices preserve.
"""
