# %% [markdown]
r"""
# 5. A deep network

**The exercise.** Use AdaGrad to train a proper deep network, such as LeNet on Fashion-MNIST.

**What to expect.** Images are dense: most examples have most pixels. The rare features for which
rates per coordinate were designed seem to be missing. Two advantages remain. Gradients differ in
size between the layers of a network and within them, and AdaGrad evens this out, so that one `lr`
serves all weights. Its rates also fall like $1 / \sqrt t$ without a schedule. This suits a few
epochs, and may be too fast for a long run ([exercise 6](6_slower_decay.py)).

This page first trains a small network in NumPy, with gradients computed by hand and
`adagrad.Adagrad` on the list of weights. LeNet follows at the end.

## The network

It classifies handwritten digits of 8 x 8 pixels with three layers. Let $h_0 = x$ be the pixels, a
row, and for the layers $l = 1, 2, 3$ let

$$z_l = h_{l-1} W_l + b_l , \qquad h_l = \max(z_l, 0) .$$

The last $z_3$ are the logits, and $p = \operatorname{softmax}(z_3)$ the predicted probabilities.
The loss is the cross-entropy $-\log p_y$ of the true class $y$. Its gradient is $p - e_y$ in the
logits, with the unit vector $e_y$, and goes backwards by the chain rule: with $\delta_l$ for the
gradient in $z_l$ and $\odot$ for the product of the entries,

$$
\begin{aligned}
\frac{\partial L}{\partial W_l} &= h_{l-1}^\top\, \delta_l , \\
\frac{\partial L}{\partial b_l} &= \delta_l , \\
\delta_{l-1} &= (\delta_l W_l^\top) \odot [z_{l-1} > 0] .
\end{aligned}
$$

A batch takes the mean over its examples.
"""

# %%
import itertools
import math

import numpy as np
from sklearn.datasets import load_digits

import adagrad
from adagrad.plotting import loss_figure

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
x = (digits.data[order] / 16).astype(np.float32)
y = digits.target[order]
TRAIN, CHOOSE, TEST = slice(1200), slice(1200, 1500), slice(1500, None)

LAYERS = (64, 64, 32, 10)


def new_params(seed: int) -> list[np.ndarray]:
    """Return weights [in, out] and biases [out] of each layer, initialized as by He et al."""
    rng = np.random.default_rng(seed)
    params: list[np.ndarray] = []
    for inputs, outputs in itertools.pairwise(LAYERS):
        weights = rng.standard_normal((inputs, outputs)) * (2 / inputs) ** 0.5
        params += [weights.astype(np.float32), np.zeros(outputs, np.float32)]
    return params


