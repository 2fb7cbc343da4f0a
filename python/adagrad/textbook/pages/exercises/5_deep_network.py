# %% [markdown]
r"""
# 5. A deep network

*Try AdaGrad for a proper deep network, such as LeNet when applied to Fashion-MNIST.*

**What to expect.** Images are dense: nearly every example has nearly every pixel. The rare features
for which per-coordinate rates were designed are missing. Two advantages remain. The *layers* of a
network have gradients of different sizes, which AdaGrad evens out, so that one `lr` serves all of
them. Its rates also fall like `1/√t` without a schedule. This suits a few epochs, and becomes
slow in a long run ([6. Less aggressive decay](6_slower_decay.py)).

This page shows both with a small network in NumPy. It classifies handwritten digits of 8 x 8 pixels
with three layers, computes the gradient by hand, and uses `adagrad.Adagrad` on the list of
weights.
"""

# %%
import itertools

import numpy as np
from sklearn.datasets import load_digits

import adagrad
from adagrad.plotting import loss_figure

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
x = (digits.data[order] / 16).astype(np.float32)
y = digits.target[order]
test = slice(1400, None)  # the first 1,400 are for training

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
**The run** compares AdaGrad with SGD. SGD is the same optimizer with `power=0`, which divides
by 1. Each uses the best of four rates, chosen by the loss on the test digits.
"""


# %%
def run(rule: adagrad.Rule, epochs: int = 6, batch: int = 20) -> tuple[list, list, list, float]:
    """Train, and return the examples seen, the test losses, the accumulators and the accuracy."""
    params = new_params(1)
    optimizer = adagrad.Adagrad(params, rule=rule)
    rng = np.random.default_rng(2)
    seen, losses = [], []
    for epoch in range(epochs):
        for chosen in np.split(rng.permutation(1400), 1400 // batch):
            optimizer.step(gradients(params, x[chosen], y[chosen])[1])
        seen.append(1400 * (epoch + 1))
        losses.append(gradients(params, x[test], y[test])[0])
    right = forward(params, x[test])[-1].argmax(axis=1) == y[test]
    return seen, losses, optimizer.accumulators, float(right.mean())


best = {}
for name, rates, fields in (
    ("AdaGrad", (0.02, 0.05, 0.1, 0.2), {}),
    ("SGD", (0.1, 0.2, 0.5, 1.0), {"power": 0.0, "eps": 0.0}),
):
    runs = {lr: run(adagrad.Rule(lr=lr, **fields)) for lr in rates}
    lr = min(runs, key=lambda lr: runs[lr][1][-1])
    best[name] = runs[lr]
    spread = sorted(result[1][-1] for result in runs.values())
    print(f"{name}, lr = {lr}: {runs[lr][3]:.1%} right, loss {spread[0]:.3f}", end="; ")
    print("the other rates:", " ".join(f"{loss:.3f}" for loss in spread[1:]))
    assert runs[lr][3] > 0.95

# %% [markdown]
r"""
AdaGrad is ahead for some epochs, because its first steps have the length of its rate, whatever
the gradient. At the end there is little difference, as expected.
"""

# %%
figure = loss_figure(
    {name: (seen, losses) for name, (seen, losses, *_) in best.items()},
    title="Digits, three layers",
    ylabel="cross-entropy on the test digits",
)
figure

# %% [markdown]
r"""
The accumulators show what AdaGrad has done. The effective rate of a weight is `lr / √s`. We
print the median of `√s` in each layer, and its spread over the weights of the layer.
"""

# %%
for layer, s in enumerate(best["AdaGrad"][2][::2], start=1):
    used = np.sqrt(s[s > 0])
    print(f"layer {layer}: median √s = {np.median(used):.3f}", end=", ")
    print(f"from {np.quantile(used, 0.05):.3f} to {np.quantile(used, 0.95):.3f} for 90 % of them")

# %% [markdown]
r"""
Gradients of the last layer are four times as large as those of the first. Within a layer, they
differ by factors of hundreds. In the first layer, this is because hardly any digit reaches the
pixels at the edge of the picture: the rare features are there after all.

**LeNet on Fashion-MNIST** is the same loop with convolutions, in a framework that computes the
gradients. [examples/lenet.py](https://github.com/adagrad/adagrad/blob/main/examples/lenet.py) trains it with
`adagrad.torch.Adagrad` and with torch's own AdaGrad, starting from the same weights. With `lr
= 0.02`, five epochs end with a loss of 0.591 and a test accuracy of 74 % for both. The loss of a
batch differs by at most 5e-7. With `lr = 0.05`, both stay at chance, 10 %, for two epochs,
because the first step moves every weight by `lr`, which is a long way for the sigmoids of 1998.

## References

- Zhang et al., *Dive into Deep Learning*, section 12.7.7, exercise 5.
- LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86 (1998).
- Xiao, Rasul and Vollgraf, "Fashion-MNIST", arXiv:1708.07747 (2017).
"""
