"""A drawn graph in its three forms: SVG, dot, and text."""

from __future__ import annotations

from pathlib import Path

from .graph import Gate
from .svg import svg_of

__all__ = ["Drawing"]


class Drawing:
    """A computational graph as a picture: SVG, dot, or text. Notebooks show it by themselves.

    Attributes
    ----------
    gates : list of Gate
        What is drawn: leaves, constants, ops and folds, inputs before what they lead to.
    note : str
        What was folded; empty where nothing was.
    svg, dot, text : str
        The picture as SVG; as input for graphviz (``dot -Tpdf``); as a table with a line for each gate.
    """

    def __init__(self, gates: list[Gate], title: str, note: str = "") -> None:
        self.gates, self.title, self.note = gates, title, note

    @property
    def svg(self) -> str:
        """The picture as an SVG file's text; the mouse on a gate shows its op, shapes, range of values and your line."""
        return svg_of(self.gates, self.title, self.note)

    @property
    def dot(self) -> str:
        """The graph in the language of graphviz, for those who have it."""
        numbers = {gate: i for i, gate in enumerate(self.gates)}
        lines = [f"digraph {_quoted(self.title)} {{", "  rankdir=LR; node [fontsize=11]; edge [fontsize=10];"]
        for gate, i in numbers.items():
            shape = {"op": "ellipse", "fold": "box3d"}.get(gate.kind, "plaintext")
            lines.append(f"  n{i} [label={_quoted(gate.label)}, shape={shape}, tooltip={_quoted(gate.site)}];")
            lines += [f"  n{numbers[source]} -> n{i} [label={_quoted(_wire_text(source))}];" for source in gate.inputs]
        return "\n".join([*lines, "}", ""])

    @property
    def text(self) -> str:
        """One line for each gate: what it is called, what it computes, value and gradient."""
        names = {gate: gate.name or f"%{i}" for i, gate in enumerate(self.gates)}
        rows = [("", "", "value", "gradient", "")]
        for gate in self.gates:
            call = f"{gate.label} ({', '.join(names[source] for source in gate.inputs)})" if gate.inputs else gate.kind
            value, gradient = (shown.short if shown is not None else "" for shown in (gate.value, gate.gradient))
            rows.append((names[gate], call, value, gradient, gate.module))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([self.note, *lines] if self.note else lines)

    def save(self, path: str | Path) -> None:
        """Write the picture; the suffix says how: ``.svg``, ``.dot`` (or ``.gv``), ``.txt``.

        Raises
        ------
        ValueError
            For any other suffix.
        """
        path = Path(path)
        kinds = {".svg": "svg", ".dot": "dot", ".gv": "dot", ".txt": "text"}
        if path.suffix not in kinds:
            raise ValueError(f"draw: cannot write {path.name}: use .svg, .dot, .gv or .txt")
        path.write_text(getattr(self, kinds[path.suffix]), encoding="utf-8")

    def _repr_svg_(self) -> str:
        return self.svg

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Drawing of {self.title}: {len(self.gates)} gates>"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _wire_text(gate: Gate) -> str:
    return "\n".join([*(gate.value.lines if gate.value else ()), *(gate.gradient.lines if gate.gradient else ())])
