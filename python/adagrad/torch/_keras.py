"""The update of `adagrad.keras.Adagrad` on Keras' torch backend, in the memory of the variables."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence

import torch

from adagrad.rule import Rule
from adagrad.torch._calls import Dense, Sparse, run_all, sparse_call
from adagrad.torch._slots import Slot, array_of, dense_order


def update(
    tensors: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    paths: Sequence[str],
    rule: Rule,
    rate: float,
) -> None:
    """Update all variables and accumulators of triples ``(w, g, s)``, or none if one is refused."""
    dense = Dense(rule)
    calls: list[Dense | Sparse] = [dense]
    with _naming(paths):
        for number, (variable, gradient, accumulator) in enumerate(tensors):
            w, s = variable.detach(), accumulator.detach()
            g = gradient.detach().to(w.dtype)
            if g.layout is not torch.strided:
                counter = torch.zeros((), dtype=torch.float64, device="cpu")
                slot = Slot(w, {"sum": s, "step": counter})
                path = paths[number]
                calls.append(sparse_call(slot, g, rule, rule._compiled, rate, number, path))
                continue
            order = dense_order(w)
            if order is not None:
                w, g, s = w.permute(order), g.permute(order), s.permute(order)
            dense.triples.append((array_of(w), array_of(g.contiguous()), array_of(s)))
            dense.numbers.append(number)
        dense.rules = [rule._compiled] * len(dense.triples)
        dense.rates = [rate] * len(dense.triples)
        run_all(calls)
    # Autograd does not see writes through NumPy.
    torch.autograd.graph.increment_version([variable for variable, _, _ in tensors])


@contextlib.contextmanager
def _naming(paths: Sequence[str]) -> Iterator[None]:
    """Replace the numbers of variables in error messages by their paths."""
    try:
        yield
    except (IndexError, TypeError, ValueError) as error:
        text = re.sub(r"params\[(\d+)\]", lambda match: paths[int(match[1])], str(error))
        raise type(error)(text) from None
