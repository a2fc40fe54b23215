"""Nested tuples, lists and dicts of arrays: flattened to a list of leaves, and rebuilt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["flatten", "tree_map"]


def flatten(tree: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The leaves of a tree, and the function that puts leaves back in their places.

    Examples
    --------
    >>> from gpugrad.tree import flatten
    >>> leaves, rebuild = flatten({"w": 1, "b": (2, 3)})
    >>> leaves
    [1, 2, 3]
    >>> rebuild([10, 20, 30])
    {'w': 10, 'b': (20, 30)}
    """
    leaves: list[Any] = []
    places = _places(tree, leaves)

    def rebuild(new: list[Any]) -> Any:
        return _filled(places, new)

    return leaves, rebuild


def _places(tree: Any, leaves: list[Any]) -> Any:
    if isinstance(tree, dict):
        return type(tree), {key: _places(value, leaves) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree), [_places(value, leaves) for value in tree]
    if tree is None:
        return None
    leaves.append(tree)
    return len(leaves) - 1


def _filled(places: Any, leaves: list[Any]) -> Any:
    if places is None:
        return None
    if isinstance(places, int):
        return leaves[places]
    kind, inside = places
    if isinstance(inside, dict):
        return kind({key: _filled(place, leaves) for key, place in inside.items()})
    values = [_filled(place, leaves) for place in inside]
    return kind(*values) if hasattr(kind, "_fields") else kind(values)


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with `function` applied to each leaf.

    Examples
    --------
    >>> from gpugrad.tree import tree_map
    >>> tree_map(lambda x: x + 1, {"w": 1, "b": (2, 3)})
    {'w': 2, 'b': (3, 4)}
    """
    leaves, rebuild = flatten(tree)
    return rebuild([function(leaf) for leaf in leaves])
