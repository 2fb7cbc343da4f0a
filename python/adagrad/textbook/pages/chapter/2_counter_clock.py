# %% [markdown]
r"""
# A counter as the clock

The simplest way to give each feature its own clock is to count. Let $s(i, t)$ be the number of the
first $t$ steps in which feature $i$ has a gradient, $g_i \ne 0$. Its rate is

$$\eta_i = \frac{\eta_0}{\sqrt{s(i, t) + c}}.$$

AdaGrad replaces the count with a sum of squares:

$$s(i, t) = s(i, t - 1) + g_{t,i}^2.$$

This page shows what that changes. The library has both rules. `Rule(statistic="count")` is the
counter, with $\eta_0$ = `lr` and $c$ = `eps`. The count includes the current step.
"""

# %%
import numpy as np

import adagrad
from adagrad.plotting import decile_figure, loglog_figure, rates_figure
from adagrad.textbook import rare_features

counter = adagrad.Rule(lr=0.1, statistic="count")
square = adagrad.Rule(lr=0.1)


def descend(gradients: np.ndarray, rule: adagrad.Rule) -> np.ndarray:
    """Return the params after each step, [steps, d], given its gradient; they start from 0."""
    w, s = np.zeros(gradients.shape[1]), np.zeros(gradients.shape[1])
    path = np.empty_like(gradients)
    for t, g in enumerate(gradients):
        adagrad.step(w, g, s, rule)
        path[t] = w
    return path


g = np.full((3, 1), -1.0)
steps = np.diff(descend(g, counter.replace(eps=9.0)), axis=0, prepend=0.0)
assert np.allclose(steps[:, 0], 0.1 / np.sqrt([1 + 9, 2 + 9, 3 + 9]), rtol=1e-14)

# %% [markdown]
r"""
**The constant $c$ delays the fall.** Up to $c$ occurrences the rate is at least
$1 / \sqrt 2 \approx 0.7$ of $\eta_0 / \sqrt c$, and long after them it falls as if there were no $c$.
The default is $10^{-6}$, which only prevents a division by 0. In AdaGrad, `eps` does the same, in
units of squared gradients.
"""

# %% mystnb={"image": {"alt": "Three rates against the number of occurrences, with logarithmic axes. Each is flat up to c = 1, 10 or 100 and then falls with slope -1/2."}}
counts = np.geomspace(1, 10_000, 17)
loglog_figure(
    {
        f"c = {c}": (counts, counter.replace(eps=c).rate(counts) / 0.1)
        for c in (1, 10, 100)
    },
    title="The constant c delays the fall",
    xlabel="occurrences of the feature",
    ylabel="rate / η₀",
    slopes={"slope -1/2": -0.5},
)

# %% [markdown]
r"""
## Where the two agree

**If every gradient is -1, 0 or +1, nothing changes.** The square of a nonzero gradient is then 1,
so the sum of squares is the count. The params are equal to the last bit.
"""

# %%
rng = np.random.default_rng(0)
g = rng.integers(-1, 2, size=(500, 20)).astype(np.float64)
assert (descend(g, counter) == descend(g, square)).all()

# %% [markdown]
r"""
## Where the counter fails

**Gradients that are often tiny and rarely large** advance the counter in every step. Take
coordinates with a gradient of -1 in one percent of the steps, which tells them where to go, and of
±0.001 in the others, which is noise. When a large gradient comes, the noise has used up the
counter's rate. AdaGrad's accumulator has hardly noticed it: a thousand squares of 0.001 add up to
0.001. AdaGrad pays only at the start: before the first large gradient it takes the noise for signal,
and makes large steps in random directions.

With a share $p$ of large gradients, the counter has counted $T$ steps where AdaGrad has summed
about $pT$. The argument of [the first page](1_sparse_features.py) applies: the counter moves the
param only $\sqrt p$ times as far. For $p$ = 1 % that is a tenth of the way, as if the clock were
global.
"""

# %%
free = {"AdaGrad": square.replace(eps=0.0), "counter clock": counter.replace(eps=0.0)}
large = rng.random((10_000, 200)) < 0.01  # 200 coordinates
often_tiny = np.where(large, -1.0, rng.choice([-1e-3, 1e-3], large.shape))
way = {name: descend(often_tiny, rule).mean(axis=1) for name, rule in free.items()}
ratio = way["counter clock"][-1] / way["AdaGrad"][-1]
print(f"mean distance, counter / AdaGrad: {ratio:.3f}")
assert np.isclose(ratio, 0.01**0.5, rtol=0.1)

# %% mystnb={"image": {"alt": "The mean distance that the params have moved against the number of steps, with logarithmic axes. AdaGrad and the counter clock end on parallel lines of slope 1/2, and AdaGrad is ten times as far, at 1.9 instead of 0.2."}}
shown = np.geomspace(10, 10_000, 25).astype(int)
loglog_figure(
    {name: (shown, path[shown - 1]) for name, path in way.items()},
    title="99 % of the gradients are tiny",
    xlabel="steps",
    ylabel="mean distance from the start",
    slopes={"slope 1/2": 0.5},
)

# %% [markdown]
r"""
Such gradients are common. A feature that is absent is not always exactly 0: sensors have noise,
counts are smoothed, columns are centered. Repeat the experiment of the first page, but let each
feature have the value 0.001 where it is absent. Every weight now has a gradient in every step.
"""

# %% mystnb={"image": {"alt": "The error of the weights in each tenth of the features, above a background of 0.001. The curve of the counter clock lies on that of the global clock and rises to 0.9. AdaGrad's stays at 0.1 or below."}}
background = rare_features(background=1e-3)
decile_figure(background)

