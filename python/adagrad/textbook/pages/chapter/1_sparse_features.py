# %% [markdown]
r"""
# Sparse features and learning rates

Words, sites and products follow Zipf's law: a few occur all the time, and most hardly ever. A
weight learns only from examples that contain its feature. After a pass over the data, some weights
have had a thousand gradients, and most only ten. A single learning rate is too large for the first
or too small for the others. A rate that falls with time, `lr / √t`, is worse: by the time a rare
feature appears, the rate has already fallen.

This program isolates the problem. Each of 20,000 examples has five of 1,000 features, drawn so that
the k-th most frequent has a probability proportional to `k**-1.1`. The label is the sum of the
features' true weights, which are standard normal, plus noise. A linear model sees each example
once. Its rates follow one of three clocks:

- **global**: `lr / √t`, where `t` is the number of steps so far, for all features alike;
- **counter**: `lr / √n`, where `n` counts how often *this* feature has occurred;
- **AdaGrad**: `lr / √s`, where `s` is the sum of the squares of this feature's gradients.

Each clock uses the best of nine values of `lr`, from 0.02 to 10, so the comparison is fair.
"""

# %%
from adagrad.plotting import decile_figure, loss_figure
from adagrad.textbook import CLOCKS, rare_features

result = rare_features()
occurrences = result.by_decile(result.counts)
print(f"{'':16}{'lr':>6}{'error, frequent':>18}{'error, rare':>14}")
for clock in CLOCKS:
    error = result.by_decile(result.errors[clock])
    print(f"{clock:16}{result.lr[clock]:6g}{error[0]:18.4f}{error[-1]:14.4f}")
print(f"occurrences of a feature: {occurrences[0]:.0f} in the most frequent tenth,", end=" ")
print(f"{occurrences[-1]:.0f} in the rarest")

# %% [markdown]
r"""
The error is `(w - truth)²`, which is 1 on average for weights that have learned nothing. All
three clocks learn the frequent features. The global clock learns almost nothing about features
that occur seven times, although seven examples are enough to learn a good deal: its `lr` is
limited by what frequent features can bear.
"""

# %%
decile_figure(result)

# %%
starved = result.by_decile(result.errors["global 1/√t"])
learned = result.by_decile(result.errors["AdaGrad"])
assert starved[-1] > 0.7
assert learned[-1] < 0.25
assert (learned < starved).all()

# %% [markdown]
r"""
Predictions suffer as long as examples have rare features, which is forever. The picture shows the
squared error of predictions made before learning, averaged over 100 steps.
"""

# %%
figure = loss_figure(
    {clock: (result.examples, result.losses[clock]) for clock in reversed(CLOCKS)},
    title="Progressive loss",
    ylabel="squared error, mean of 100 steps",
)
figure

# %% [markdown]
r"""
**On your own data**, run `adagrad demo FILE`. It draws a similar comparison for a libsvm file
of clicks.

## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.1.
- McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013. Section 3.1 measures
  the gain from per-coordinate rates on a search engine's ads.
"""
