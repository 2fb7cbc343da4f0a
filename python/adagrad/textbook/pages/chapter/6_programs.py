# %% [markdown]
r"""
# The chapter's programs

The chapter trains its regression twice in each framework: *from scratch*, with the update written
out, and *concisely*, with the framework's own optimizer. This page has these programs for PyTorch,
for TensorFlow with Keras, and for MXNet, and runs each beside ours. All of them see the airfoil
data of [the previous page](5_airfoil.py) in the same order, start from the same params, and compute
in float32.

There are two questions, with different answers:

- *Does our update do what theirs does?* Yes: with gradients from the same framework, both runs end
  with the same bits, or within $10^{-6}$ where the framework rounds in its own way.
- *Do the frameworks agree with each other?* From scratch, up to rounding. The concise programs do
  not: their optimizers differ in $\epsilon$ and in the accumulator's start.
"""

# %%
import os
from pathlib import Path

import numpy as np

import adagrad
from adagrad.plotting import loss_figure
from adagrad.textbook import (
    Regression,
    airfoil_from_scratch,
    airfoil_with_optimizer,
    airfoil_with_program,
)

LR, EPS = 0.1, 1e-6
plain = airfoil_from_scratch(seed=0, lr=LR)  # with gradients computed in NumPy
table = ["program         loss    ours   NumPy"]


def distance(a: Regression, b: Regression) -> float:
    """Return the largest difference between the final params of two runs."""
    return float(max(np.abs(a.w - b.w).max(), np.abs(a.b - b.b).max()))


def compare(
    name: str, theirs: Regression, ours: Regression, bound: float = 0.0
) -> None:
    """Check that two runs agree, in every bit or up to a bound; note it in the table."""
    apart = distance(theirs, ours)
    assert apart <= bound
    assert bound > 0 or (theirs.losses == ours.losses).all()
    agreement = f"{apart:.0e}" if bound else "=="
    from_numpy = distance(theirs, plain)
    table.append(
        f"{name:<15} {theirs.losses[-1]:.4f} {agreement:>6} {from_numpy:>7.0e}"
    )


# %% [markdown]
r"""
## PyTorch

`airfoil_with_program` takes a program of any framework. It calls `program(w, b)` with the initial
params. The program returns its `step(x, y)`, which is called 300 times with ten examples and
returns the new params.

Here is the program **from scratch**. The update is an argument, in torch's arithmetic or in ours.
`adagrad.step` works on the memory of the tensors, without a copy.
"""

# %%
try:
    import torch

    import adagrad.torch
except ImportError as error:
    torch = None
    print(f"PyTorch is left out: {error}. To run its programs: pip install torch")


def torch_from_scratch(update):
    def program(w, b):
        params = [torch.tensor(p, requires_grad=True) for p in (w, b)]
        sums = [torch.zeros_like(p) for p in params]

        def step(x, y):
            error = torch.from_numpy(x) @ params[0] + params[1] - torch.from_numpy(y)
            grads = torch.autograd.grad((error**2).mean() / 2, params)
            with torch.no_grad():
                for p, g, s in zip(params, grads, sums, strict=True):
                    update(p, g, s)
            return [p.detach().numpy() for p in params]

        return step

    return program


def torch_update(p, g, s):
    s += torch.square(g)
    p -= LR * g / torch.sqrt(s + EPS)


def our_update(p, g, s):
    adagrad.step(p.detach().numpy(), g.numpy(), s.numpy(), LR, EPS)


if torch is not None:
    theirs = airfoil_with_program(torch_from_scratch(torch_update))
    ours = airfoil_with_program(torch_from_scratch(our_update))
    print(f"largest difference: {distance(theirs, ours):.1e}")
    assert distance(theirs, ours) <= 1e-6

# %% [markdown]
r"""
A difference comes from the root. IEEE arithmetic asks for the float32 number that is nearest to it,
which is what NumPy and our code return. torch takes the root from the vector library of Intel's MKL
where it is built with that, as on most x86 processors, and the library may return the number beside
the nearest. With the root computed in double precision and rounded once, the two programs have the
same bits.
"""


# %%
def torch_update_with_nearest_root(p, g, s):
    s += torch.square(g)
    p -= LR * g / torch.sqrt((s + EPS).double()).float()


