"""Pytrees in the order of jax.tree_util, without jax."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

Keys = tuple[Any, ...]


def leaves(tree: Any, keys: Keys = (), path: str = "") -> Iterator[tuple[Keys, str, Any]]:
    """Yield each leaf after the keys that lead to it and their spelling, as in jax.tree_util.

    Containers are mappings, lists, tuples, named tuples, and None, which is empty. Anything else is
    a leaf.
    """
    children = _children(tree)
    if children is None:
        yield keys, path, tree
        return
    for key, child in children:
        step = f".{key}" if hasattr(tree, "_fields") else f"[{key!r}]"
        yield from leaves(child, (*keys, key), path + step)


def with_leaves(tree: Any, values: Iterator[Any]) -> Any:
    """Return a copy of the containers of a tree, with other leaves in the same order."""
    children = _children(tree)
    if children is None:
        return next(values)
    if not children:
        return tree
    new = {key: with_leaves(child, values) for key, child in children}
    if isinstance(tree, MutableMapping):
        same_kind = copy.copy(tree)  # which keeps the order of its keys, and a default factory
        same_kind.update(new)
        return same_kind
    if isinstance(tree, Mapping):
        return type(tree)({key: new[key] for key in tree})  # type: ignore[call-arg]
    return type(tree)(*new.values()) if hasattr(tree, "_fields") else type(tree)(new.values())


def _children(tree: Any) -> list[tuple[Any, Any]] | None:
    """Return the children of a container by key, in jax's order, or None for a leaf."""
    if tree is None:
        return []
    if isinstance(tree, OrderedDict):  # the only mapping whose keys jax does not sort
        return list(tree.items())
    if isinstance(tree, Mapping):
        return [(key, tree[key]) for key in sorted(tree)]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return list(zip(tree._fields, tree, strict=True))
    if isinstance(tree, (list, tuple)):
        return list(enumerate(tree))
    return None
