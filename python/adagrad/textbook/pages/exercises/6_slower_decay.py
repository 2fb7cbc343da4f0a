# %% [markdown]
r"""
# 6. Less aggressive decay

*How would you need to modify AdaGrad to achieve a less aggressive decay in learning rate?*

The rate is `lr / √s`, where `s` sums over the whole past. With gradients of constant size,
`|g| = 1`, the rate after `t` steps is `lr / √t`. Four changes make it fall more slowly:

=======================  =============================================  =====================
change                   how                                            rate after t steps
=======================  =============================================  =====================
a smaller power          `Rule(power=p)`                              `lr / t^p`
forget slowly            `Rule(accumulator_decay=a)`                  `→ lr √(1 - a)`
a window of W steps      sum of the last `W` squares                  `lr / √min(t, W)`
a larger start           `Rule(initial_accumulator=s0)`               `lr / √(s0 + t)`
=======================  =============================================  =====================

With a smaller power, the rate falls more slowly forever. With forgetting or a window, it stops
falling. Forgetting is the idea of RMSProp and Adadelta, and needs no extra memory; a window needs
`W` arrays. A larger start only delays the decay: until `t` is about `s0`, the rate hardly
changes.
"""

# %%
import numpy as np

import adagrad
from adagrad.plotting import loss_figure


class Window:
    """AdaGrad with a sum of only the last squares, which the library does not have."""

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

# %% [markdown]
r"""
**We check the table** with gradients of 1, for which the length of a step is the rate.
"""

# %%
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

# %% [markdown]
r"""
**When is this worth it?** When the truth changes. A sum over the whole past suits a future that
is like the past. We run a regression on a stream of 3,000 examples with 20 features and noise of
standard deviation 0.3. After half of the examples, new true weights are drawn. Each method uses
the best of ten rates by its mean loss. Every example is predicted before it is learned.
"""

# %%
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
    """Return the means of all runs of `width` consecutive values."""
    return np.convolve(values, np.full(width, 1 / width), mode="valid")


with np.errstate(over="ignore", invalid="ignore"):
    best = {
        name: min(((losses(name, lr), lr) for lr in RATES), key=lambda run: np.mean(run[0]))
        for name in WAYS
    }
print("mean squared error    best lr     300 before      300 after       last 300")
for name, (loss, lr) in best.items():
    parts = (loss[half - 300 : half], loss[half : half + 300], loss[-300:])
    print(f"{name:20}{lr:9.3g}", *(f"{part.mean():14.3f}" for part in parts))

# %% [markdown]
r"""
The picture shows the errors over time. The peak is the change.
"""

# %%
figure = loss_figure(
    {name: (np.arange(100, EXAMPLES + 1), running(loss)) for name, (loss, _) in best.items()},
    title="The truth changes after 1,500 examples",
    ylabel="squared error, mean of 100",
    reference=("noise", 0.09),
)
figure

# %%
after = {name: loss[half : half + 300].mean() for name, (loss, _) in best.items()}
end = {name: loss[-300:].mean() for name, (loss, _) in best.items()}
assert max(after, key=after.__getitem__) == "AdaGrad"
assert min(end, key=end.__getitem__) == "AdaGrad"

# %% [markdown]
r"""
Every method adapts faster than AdaGrad after the change, and every method pays for it. When
nothing changes any more, AdaGrad's small rates average the noise out best. Methods whose rates
stop falling never average it out. A smaller power is a compromise that loses little on either
side.

For tables on long streams, `Table.decay(gamma, floor)` forgets between steps, whenever you call
it, and adds no cost to the steps themselves ([tables](https://adagrad.readthedocs.io/en/latest/tables.html)).

## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.7, exercise 6.
- Zeiler, "ADADELTA: An Adaptive Learning Rate Method", arXiv:1212.5701 (2012). Section 3.1 goes
  from a window to forgetting.
- Tieleman and Hinton, "Lecture 6.5: rmsprop", Coursera (2012).
"""
