"""`adagrad.keras.Adagrad` on torch: the update writes to the memory of the variables."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from adagrad.keras import Adagrad
from checks import assert_same_bits
from keras_models import BACKEND, array, on_torch, refused, variables_of

if BACKEND == "torch":
    import torch


@on_torch
def test_torch_memory_is_updated_in_place(rng):
    layer = keras.layers.Dense(30, kernel_initializer="orthogonal")
    layer.build((None, 40))
    tensors = [v.value.detach() for v in layer.trainable_variables]
    assert not tensors[0].is_contiguous()
    optimizer = Adagrad(0.1)
    optimizer.build(layer.trainable_variables)
    state = [v.value for v in optimizer.variables[2:]]
    before = [t.clone() for t in tensors]
    pointers = [t.data_ptr() for t in (*tensors, *state)]
    grads = [torch.ones_like(t) for t in tensors]
    optimizer.apply(grads, layer.trainable_variables)
    after = [v.value for v in (*layer.trainable_variables, *optimizer.variables[2:])]
    assert [t.data_ptr() for t in after] == pointers
    for t, old in zip(tensors, before, strict=True):
        assert (t < old).all()


@on_torch
def test_an_error_names_the_variable():
    variables = [keras.Variable(np.ones((4, 2)), name=name) for name in ("first", "second")]
    optimizer = Adagrad(0.1)
    optimizer.build(variables)
    with refused(optimizer, variables, "w of second and g of second overlap in memory"):
        optimizer.apply([torch.ones(4, 2), variables[1].value.detach()], variables)
    gradient = torch.ones(4, 2).to_sparse()
    with refused(optimizer, variables, "second has a gradient with 2 sparse dimensions"):
        optimizer.apply([torch.ones(4, 2), gradient], variables)


@on_torch
@pytest.mark.parametrize("is_sparse", [False, True])
def test_autograd_sees_that_a_variable_has_changed(is_sparse):
    (variable,) = variables_of([np.ones((4, 2))])
    optimizer = Adagrad(0.1)
    optimizer.build([variable])
    loss = variable.value.square().sum()
    gradient = torch.ones(4, 2)
    optimizer.apply([gradient.to_sparse(1) if is_sparse else gradient], [variable])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@on_torch
def test_a_gradient_of_any_strides(rng):
    w = rng.standard_normal((4, 6)).astype("f4")
    ours, theirs = variables_of([w]), variables_of([w])
    a, b = Adagrad(0.1), Adagrad(0.1)
    g = rng.standard_normal((6, 4)).astype("f4")
    a.apply([torch.from_numpy(g).T], ours)
    b.apply([torch.from_numpy(np.ascontiguousarray(g.T))], theirs)
    assert_same_bits(array(ours[0]), array(theirs[0]))
    a.apply([torch.ones(1).expand(4, 6)], ours)
    b.apply([torch.ones(4, 6)], theirs)
    assert_same_bits(array(ours[0]), array(theirs[0]))


@on_torch
def test_torch_compile_leaves_the_update_alone(rng):
    w = rng.standard_normal((4, 6)).astype("f4")
    ours, theirs = variables_of([w]), variables_of([w])
    a, b = Adagrad(0.1), Adagrad(0.1)
    a.build(ours)
    b.build(theirs)

    @torch.compile(backend="eager")
    def train(x):
        g = 2 * x
        a.apply([g])
        return g + ours[0].value

    for _ in range(3):
        x = torch.from_numpy(rng.standard_normal((4, 6)).astype("f4"))
        with torch.no_grad():
            moved = train(x) - 2 * x
        b.apply([2 * x])
        np.testing.assert_allclose(moved.numpy(), array(theirs[0]), rtol=1e-5, atol=1e-5)
    assert_same_bits(array(ours[0]), array(theirs[0]))


@on_torch
def test_variables_off_the_cpu_are_refused():
    with keras.device("meta"):
        variable = keras.Variable(np.ones(2, "f4"))
    with pytest.raises(ValueError, match="is on meta; adagrad trains variables on the CPU only"):
        Adagrad().build([variable])
