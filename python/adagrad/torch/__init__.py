"""PyTorch: an optimizer and embedding bags. Nothing of adagrad imports this; no maths belongs here."""

from __future__ import annotations

from adagrad.torch.embedding import TableEmbeddingBag

__all__ = ["TableEmbeddingBag"]
