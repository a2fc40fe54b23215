"""Gates as SVG, in the lectures' style: values green above the wire, gradients red below it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from math import sqrt

from .graph import Gate, consumers_of
from .layout import Layout, Point, layered

__all__ = ["svg_of"]

GREEN, RED, BLUE, INK, FAINT, LINE = "#1a7f37", "#cf222e", "#0969da", "#1f2328", "#6e7781", "#57606a"
FILL = {"op": "#f6f8fa", "fold": "#fff8c5", "leaf": "none", "constant": "none"}
RADIUS, MARGIN, ROW, MOST_FIRST = 19.0, 16.0, 14.0, 8
"""A leaf of at most MOST_FIRST of them stands at the left edge; where there are more, next to where it is used."""


class Cell:
    """How much room a gate takes: its own shape; before it, its local gradients; after it, its numbers on a piece of wire."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        shown = [local.lines[0] for local in gate.locals if local is not None and len(local.lines) == 1]
        self.lead = max((text_width(text, 10) + 16 for text in shown), default=0.0)
        self.above = gate.value.lines if gate.value is not None and gate.value.lines != ("",) else ()
        self.below = gate.gradient.lines if gate.gradient is not None else ()
        self.round = gate.kind == "op" and len(gate.label) <= 3
        self.radius = RADIUS + (4 if shown and len(gate.inputs) > 1 else 0)
        self.shape = (
            2 * self.radius if self.round else text_width(gate.label, 13) + (6 if gate.kind in ("leaf", "constant") else 22)
        )
        stub = max((text_width(line, 11) for line in (*self.above, *self.below)), default=12)
        self.width = self.lead + self.shape + stub + 12
        shape = 2 * self.radius if gate.kind in ("op", "fold") else ROW
        shape = max(shape, 15.0 * len(gate.inputs)) + (2 * ROW if gate.name and gate.kind == "op" else 0)
        self.height = max(shape, 2 * ROW * max(len(self.above), len(self.below)) + 6)
        self.box = max(2 * self.radius - 6, 13.0 * len(gate.inputs))


def text_width(text: str, size: float) -> float:
    """About how wide a text is in a sans-serif font."""
    return len(text) * size * 0.61


def svg_of(gates: Sequence[Gate], title: str, note: str = "") -> str:
    """The picture, as text that stands alone."""
    numbers = {gate: i for i, gate in enumerate(gates)}
    cells = [Cell(gate) for gate in gates]
    free = {i for i, gate in enumerate(gates) if gate.kind in ("leaf", "constant") and not gate.owned}
    owned = {i for i, gate in enumerate(gates) if gate.owned}
    layout = layered(
        [[numbers[source] for source in gate.inputs] for gate in gates],
        [(cell.width, cell.height) for cell in cells],
        free if len(free) <= MOST_FIRST else set(),
        owned,
    )
    groups = _groups(gates, cells, layout)
    parts = list(groups)
    for cell, into in zip(cells, layout.routes, strict=True):
        parts += [_wire(cell, i, route) for i, route in enumerate(into)]
    parts += [_gate(cell, place) for cell, place in zip(cells, layout.places, strict=True)]
    margin = MARGIN + (12 if groups else 0)
    top = margin + (18 if note else 0)
    width, height = max(layout.width, text_width(note, 11)) + 2 * MARGIN, layout.height + top + margin
    caption = f'<text x="{MARGIN}" y="{MARGIN + 4}" font-size="11" fill="{FAINT}">{escape(note)}</text>\n' if note else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="DejaVu Sans, Verdana, sans-serif">\n'
        f"<title>{escape(title)}</title>\n"
        f'<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 1L7 4L0 7z" fill="{LINE}"/></marker></defs>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{caption}'
        f'<g transform="translate({MARGIN} {top})">\n' + "\n".join(parts) + "\n</g>\n</svg>\n"
    )