def forward(params: list[np.ndarray], x: np.ndarray) -> list[np.ndarray]:
    """Return the inputs of every layer, and the logits."""
    values = [x]
    for layer in range(len(params) // 2):
        z = values[-1] @ params[2 * layer] + params[2 * layer + 1]
        values.append(z if 2 * layer + 2 == len(params) else np.maximum(z, 0))
    return values


def gradients(
    params: list[np.ndarray], x: np.ndarray, y: np.ndarray
) -> tuple[float, list[np.ndarray]]:
    """Return the mean cross-entropy, and its gradient for each of the params."""
    *inputs, logits = forward(params, x)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    loss = float(-np.log(p[np.arange(len(y)), y]).mean())
    p[np.arange(len(y)), y] -= 1
    back = p / np.float32(len(y))
    grads: list[np.ndarray] = []
    for layer in reversed(range(len(inputs))):
        grads = [inputs[layer].T @ back, back.sum(axis=0), *grads]
        back = (back @ params[2 * layer].T) * (inputs[layer] > 0)
    return loss, grads


# %% [markdown]
r"""
We check the gradient against a difference quotient in double precision.
"""

# %%
params = [p.astype(np.float64) for p in new_params(0)]
_, grads = gradients(params, x[:50], y[:50])
for p, g in zip(params, grads, strict=True):
    place = np.unravel_index(np.abs(g).argmax(), g.shape)
    losses = []
    for change in (1e-6, -2e-6):
        p[place] += change
        losses.append(gradients(params, x[:50], y[:50])[0])
    p[place] += 1e-6
    assert np.isclose((losses[0] - losses[1]) / 2e-6, g[place], rtol=1e-5)

# %% [markdown]
r"""
## AdaGrad and SGD

SGD is the same optimizer with `power=0`, which divides by 1. The first 1,200 digits are for
training. Each method tries five rates over a factor of 20, and uses the one with the smallest loss
on the next 300 digits. The last 297 are for the test.
"""

# %%
EPOCHS, BATCH, EVERY = 6, 20, 15


def run(rule: adagrad.Rule) -> tuple[list[int], list[float], adagrad.Adagrad]:
    """Train, and return the examples seen, the losses on the digits for choosing, and the state."""
    optimizer = adagrad.Adagrad(new_params(1), rule=rule)
    params, rng = optimizer.params, np.random.default_rng(2)
    seen, losses = [0], [gradients(params, x[CHOOSE], y[CHOOSE])[0]]
    for _ in range(EPOCHS):
        for chosen in np.split(rng.permutation(1200), 1200 // BATCH):
            optimizer.step(gradients(params, x[chosen], y[chosen])[1])
            if optimizer.steps[0] % EVERY == 0:
                seen.append(optimizer.steps[0] * BATCH)
                losses.append(gradients(params, x[CHOOSE], y[CHOOSE])[0])
    return seen, losses, optimizer


best = {}
for name, rates, fields in (
    ("AdaGrad", (0.01, 0.02, 0.05, 0.1, 0.2), {}),
    ("SGD", (0.05, 0.1, 0.2, 0.5, 1.0), {"power": 0.0, "eps": 0.0}),
):
    runs = {lr: run(adagrad.Rule(lr=lr, **fields)) for lr in rates}
    lr = min(runs, key=lambda lr: runs[lr][1][-1])
    best[name] = runs[lr]
    logits = forward(runs[lr][2].params, x[TEST])[-1]
    right = float((logits.argmax(axis=1) == y[TEST]).mean())
    print(
        f"{name}: lr = {lr}, {right:.1%} of the test digits are right; losses for all rates:"
    )
    print("   ", " ".join(f"{losses[-1]:.3f}" for _, losses, _ in runs.values()))
    assert right > 0.93
last = {name: losses[-1] for name, (_, losses, _) in best.items()}
assert 0.5 < last["AdaGrad"] / last["SGD"] < 2

# %% [markdown]
r"""
Both learn the digits, and with a good rate for each there is little difference, as expected.
"""

# %% mystnb={"image": {"alt": "The cross-entropy of AdaGrad and SGD against the number of examples, on a logarithmic axis. Both fall from 2.3 to about 0.1 in six epochs, AdaGrad with smaller swings."}}
loss_figure(
    {name: (seen, losses) for name, (seen, losses, _) in best.items()},
    title="Digits, three layers",
    ylabel="cross-entropy, digits for choosing",
)

# %% [markdown]
r"""
## What the accumulators have seen

The effective rate of a weight is $\eta / \sqrt s$. We print the root mean square of $\sqrt s$ in
each layer, and the range of 90 % of its weights that had a gradient at all.
"""

# %%
accumulators, size = best["AdaGrad"][2].accumulators, []
for layer, s in enumerate(accumulators[::2], start=1):
    size.append(math.sqrt(s.mean()))
    low, high = np.quantile(np.sqrt(s[s > 0]), (0.05, 0.95))
    print(
        f"layer {layer}: {size[-1]:.3f} on average, 90 % from {low:.4f} to {high:.3f}"
    )
    assert high > 100 * low
assert size[-1] > 2 * size[0]

lit = (x[TRAIN] > 0).mean(axis=0)  # the share of digits that have a pixel
of_pixel = np.sqrt(accumulators[0]).mean(axis=1)
rare, common = of_pixel[lit < 0.1].mean(), of_pixel[lit > 0.7].mean()
print(
    f"pixels in less than 10 % of the digits: √s = {rare:.4f}, in more than 70 %: {common:.3f}"
)
assert common > 10 * rare
assert np.corrcoef(lit, of_pixel)[0, 1] > 0.8

# %% [markdown]
r"""
Gradients of the last layer are larger than those of the first. Within each layer, they differ by
factors of hundreds to thousands. In the first layer, $\sqrt s$ follows how often a pixel is lit, and
hardly any digit reaches the edge of the picture. The rare features are there after all.

## LeNet on Fashion-MNIST

LeNet takes the same loop, with convolutions and a framework that computes the gradients.
[examples/lenet.py](https://github.com/adagrad/adagrad/blob/main/examples/lenet.py) trains it with
`adagrad.torch.Adagrad` and with torch's own AdaGrad, from the same weights on the same batches of
256 images. `python examples/lenet.py --epochs 10` uses $\eta = 0.02$, and prints the same losses for
both: no batch has losses that differ by more than $10^{-6}$. The table has the mean loss of an epoch,
beside those of two other optimizers in the same program: our `Adagrad` with `Rule(lr=0.02,
accumulator_decay=0.999)`, and `torch.optim.SGD(lr=0.9)`. Each is a single run.

| epoch | AdaGrad | forgetting | SGD |
|---|---|---|---|
| 1 | 1.059 | 1.150 | 2.309 |
| 2 | 0.697 | 0.715 | 1.198 |
| 5 | 0.591 | 0.589 | 0.634 |
| 10 | 0.509 | 0.487 | 0.471 |

After ten epochs, 79.8 %, 80.5 % and 80.9 % of the test images are right. AdaGrad leads at first: SGD
spends its first epoch at chance. Then the falling rates slow AdaGrad down. With forgetting, the same
`lr` goes further, and SGD with its constant rate is ahead after ten epochs. How to make the decay
less aggressive is the [next exercise](6_slower_decay.py).

With $\eta = 0.05$, AdaGrad, ours and torch's, stays at chance, 10 %, for two epochs. The first step
moves *every* weight that has a gradient by $\eta$, however small the gradient is. For the sigmoids of 1998,
this is a long way. A larger `eps` or `initial_accumulator` makes the first steps shorter.

## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.7, exercise 5.
- LeCun et al., "Gradient-Based Learning Applied to Document Recognition",
  Proceedings of the IEEE 86 (1998).
- He et al., "Delving Deep into Rectifiers", ICCV 2015, on the initial weights.
- Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
  Algorithms", arXiv:1708.07747 (2017).
"""
