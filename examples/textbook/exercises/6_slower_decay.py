"""
6. Less aggressive decay
========================

*How would you need to modify AdaGrad to achieve a less aggressive decay in learning rate?*

The rate is ``lr / √s``, and ``s`` is a sum over all the past. With gradients of one size, ``|g| =
1``, it is ``lr / √t`` after ``t`` steps. There are four things to turn:

=======================  =============================================  =====================
what                     how                                            rate after t steps
=======================  =============================================  =====================
a smaller power          ``Rule(power=p)``                              ``lr / t^p``
forget slowly            ``Rule(accumulator_decay=a)``                  ``→ lr √(1 - a)``
a window of W steps      sum of the last ``W`` squares                  ``lr / √min(t, W)``
a larger start           ``Rule(initial_accumulator=s0)``               ``lr / √(s0 + t)``
=======================  =============================================  =====================

The first falls more slowly, forever. The second and third stop falling: *forgetting* is the idea of
RMSProp and Adadelta, and costs no memory, while a window takes ``W`` arrays. The last only comes
later: until ``t`` is about ``s0`` the rate hardly moves.
"""

import numpy as np

import adagrad
from adagrad.plotting import loss_figure


class Window:
    """AdaGrad on the sum of the last squares alone; not a rule of the library."""

    def __init__(self, width: int, lr: float, d: int) -> None:
        self.squares, self.lr, self.t = np.zeros((width, d)), lr, 0

    def step(self, w: np.ndarray, g: np.ndarray) -> None:
        """Update w in place."""
        self.squares[self.t % len(self.squares)] = g * g
        self.t += 1
        w -= self.lr * g / np.sqrt(self.squares.sum(axis=0) + 1e-6)


class Kernel:
    """A rule of the library, with its accumulator."""

    def __init__(self, d: int, **fields: float) -> None:
        self.rule = adagrad.Rule(**fields)
        self.s = np.full(d, self.rule.initial_accumulator)

    def step(self, w: np.ndarray, g: np.ndarray) -> None:
        """Update w in place."""
        adagrad.step(w, g, self.s, self.rule)


WAYS = {
    "AdaGrad": lambda lr, d: Kernel(d, lr=lr),
    "power 1/4": lambda lr, d: Kernel(d, lr=lr, power=0.25),
    "decay 0.99": lambda lr, d: Kernel(d, lr=lr, accumulator_decay=0.99),
    "window of 100": lambda lr, d: Window(100, lr, d),
    "start at 1000": lambda lr, d: Kernel(d, lr=lr, initial_accumulator=1000.0),
}

# %%
# **Check of the table**: gradients of 1, so that the way of a step is the rate.

EXPECTED = {
    "AdaGrad": lambda t: t**-0.5,
    "power 1/4": lambda t: t**-0.25,
    "decay 0.99": lambda t: ((1 - 0.99) / (1 - 0.99**t)) ** 0.5,
    "window of 100": lambda t: min(t, 100) ** -0.5,
    "start at 1000": lambda t: (1000 + t) ** -0.5,
}
print("rate after    1        10       100      1000      3000 steps")
for name, way in WAYS.items():
    w, g = np.zeros(1), np.ones(1)
    optimizer, rates = way(1.0, 1), []
    for t in range(1, 3001):
        before = w[0]
        optimizer.step(w, g)
        rates.append(before - w[0])
        assert np.isclose(rates[-1], EXPECTED[name](t), rtol=1e-5)
    print(f"{name:14}", "  ".join(f"{rates[t - 1]:.5f}" for t in (1, 10, 100, 1000, 3000)))

# %%
# **When is it worth it?** Where the truth moves: a sum over all the past is right for a past that
# is like the future. A regression on a stream: 20 features, noise of deviation 0.3, and after half
# of 3,000 examples the true weights are drawn anew. Each way has the best of ten rates by its mean
# loss; the loss of an example is taken before it is learnt.

D, EXAMPLES, RATES = 20, 3000, np.geomspace(0.005, 20, 10)
rng = np.random.default_rng(1)
truths = rng.standard_normal((2, D))
x = rng.standard_normal((EXAMPLES, D))
half = EXAMPLES // 2
y = np.concatenate([x[:half] @ truths[0], x[half:] @ truths[1]]) + rng.normal(0, 0.3, EXAMPLES)


def losses(name: str, lr: float) -> np.ndarray:
    """Return the squared errors, [examples]."""
    w, optimizer = np.zeros(D), WAYS[name](lr, D)
    errors = np.empty(EXAMPLES)
    for i in range(EXAMPLES):
        errors[i] = x[i] @ w - y[i]
        optimizer.step(w, errors[i] * x[i])
    return errors**2


def running(values: np.ndarray, width: int = 100) -> np.ndarray:
    """Return means of as many values, one for each place that has them."""
    return np.convolve(values, np.full(width, 1 / width), mode="valid")


with np.errstate(over="ignore", invalid="ignore"):
    best = {
        name: min(((losses(name, lr), lr) for lr in RATES), key=lambda run: np.mean(run[0]))
        for name in WAYS
    }
print("mean squared error    best lr  before the change  300 after it  last 300")
for name, (loss, lr) in best.items():
    parts = (loss[half - 300 : half], loss[half : half + 300], loss[-300:])
    print(f"{name:20}{lr:9.3g}", *(f"{part.mean():14.3f}" for part in parts))

# %%
# Errors over time: the peak is the change.

figure = loss_figure(
    {name: (np.arange(100, EXAMPLES + 1), running(loss)) for name, (loss, _) in best.items()},
    title="The truth changes after 1,500 examples",
    ylabel="squared error, mean of 100",
    reference=("noise", 0.09),
)
figure.savefig("slower-decay.png", dpi=120)

after = {name: loss[half : half + 300].mean() for name, (loss, _) in best.items()}
end = {name: loss[-300:].mean() for name, (loss, _) in best.items()}
assert max(after, key=after.__getitem__) == "AdaGrad"
assert min(end, key=end.__getitem__) == "AdaGrad"

# %%
# Every way is quicker than AdaGrad once the truth has moved, and none is for nothing: where all is
# quiet, at the end, AdaGrad's small rates average the noise away best, and ways that stop falling
# never do. A smaller power is the mild choice, which loses little on either side.
#
# For tables on long streams ``Table.decay(factor, floor)`` forgets between steps, at times of your
# choice, and costs nothing in the steps themselves (:doc:`/tables`).
#
# References
# ----------
# - Zhang et al., *Dive into Deep Learning*, section 12.7.7, exercise 6.
# - Zeiler, "ADADELTA: An Adaptive Learning Rate Method", arXiv:1212.5701 (2012): from a window to
#   forgetting, section 3.1.
# - Tieleman and Hinton, "Lecture 6.5: rmsprop", Coursera (2012).