def _gate(cell: Cell, place: Point) -> str:
    gate, x, y = cell.gate, place[0] + cell.lead, place[1]
    middle, right = x + cell.shape / 2, x + cell.shape
    stroke = f'fill="{FILL[gate.kind]}" stroke="{LINE}" stroke-width="1.3"'
    parts = [f"<g><title>{escape(tooltip(gate))}</title>"]
    if cell.round:
        parts.append(f'<circle cx="{middle:.1f}" cy="{y:.1f}" r="{cell.radius:.1f}" {stroke}/>')
    elif gate.kind in ("op", "fold"):
        top = y - cell.box / 2
        parts.append(f'<rect x="{x:.1f}" y="{top:.1f}" width="{cell.shape:.1f}" height="{cell.box:.1f}" rx="7" {stroke}/>')
    colour = FAINT if gate.kind == "constant" else INK
    weight = ' font-weight="bold"' if gate.kind == "leaf" else ""
    parts.append(_text(middle, y + 4.5, gate.label, 13, colour, extra=weight))
    if gate.name and gate.kind == "op":
        parts.append(
            _text(middle, y + (cell.radius if cell.round else cell.box / 2) + 12, gate.name, 11, INK, ' font-style="italic"')
        )
    end = place[0] + cell.width
    parts.append(f'<path d="M{right:.1f} {y:.1f}H{end:.1f}" stroke="{LINE}" fill="none"/>')
    centre = (right + end) / 2
    for i, line in enumerate(reversed(cell.above)):
        parts.append(_text(centre, y - 4 - ROW * i, line, 11, GREEN))
    for i, line in enumerate(cell.below):
        parts.append(_text(centre, y + 12 + ROW * i, line, 11, RED))
    parts.append("</g>")
    return "".join(parts)


def _text(x: float, y: float, text: str, size: int, colour: str, extra: str = "", anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"{extra}>{escape(text)}</text>'


def _wire(cell: Cell, number: int, route: Sequence[Point]) -> str:
    """The wire into one input, and its local gradient."""
    count = len(cell.gate.inputs)
    room = 1.2 * cell.radius if cell.round else cell.box - 10
    offset = 0.0 if count == 1 else room * (number / (count - 1) - 0.5)
    inset = cell.radius - sqrt(cell.radius**2 - offset**2) if cell.round else 0.0
    end = (route[-1][0], route[-1][1] + offset)
    points = [*route[:-1], end]
    d = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for i, ((x0, y0), (x1, y1)) in enumerate(pairwise(points)):
        middle = (x0 + x1) / 2
        straight = i % 2 == 1  # through a column
        d += f"L{x1:.1f} {y1:.1f}" if straight else f"C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
    d += f"H{end[0] + cell.lead + inset:.1f}" if cell.lead or inset else ""
    wire = f'<path d="{d}" stroke="{LINE}" fill="none" marker-end="url(#arrow)"/>'
    local = cell.gate.locals[number]
    if local is not None and len(local.lines) == 1:
        wire += _text(end[0] + cell.lead - 11, end[1] - 4, local.lines[0], 10, BLUE, anchor="end")
    return wire


def _groups(gates: Sequence[Gate], cells: Sequence[Cell], layout: Layout) -> list[str]:
    """A pale box behind the gates of each module, where no other gate would lie in it."""
    boxes = [(x, y - c.height / 2, x + c.width, y + c.height / 2) for (x, y), c in zip(layout.places, cells, strict=True)]
    consumers = consumers_of(gates)
    modules: dict[str, list[int]] = {}
    for i, gate in enumerate(gates):
        if gate.module and (gate.kind == "op" or (gate.owned and all(c.module == gate.module for c in consumers.get(gate, ())))):
            modules.setdefault(gate.module, []).append(i)
    parts = []
    for name, members in modules.items():
        left, top = min(boxes[i][0] for i in members) - 8, min(boxes[i][1] for i in members) - 6
        right, bottom = max(boxes[i][2] for i in members) + 4, max(boxes[i][3] for i in members) + 18
        strangers = set(range(len(gates))) - set(members)
        if any(boxes[i][0] < right and boxes[i][2] > left and boxes[i][1] < bottom and boxes[i][3] > top for i in strangers):
            continue
        top -= 18  # the wire that comes in passes above the parameters
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" rx="10" '
            f'fill="#ddf4ff" fill-opacity="0.55" stroke="#b6e3ff"/>' + _text(left + 8, bottom - 6, name, 11, BLUE, anchor="start")
        )
    return parts


def tooltip(gate: Gate) -> str:
    """What is shown when the mouse rests on a gate."""
    lines = [gate.detail or gate.label]
    if gate.name:
        lines[0] = f"{gate.name} = {lines[0]}" if gate.kind == "op" else f"{gate.name}: {lines[0]}"
    if gate.value is not None and gate.value.detail:
        lines.append(f"value {gate.value.detail}")
    if gate.gradient is not None:
        lines.append(f"gradient {gate.gradient.detail}")
    lines += [f"local gradient of input {i}: {local.detail}" for i, local in enumerate(gate.locals) if local is not None]
    if gate.module:
        lines.append(f"in {gate.module}")
    if gate.site:
        lines.append(f"at {gate.site}")
    return "\n".join(lines)
