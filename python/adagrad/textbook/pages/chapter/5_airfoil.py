# %% [markdown]
r"""
# The airfoil run

This is a real regression. It predicts the noise of an airfoil in a wind tunnel, in dB, from
frequency, angle of attack, chord length, speed and the thickness of the boundary layer. The data
are 1,500 measurements with standardized columns. A linear model minimizes `mean((X·w + b - y)²) /
2` in two passes, with ten examples per step and `lr = 0.1`. The textbook prints a final loss of
0.2437.
"""

# %%
import numpy as np

from adagrad.plotting import loss_figure
from adagrad.textbook import airfoil_from_scratch, airfoil_with_optimizer

# %% [markdown]
r"""
**From scratch**, there are two arrays of params and two accumulators. The loop calls

``python
adagrad.step(w, g_w, s_w, lr)
adagrad.step(b, g_b, s_b, lr)
``
"""

# %%
scratch = airfoil_from_scratch(seed=0)
print(f"from scratch: {scratch.losses[-1]:.4f}")

# %% [markdown]
r"""
**With an optimizer**, the accumulators have an owner:

``python
optimizer = adagrad.Adagrad([w, b], lr=lr)
optimizer.step([g_w, g_b])
``

The arithmetic is the same, and so are the bits.
"""

# %%
optimizer = airfoil_with_optimizer(seed=0)
assert (optimizer.w == scratch.w).all()
assert (optimizer.losses == scratch.losses).all()

# %% [markdown]
r"""
The order of the examples is random, so the final loss varies with the seed:
"""

# %%
last = np.array([airfoil_from_scratch(seed).losses[-1] for seed in range(24)])
print(f"24 seeds: median {np.median(last):.4f}, from {last.min():.4f} to {last.max():.4f}")
assert 0.242 <= np.median(last) <= 0.244

# %% [markdown]
r"""
Ten times the rate is as quick at first, then noisier, and ends with 9 % more loss. A tenth of the
rate is slow, because AdaGrad never moves a coordinate by more than `lr` in a step.
"""

# %%
figure = loss_figure(
    {
        f"lr = {lr:g}": (run.examples, run.losses)
        for lr in (0.01, 0.1, 1.0)
        for run in [airfoil_with_optimizer(0, lr=lr)]
    },
    title="Airfoil noise, a linear model",
    ylabel="mean squared error / 2",
    reference=("printed in the textbook: 0.2437", 0.2437),
)
figure

# %% [markdown]
r"""
## References

- Zhang et al., *Dive into Deep Learning*, sections 12.7.4 and 12.7.5.
- Brooks, Pope and Marcolini, "Airfoil Self-Noise and Prediction", NASA RP-1218 (1989). The data
  come from the UCI Machine Learning Repository, CC BY 4.0.
"""