if torch is not None:
    numbers = np.random.default_rng(0).random(100_000, dtype=np.float32)
    roots, nearest = torch.sqrt(torch.from_numpy(numbers)).numpy(), np.sqrt(numbers)
    print(
        f"{np.mean(roots != nearest):.1%} of torch's roots are not the nearest number"
    )
    assert (np.abs(roots.view(np.int32) - nearest.view(np.int32)) <= 1).all()

    table.append(f"PyTorch {torch.__version__.split('+')[0]}")
    compare("  from scratch", theirs, ours, bound=1e-6)
    theirs = airfoil_with_program(torch_from_scratch(torch_update_with_nearest_root))
    compare("  nearest root", theirs, ours)

# %% [markdown]
r"""
The **concise** program has a layer, a loss and an optimizer of torch.
[`adagrad.torch.Adagrad`](https://adagrad.readthedocs.io/en/latest/torch.html) takes the place of
`torch.optim.Adagrad`. The last bits differ because of the root, and in long arrays also because
torch fuses a multiplication with an addition, which saves a rounding.
"""


# %%
def torch_concise(optimizer_class):
    def program(w, b):
        net = torch.nn.Linear(5, 1)
        with torch.no_grad():
            net.weight.copy_(torch.from_numpy(w))
            net.bias.copy_(torch.from_numpy(b))
        optimizer = optimizer_class(net.parameters(), lr=LR)
        loss = torch.nn.MSELoss()

        def step(x, y):
            optimizer.zero_grad()
            loss(net(torch.from_numpy(x))[:, 0], torch.from_numpy(y)).backward()
            optimizer.step()
            return net.weight.detach().numpy()[0], net.bias.detach().numpy()

        return step

    return program


if torch is not None:
    torch_run = airfoil_with_program(torch_concise(torch.optim.Adagrad))
    ours = airfoil_with_program(torch_concise(adagrad.torch.Adagrad))
    compare("  concise", torch_run, ours, bound=1e-6)

# %% [markdown]
r"""
## TensorFlow and Keras

This is the program **from scratch**. TensorFlow owns the memory of its variables, so our update
computes on copies and assigns the results. The bits are the same.
"""

# %%
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
try:
    import keras
    import tensorflow as tf

    import adagrad.keras

    if keras.backend.backend() != "tensorflow":
        raise ImportError("Keras has been imported with another backend")
except ImportError as error:
    tf = None
    print(
        f"TensorFlow is left out: {error}. To run it: pip install keras tensorflow-cpu"
    )


def tensorflow_from_scratch(update):
    def program(w, b):
        params = [tf.Variable(p) for p in (w, b)]
        sums = [tf.Variable(tf.zeros_like(p)) for p in params]

        def step(x, y):
            with tf.GradientTape() as tape:
                error = tf.linalg.matvec(x, params[0]) + params[1] - y
                loss = tf.reduce_mean(error**2) / 2
            grads = tape.gradient(loss, params)
            for p, g, s in zip(params, grads, sums, strict=True):
                update(p, g, s)
            return [p.numpy() for p in params]

        return step

    return program


def tensorflow_update(p, g, s):
    s.assign_add(tf.square(g))
    p.assign_sub(LR * g / tf.sqrt(s + EPS))


def our_update_of_copies(p, g, s):
    new_p, new_s = p.numpy().copy(), s.numpy().copy()
    adagrad.step(new_p, g.numpy(), new_s, LR, EPS)
    p.assign(new_p)
    s.assign(new_s)


if tf is not None:
    table.append(f"TensorFlow {tf.__version__}")
    theirs = airfoil_with_program(tensorflow_from_scratch(tensorflow_update))
    ours = airfoil_with_program(tensorflow_from_scratch(our_update_of_copies))
    compare("  from scratch", theirs, ours)

# %% [markdown]
r"""
The **concise** program has a layer, a loss and an optimizer of Keras.
[`adagrad.keras.Adagrad`](https://adagrad.readthedocs.io/en/latest/keras.html) takes the place of
`keras.optimizers.Adagrad`. Again the bits are the same.
"""


