"""
Sparse features and learning rates
==================================

Words, sites and products follow Zipf's law: a few occur all the time and most hardly ever. A weight
learns only from examples that its feature is in, so after a pass over the data some weights have
had a thousand gradients and most of them ten. One learning rate for all has to be too large for the
first or too small for the others; a rate that falls with time, ``lr / √t``, is worse: when a rare
feature turns up, the rate has fallen already.

Here is that problem with nothing else in it. Of 1,000 features five are drawn for each of 20,000
examples, the k-th most frequent with a probability proportional to ``k**-1.1``. The label is the
sum of their true weights, which are standard normal, and noise. A linear model sees each example
once. Three clocks say how far its rates have fallen:

- **global**: ``lr / √t`` with ``t`` the number of steps so far, for all features alike;
- **counter**: ``lr / √n`` with ``n`` how often *this* feature has occurred;
- **AdaGrad**: ``lr / √s`` with ``s`` the sum of the squares of this feature's gradients.

Each has the best ``lr`` of nine, from 0.02 to 10, so none of them is starved by a bad choice.
"""

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

# %%
# The error is ``(w - truth)²``, which is 1 on average where nothing is learnt. All three know the
# frequent features. Of those that occur seven times the global clock knows next to nothing, though
# seven examples are enough to know a good deal: its ``lr`` is what frequent features can bear.

figure = decile_figure(result)
figure.savefig("error-of-the-weights-by-frequency.png", dpi=120)

starved = result.by_decile(result.errors["global 1/√t"])
learnt = result.by_decile(result.errors["AdaGrad"])
assert starved[-1] > 0.7
assert learnt[-1] < 0.25
assert (learnt < starved).all()

# %%
# Predictions suffer from that for as long as examples have rare features in them, which is forever:
# squared errors of predictions made before learning, over 100 steps.

figure = loss_figure(
    {clock: (result.examples, result.losses[clock]) for clock in reversed(CLOCKS)},
    title="Progressive loss",
    ylabel="squared error, mean of 100 steps",
)
figure.savefig("loss-of-three-clocks.png", dpi=120)

# %%
# **On your own data** ``adagrad demo FILE`` draws the same comparison for a libsvm file of clicks.
#
# References
# ----------
# - Zhang et al., *Dive into Deep Learning*, section 12.7.1.
# - McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, section 3.1, which
#   measures the gain of per-coordinate rates on a search engine's ads.
