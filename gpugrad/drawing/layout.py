"""Layered layout of a graph that runs from left to right: columns, order within a column, coordinates.

The three classical steps. A node's column is one more than the longest path that leads to it; wires that pass through
columns get a dummy in each. Each column is then sorted by the mean place of its neighbours (barycentres), to and fro, and
the order with the fewest crossings is kept. Last, every node goes as near to the mean height of its neighbours as order and
sizes allow.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Sequence, Set
from typing import NamedTuple

__all__ = ["Layout", "Point", "layered"]

Point = tuple[float, float]

SWEEPS = 12
COLUMN_GAP, ROW_GAP, DUMMY_HEIGHT = 34.0, 12.0, 10.0


class Layout(NamedTuple):
    """Where things go.

    Attributes
    ----------
    places : list of (x, y)
        Per node, the middle of its left edge.
    routes : list of lists of lists of (x, y)
        Per node and input, the points that the wire passes, from the right edge of the input to `places` of the node.
    width, height : float
    """

    places: list[Point]
    routes: list[list[list[Point]]]
    width: float
    height: float


class Cell:
    """A node, or a dummy (`node` is None), in its column."""

    __slots__ = ("column", "height", "left", "node", "right", "slot", "y")

    def __init__(self, column: int, height: float, node: int | None = None) -> None:
        self.column, self.height, self.node = column, height, node
        self.left: list[Cell] = []
        self.right: list[Cell] = []
        self.slot = 0
        self.y = 0.0


def layered(
    inputs: Sequence[Sequence[int]],
    sizes: Sequence[tuple[float, float]],
    first: Set[int] = frozenset(),
    after: Set[int] = frozenset(),
) -> Layout:
    """Lay out a graph.

    Parameters
    ----------
    inputs : sequence of sequences of int
        Per node, the nodes that its inputs come from, all of smaller number.
    sizes : sequence of (width, height)
    first : set of int
        Nodes without inputs that go to the first column; others of them go next to what they lead to.
    after : set of int
        Nodes without inputs that stand to the right of all other inputs of what they lead to, as parameters do: then the
        gates of one module are together.
    """
    columns_of = _columns(inputs, first, after)
    cells = [Cell(column, size[1], i) for i, (column, size) in enumerate(zip(columns_of, sizes, strict=True))]
    columns: list[list[Cell]] = [[] for _ in range(max(columns_of, default=0) + 1)]
    for cell in cells:
        columns[cell.column].append(cell)
    chains = [[_chain(cells[a], cells[b], columns) for a in inputs[b]] for b in range(len(cells))]
    _order(columns)
    _set_heights(columns)
    widths = [max((sizes[c.node][0] for c in column if c.node is not None), default=0.0) for column in columns]
    starts = [math.fsum(widths[:i]) + COLUMN_GAP * i for i in range(len(widths))]

    def x(cell: Cell) -> float:  # what has no input stands at the right of its column, near where it is used
        own = sizes[cell.node][0] if cell.node is not None else 0.0
        return starts[cell.column] + (widths[cell.column] - own if cell.node is not None and not inputs[cell.node] else 0.0)

    places = [(x(cell), cell.y) for cell in cells]
    routes: list[list[list[Point]]] = []
    for b, into in enumerate(chains):
        routes.append([])
        for a, dummies in zip(inputs[b], into, strict=True):
            points = [(places[a][0] + sizes[a][0], places[a][1])]
            for dummy in dummies:
                points += [(starts[dummy.column], dummy.y), (starts[dummy.column] + widths[dummy.column], dummy.y)]
            routes[b].append([*points, places[b]])
    bottom = max((cell.y + cell.height / 2 for cell in cells), default=0.0)
    return Layout(places, routes, starts[-1] + widths[-1] if starts else 0.0, bottom)


def _columns(inputs: Sequence[Sequence[int]], first: Set[int], after: Set[int]) -> list[int]:
    columns = [0] * len(inputs)
    for i, sources in enumerate(inputs):
        room = 2 if any(j in after for j in sources) else 1
        columns[i] = max((columns[j] + (1 if j in after else room) for j in sources), default=0)
    nearest: dict[int, int] = {}
    for i, sources in enumerate(inputs):
        room = 2 if any(j in after for j in sources) else 1
        for j in sources:
            place = columns[i] - (1 if j in after else room)
            nearest[j] = min(nearest.get(j, place), place)
    return [nearest.get(i, c) if not inputs[i] and i not in first else c for i, c in enumerate(columns)]


def _chain(a: Cell, b: Cell, columns: list[list[Cell]]) -> list[Cell]:
    """Connect two cells through dummies in the columns between them."""
    dummies = [Cell(column, DUMMY_HEIGHT) for column in range(a.column + 1, b.column)]
    for dummy in dummies:
        columns[dummy.column].append(dummy)
    for left, right in zip([a, *dummies], [*dummies, b], strict=True):
        left.right.append(right)
        right.left.append(left)
    return dummies


def _order(columns: list[list[Cell]]) -> None:
    """Sort each column so that few wires cross."""
    _first_order(columns)
    best, fewest = [list(column) for column in columns], _crossings(columns)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        forth = sweep % 2 == 0
        for column in columns if forth else reversed(columns):
            centres = {cell: _mean([c.slot for c in (cell.left if forth else cell.right)], cell.slot) for cell in column}
            column.sort(key=centres.__getitem__)
            _number(column)
        crossings = _crossings(columns)
        if crossings < fewest:
            best, fewest = [list(column) for column in columns], crossings
    for column, kept in zip(columns, best, strict=True):
        column[:] = kept
        _number(column)


def _first_order(columns: list[list[Cell]]) -> None:
    """Start as a reader would: the inputs of a gate from top to bottom, in order."""
    visited: dict[Cell, int] = {}
    stack = [cell for column in reversed(columns) for cell in column if not cell.right]
    while stack:
        cell = stack.pop()
        if cell not in visited:
            visited[cell] = len(visited)
            stack.extend(reversed(cell.left))
    for column in columns:
        column.sort(key=visited.__getitem__)
        _number(column)


def _number(column: list[Cell]) -> None:
    for slot, cell in enumerate(column):
        cell.slot = slot


def _crossings(columns: list[list[Cell]]) -> int:
    total = 0
    for column in columns:
        seen: list[int] = []
        for cell in column:
            ends = [other.slot for other in cell.right]
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _mean(values: Sequence[float], otherwise: float) -> float:
    return math.fsum(values) / len(values) if values else otherwise


def _set_heights(columns: list[list[Cell]]) -> None:
    for column in columns:
        _place(column, [0.0] * len(column))
    for sweep in range(SWEEPS):
        sides = ("left", "right") if sweep < SWEEPS - 4 else ("both",) if sweep < SWEEPS - 1 else ("left",)
        for side in sides:
            for column in columns if side != "right" else reversed(columns):
                _place(column, [_wish(cell, side) for cell in column])
    top = min((cell.y - cell.height / 2 for column in columns for cell in column), default=0.0)
    for column in columns:
        for cell in column:
            cell.y -= top


def _wish(cell: Cell, side: str) -> float:
    neighbours = {"left": cell.left, "right": cell.right, "both": cell.left + cell.right}[side]
    return _mean([other.y for other in neighbours], cell.y)


def _place(column: list[Cell], wishes: list[float]) -> None:
    """Heights nearest to the wishes (least squares) that keep the order and the gaps: pooled where they collide."""
    offsets, total = [], 0.0
    for above, cell in zip([None, *column], column):
        if above is not None:
            total += (above.height + cell.height) / 2 + ROW_GAP
        offsets.append(total)
    blocks: list[list[float]] = []  # [sum of wishes less offsets, number]
    for wish, offset in zip(wishes, offsets, strict=True):
        blocks.append([wish - offset, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            wished, number = blocks.pop()
            blocks[-1][0] += wished
            blocks[-1][1] += number
    bases = [wished / number for wished, number in blocks for _ in range(int(number))]
    for cell, base, offset in zip(column, bases, offsets, strict=True):
        cell.y = base + offset
