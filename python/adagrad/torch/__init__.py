"""PyTorch: an optimizer and embedding bags. Nothing else of adagrad imports torch."""

from __future__ import annotations

from adagrad.torch.embedding import TableEmbeddingBag
from adagrad.torch.optimizer import Adagrad

__all__ = ["Adagrad", "TableEmbeddingBag"]
