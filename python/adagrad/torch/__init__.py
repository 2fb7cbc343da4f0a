"""PyTorch: an optimizer and embedding bags.

Only this package imports torch, and `adagrad.keras` where torch is Keras' backend.
"""

from __future__ import annotations

from adagrad.torch._conversion import from_tables, to_tables
from adagrad.torch.embedding import TableEmbeddingBag
from adagrad.torch.optimizer import Adagrad

__all__ = ["Adagrad", "TableEmbeddingBag", "from_tables", "to_tables"]