# %%
clean = rare_features()
counted, by_steps = (
    background.errors[name] for name in ("counter clock", "global 1/√t")
)
assert np.allclose(counted, by_steps, rtol=1e-3)  # the counter counts steps
rarest = {
    "AdaGrad": background.by_decile(background.errors["AdaGrad"])[-1],
    "AdaGrad without the background": clean.by_decile(clean.errors["AdaGrad"])[-1],
    "counter": background.by_decile(counted)[-1],
    "counter without the background": clean.by_decile(clean.errors["counter clock"])[
        -1
    ],
}
print("error of the rarest features")
for name, error in rarest.items():
    print(f"{error:.2f} {name}")
assert rarest["counter"] > 0.7
assert max(error for name, error in rarest.items() if name != "counter") < 0.25

# %% [markdown]
r"""
The counter has become the global clock, and the rare features starve again.

**A threshold would help**, if someone knew it. Count only gradients above 0.01, and the coordinates
with 99 % of noise move as far as with AdaGrad. A threshold of 0.0001 changes nothing. Now measure
the feature in another unit, so that its gradients are a thousandth of these. A threshold of 0.01
ignores them all, and 0.0001 is right. A sum of squares needs no threshold.
"""

# %%
moved = {}
for unit in (1.0, 1e-3):
    for threshold in (1e-2, 1e-4):
        g = unit * often_tiny
        path = descend(np.where(np.abs(g) > threshold, g, 0.0), counter) / unit
        moved[unit, threshold] = path[-1].mean() / way["AdaGrad"][-1]
        print(
            f"unit {unit:g}, threshold {threshold:g}: {moved[unit, threshold]:.2f} of AdaGrad"
        )
for right in ((1.0, 1e-2), (1e-3, 1e-4)):
    assert moved[right] > 0.95
assert moved[1.0, 1e-4] < 0.15
assert moved[1e-3, 1e-2] == 0

# %% [markdown]
r"""
## Where AdaGrad pays

**One outsize gradient** is the opposite case. All gradients are -1 except for a single -1000, the
work of a typing error, perhaps. AdaGrad takes this step as any other, no longer than $\eta_0$. But
its accumulator does not forget: a million gradients of size 1 have to come before they outweigh the
one. The counter's rate is unharmed. Its step, however, is not bounded: it throws the param
$\eta_0 \cdot 1000 / \sqrt{101}$ away.
"""

# %% mystnb={"image": {"alt": "The distance that the param has moved against the number of steps, with logarithmic axes. Both clocks agree for 100 steps. Then the counter clock jumps from 2 to 12 and rises to 30. AdaGrad stays near 2 for a thousand steps and ends at 3."}}
outsize = np.full((10_000, 1), -1.0)
outsize[100] = -1000.0
way = {name: descend(outsize, rule)[:, 0] for name, rule in free.items()}
shown = np.union1d([*range(1, 10), 100, 101], shown)
loglog_figure(
    {name: (shown, path[shown - 1]) for name, path in way.items()},
    title="One gradient is 1000 times as large",
    xlabel="steps",
    ylabel="distance from the start",
)

# %%
for name, path in way.items():
    jump, afterwards = path[100] - path[99], path[-1] - path[100]
    print(f"{name:13}: outsize step {jump:.2f}, later {afterwards:.2f}")
assert (way["AdaGrad"][:100] == way["counter clock"][:100]).all()
assert way["AdaGrad"][100] - way["AdaGrad"][99] <= 0.1
assert way["AdaGrad"][-1] - way["AdaGrad"][100] < 1.0
assert way["counter clock"][100] - way["counter clock"][99] > 9.9

# %% [markdown]
r"""
The cure is to clip gradients: `Rule(clip_value=1.0)` limits both the step and what it adds to the
accumulator.
"""

# %%
for rule in free.values():
    clipped = descend(outsize, rule.replace(clip_value=1.0))
    assert (clipped == descend(np.full_like(outsize, -1.0), rule)).all()

# %% [markdown]
r"""
## Scale and frequency

**AdaGrad adapts to the scale of a coordinate.** Multiply its gradients by a factor $a > 0$, for
example by changing the unit of the feature. With $\epsilon = 0$, the steps do not change:

$$\eta\,\frac{a\,g_t}{\sqrt{a^2 s_t}} = \eta\,\frac{g_t}{\sqrt{s_t}}.$$

If the factor is a power of 2, the result is the same to the last bit. The steps of the counter
grow by the factor.
"""

# %%
g = rng.standard_normal((500, 20))
assert (descend(1024 * g, free["AdaGrad"]) == descend(g, free["AdaGrad"])).all()
assert np.allclose(descend(1024 * g, counter), 1024 * descend(g, counter))

# %% [markdown]
r"""
**The rate still follows the frequency.** On the sparse features without a background, the
counter's rates form a line, which bends only for features that occur more than once in a step.
AdaGrad's rates form a cloud with about the same slope: of two equally frequent features, the one
with smaller gradients has the larger rate.
"""

# %% mystnb={"image": {"alt": "The rate of each feature after the last step against its occurrences, with logarithmic axes. The counter's rates lie on a line of slope -1/2, AdaGrad's scatter around a parallel line, and the global rate is the same for all."}}
for clock in ("counter clock", "AdaGrad"):
    slope, _ = np.polyfit(np.log(clean.counts), np.log(clean.rates[clock]), 1)
    print(f"{clock:13}: rate ~ occurrences^{slope:.2f}")
    assert -0.55 < slope < -0.3

rates_figure(clean)

# %% [markdown]
r"""
Both clocks need state for each feature. Some systems count because a counter can be a small
integer. `Table(..., rule=Rule(statistic="count"), state="row")` keeps one counter per row.

## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.1.
- Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
  Optimization", JMLR 12 (2011).
"""