# %%
def keras_concise(optimizer):
    def program(w, b):
        layer, loss = keras.layers.Dense(1), keras.losses.MeanSquaredError()
        layer.build((None, 5))
        layer.set_weights([w.reshape(5, 1), b])

        def step(x, y):
            with tf.GradientTape() as tape:
                value = loss(y, layer(x))
            params = layer.trainable_variables
            optimizer.apply(tape.gradient(value, params), params)
            w, b = layer.get_weights()
            return w[:, 0], b

        return step

    return program


if tf is not None:
    table.append(f"Keras {keras.__version__}")
    keras_run = airfoil_with_program(keras_concise(keras.optimizers.Adagrad(LR)))
    ours = airfoil_with_program(keras_concise(adagrad.keras.Adagrad(LR)))
    compare("  concise", keras_run, ours)

# %% [markdown]
r"""
## MXNet

MXNet's last release does not run with a current NumPy. Its two programs therefore ran in an
environment of their own, in which
[a script](https://github.com/adagrad/adagrad/blob/main/tests/data/record_airfoil_mxnet.py) recorded
the gradients and the params of each step. The recording is part of the package.

The step **from scratch** is, for each param `p` with accumulator `s`:

```python
with autograd.record():
    loss = ((np.dot(x, w) + b - y) ** 2 / 2).mean()
loss.backward()
s += np.square(p.grad)
p -= lr * p.grad / np.sqrt(s + 1e-6)
```

The **concise** one belongs to a trainer of Gluon:

```python
with autograd.record():
    loss = gluon.loss.L2Loss()(net(x), y)
loss.backward()
trainer.step(10)  # gluon.Trainer(..., "adagrad", {"learning_rate": lr})
```

The trainer gets the sum of ten gradients, and multiplies it by 1/10. In our rule this is
`scale=0.1`. We replay the gradients, and get MXNet's bits in all 300 steps of both programs.
"""

# %%
recorded = np.load(Path(adagrad.__file__).with_name("data") / "airfoil_mxnet.npz")


def replay(params):
    """Return the run that passes through these params."""
    rows = iter(params)
    return airfoil_with_program(lambda w, b: lambda x, y: np.split(next(rows), [5]))


table.append(f"MXNet {recorded['version']}")
start = airfoil_from_scratch(epochs=0)  # the initial params of all runs
for name, label, rule in (
    ("scratch", "  from scratch", adagrad.Rule(lr=LR, eps=EPS)),
    ("concise", "  concise", adagrad.preset("mxnet", lr=LR, scale=0.1)),
):
    p, ours = np.append(start.w, start.b), []
    s = np.zeros_like(p)
    for g in recorded[f"{name}_grads"]:
        adagrad.step(p, g, s, rule)
        ours.append(p.copy())
    assert (recorded[f"{name}_params"] == ours).all()
    mxnet_run = replay(recorded[f"{name}_params"])
    compare(label, mxnet_run, replay(ours))

# %% [markdown]
r"""
## All programs

The table has the loss after two passes. "Ours" is the largest difference between the final params
of the framework's program and of ours, with gradients from the same framework; `==` stands for the
same bits in all params and losses. "NumPy" is the largest difference from the run of the previous
page, which computes the gradient in NumPy. "Nearest root" is from scratch with the exact rounding
of the root.
"""

# %%
print("\n".join(table))
from_scratch = [line for line in table if "from scratch" in line]
assert all(float(line.split()[-1]) <= 1e-6 for line in from_scratch)

# %% [markdown]
r"""
From scratch, the last column shows rounding: each framework adds up the ten examples of a gradient
in an order of its own. The last place of a weight is worth $3\cdot 10^{-8}$ or $6\cdot 10^{-8}$.

## Why the concise programs differ

| program | divisor | $\epsilon$ | $s_0$ |
|---|---|---|---|
| from scratch | $\sqrt{s+\epsilon}$ | $10^{-6}$ | 0 |
| PyTorch | $\sqrt{s}+\epsilon$ | $10^{-10}$ | 0 |
| Keras | $\sqrt{s+\epsilon}$ | $10^{-7}$ | 0.1 |
| MXNet | $\sqrt{s+\epsilon}$ | $10^{-7}$ | 0 |

These are [presets](https://adagrad.readthedocs.io/en/latest/presets.html), so the runs of the
optimizers can be repeated in NumPy without the frameworks. There is one more difference. The losses
of PyTorch and Keras are mean squared errors without the factor $\tfrac12$, so their gradients are
twice as large: `scale=2`.
"""

