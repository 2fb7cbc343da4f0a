# %% [markdown]
r"""
# Sparse features and learning rates

Words, sites and products follow Zipf's law: a few occur all the time, and most hardly ever. A
linear model predicts $\hat y = w^\top x$, and the gradient of a loss $\ell(y, \hat y)$ is

$$\frac{\partial \ell}{\partial w_i} = \frac{\partial \ell}{\partial \hat y}\, x_i.$$

Where a feature is absent, $x_i = 0$, and its weight $w_i$ learns nothing. After a pass over the
data, some weights have had a thousand gradients, and most only ten.

A learning rate has to fall for the noise of the gradients to average out. The classical schedule,
with a constant $c$ that delays the fall, is

$$\eta_t = \frac{\eta_0}{\sqrt{t + c}}.$$

It is one schedule for all weights, which need different ones. By the time a rare feature appears,
the rate has already fallen. A rate that falls more slowly, or a larger $\eta_0$, would leave the
weights of frequent features to the noise.

## Each feature needs its own clock

Let $s(i, t)$ be the number of the first $t$ steps in which feature $i$ occurs. The schedule

$$\eta_i = \frac{\eta_0}{\sqrt{s(i, t) + c}}$$

falls only when the feature occurs. How much does that change? The rates at the occurrences of a
feature, added up, are the distance that gradients of size 1 can move its weight. If it occurs with
probability $p$ in each of $T$ steps, that distance is on average, for large $pT$ and $c = 0$,

$$
\begin{aligned}
\text{global clock:} \quad & p \sum_{t=1}^{T} \frac{\eta_0}{\sqrt t} \approx 2 \eta_0\, p \sqrt T, \\
\text{its own clock:} \quad & \sum_{n=1}^{pT} \frac{\eta_0}{\sqrt n} \approx 2 \eta_0 \sqrt{pT}.
\end{aligned}
$$

The global clock takes the weight only $\sqrt p$ times as far: a tenth of the way for a feature that
every hundredth example has. No $\eta_0$ makes up for that, because $p$ differs between features.
"""

# %%
import numpy as np

from adagrad.plotting import decile_figure, loss_figure
from adagrad.textbook import CLOCKS, rare_features

rng = np.random.default_rng(0)
steps = np.arange(1, 100_001)
rates = 1 / np.sqrt(steps)
for p in (0.1, 0.01, 0.001):
    occurs = rng.random((50, len(steps))) < p  # 50 features
    global_clock = np.sum(occurs * rates, axis=1).mean()
    own_clock = np.mean([rates[:n].sum() for n in occurs.sum(axis=1)])
    print(f"p = {p}: ratio {global_clock / own_clock:.3f}, √p = {p**0.5:.3f}")
    assert np.isclose(global_clock / own_clock, p**0.5, rtol=0.1)

# %% [markdown]
r"""
## What it costs a model

The next experiment has 20,000 examples with five of 1,000 features each, drawn so that the $k$-th
most frequent has a probability proportional to $k^{-1.1}$. The label is the sum of the features'
true weights, which are standard normal, plus noise. A linear model sees each example once, ten in
a step. Its rates follow one of three clocks:

- **global**: $\eta_0 / \sqrt t$, where $t$ is the number of steps so far, for all features alike;
- **counter**: $\eta_0 / \sqrt{s(i, t)}$, where $s$ counts the steps with *this* feature;
- **AdaGrad**: $\eta_0 / \sqrt{s_i}$, where $s_i$ is the sum of the squares of this weight's
  gradients.

Each clock uses the best of nine values of $\eta_0$, from 0.02 to 10, so the comparison is fair.
"""

# %%
result = rare_features()
occurrences = result.by_decile(result.counts)
print("error in the most frequent tenth\nof the features and in the rarest")
for clock in CLOCKS:
    error = result.by_decile(result.errors[clock])
    print(f"{clock:14}{error[0]:8.4f}{error[-1]:8.4f}  (lr {result.lr[clock]:g})")
print(f"{'occurrences':14}{occurrences[0]:8.0f}{occurrences[-1]:8.0f}")

# %% [markdown]
r"""
The error of a weight is $(w_i - w_i^*)^2$, where $w^*$ has the true weights. It is 1 on average if
nothing has been learned. All three clocks learn the frequent features. The global clock learns
almost nothing about features that occur seven times, although seven examples are enough to learn a
good deal: frequent features limit its $\eta_0$.
"""

# %% mystnb={"image": {"alt": "The error of the weights in each tenth of the features. With the global clock it rises from 0.02 to 0.9, where 1 means that nothing was learned. With the counter clock and AdaGrad it stays below 0.2."}}
decile_figure(result)

# %%
assert 7 <= occurrences[-1] < 8
starved = result.by_decile(result.errors["global 1/√t"])
assert starved[0] < 0.03
assert starved[-1] > 0.7
for clock in ("counter clock", "AdaGrad"):
    learned = result.by_decile(result.errors[clock])
    assert learned[-1] < 0.25
    assert (learned < starved).all()

# %% [markdown]
r"""
Predictions suffer as long as examples have rare features, which is forever. The picture shows the
squared error of predictions made before learning from their labels, averaged over 100 steps. The
noise in the labels has a variance of 0.25, so that no model can have less.
"""

# %% mystnb={"image": {"alt": "The squared error of predictions falls during the pass. With AdaGrad and with the counter clock it ends near 0.3, with the global clock near 0.9."}}
loss_figure(
    {clock: (result.examples, result.losses[clock]) for clock in reversed(CLOCKS)},
    title="Progressive loss",
    ylabel="squared error, mean of 100 steps",
    reference=("noise in the labels: 0.25", 0.25),
)

# %%
late = {clock: result.losses[clock][-20:].mean() for clock in CLOCKS}
assert 0.8 < late["global 1/√t"] < 1.0
assert 0.25 < late["AdaGrad"] < late["counter clock"] < 0.35

# %% [markdown]
r"""
## What if no feature is rare?

Then one clock is as good as another. [`rare_features`](https://adagrad.readthedocs.io/en/latest/api/textbook.html)
takes the exponent of Zipf's law, and other numbers to play with. With the exponent 0, all features
are equally frequent:
"""

# %%
even = rare_features(exponent=0.0)
ends = {clock: even.losses[clock][-20:].mean() for clock in CLOCKS}
for clock, loss in ends.items():
    print(f"{clock:14}{loss:.3f}")
assert max(ends.values()) < 1.1 * min(ends.values())

# %% [markdown]
r"""
**On your own data**, run `adagrad demo FILE`. It draws a similar comparison for a libsvm file
of clicks. For a table, such as a CSV file, `adagrad diagnose FILE --label COLUMN` says whether AdaGrad
will help.

## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.1.
- McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013. Section 3.1 measures
  the gain from per-coordinate rates on a search engine's ads.
"""