# %%
rules = {
    "from scratch": adagrad.Rule(lr=LR, eps=EPS),
    "PyTorch": adagrad.preset("torch", lr=LR, scale=2.0),
    "Keras": adagrad.preset("keras", lr=LR, scale=2.0),
    "MXNet": adagrad.preset("mxnet", lr=LR),
}
runs = {name: airfoil_with_optimizer(seed=0, lr=rule) for name, rule in rules.items()}
print("examples seen", *(f"{seen:>7}" for seen in plain.examples[[1, 5, 15]]))
for name, run in runs.items():
    print(f"{name:<13}", *(f"{loss:>7.4f}" for loss in run.losses[[1, 5, 15]]))

assert distance(runs["MXNet"], mxnet_run) <= 1e-6
assert torch is None or distance(runs["PyTorch"], torch_run) <= 1e-6
assert tf is None or distance(runs["Keras"], keras_run) <= 1e-6

# %% [markdown]
r"""
Keras is behind at first, because its accumulators start at 0.1. Until the squared gradients of a
coordinate add up to more, its steps are much shorter than the others'. The first step shows this
best: if $s$ starts at 0 and there is no $\epsilon$, its length is `lr` for any gradient.
"""

# %%
first = np.array([0.1, 0.01, 0.001])
print("gradient     ", *(f"{g:>7}" for g in first))
print("first step / lr")
for name, rule in rules.items():
    p, s = np.zeros(3), np.full(3, rule.initial_accumulator)
    adagrad.step(p, first, s, rule)
    steps = -p / LR
    print(f"{name:<13}", *(f"{step:>7.4f}" for step in steps))
    if name == "Keras":
        assert np.allclose(steps, 2 * first / np.sqrt(0.1 + 4 * first**2), rtol=1e-6)
    else:
        assert (steps > 0.7).all()

# %% mystnb={"image": {"alt": "Four loss curves. Three lie on top of each other; that of Keras starts higher and joins them after about 1,000 examples."}}
loss_figure(
    {name: (run.examples[1:], run.losses[1:]) for name, run in runs.items()},
    title="One regression with four optimizers",
    ylabel="mean squared error / 2",
)

# %% [markdown]
r"""
The place of $\epsilon$ hardly matters here, because no gradient stays tiny. For a rare feature with
tiny gradients, it decides how soon the weight moves
([presets](https://adagrad.readthedocs.io/en/latest/presets.html#why-the-choice-matters)).

**The factor two cancels**, as long as $\epsilon$ and $s_0$ are 0: doubled gradients double the root
as well. The factor is a power of two, so even the bits are the same. With a start, it does not
cancel: Keras' start of 0.1 acts on doubled gradients like a start of 0.025 on the chapter's.
"""

# %%
without = [adagrad.Rule(lr=LR, eps=0.0, scale=scale) for scale in (1.0, 2.0)]
one, two = (airfoil_with_optimizer(lr=rule) for rule in without)
assert (one.w == two.w).all()
assert (one.losses == two.losses).all()

quarter = adagrad.preset("keras", lr=LR, initial_accumulator=0.1 / 4, eps=1e-7 / 4)
assert (airfoil_with_optimizer(lr=quarter).w == runs["Keras"].w).all()

# %% [markdown]
r"""
**In the chapter's own listings** two things differ that have nothing to do with the optimizer. The
helper for the concise program in PyTorch makes four passes by default, and leaves
the bias of the layer at its random initial value, where the other helpers start from 0. After four
passes the loss is smaller:
"""

# %%
four = airfoil_with_optimizer(seed=0, lr=rules["PyTorch"], epochs=4)
print(f"two passes {runs['PyTorch'].losses[-1]:.4f}, four passes {four.losses[-1]:.4f}")
assert round(four.losses[-1], 3) == 0.242

# %% [markdown]
r"""
## References

- Zhang et al., *Dive into Deep Learning*, sections 12.5.3 to 12.5.5, 12.7.4 and 12.7.5, and its
  package d2l, version 1.0.3.
- The [numeric contract](https://adagrad.readthedocs.io/en/latest/contract.html) of this package.
"""
