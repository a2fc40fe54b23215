"""Runs the code blocks of a Markdown page, in the order of the page and in one namespace.

- ``python``: run as it stands; it prints nothing.
- ``pycon``: prompts with what they print, compared as by doctest, where ``...`` stands for any text.
- ``console``: commands; the files, options and extras that they name exist.
- ``text``, ``cuda``: shown only. Other languages are refused, so that no program goes unrun by another name.

Comments in a page that a reader does not see say what a page or its next block needs:

- ``<!-- suite: stand-in for CuPy -->``: the page runs where CuPy is the stand-in, so that ``device="cuda"`` works.
- ``<!-- suite: kernel compilers -->``: the same, and kernels run on the CPU; skipped where they cannot be compiled.
- ``<!-- suite: not run, REASON -->``: the next block is not run.
"""

from __future__ import annotations
import __future__

import contextlib
import doctest
import io
import linecache
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
RUN = {"python", "pycon"}
SHOWN = {"text", "cuda", "console"}
_FLAGS = doctest.ELLIPSIS
_checker = doctest.OutputChecker()


class Block(NamedTuple):
    """A fenced block: its language or directive, its text, the number of its first line, and the comment above it."""

    language: str
    text: str
    line: int
    note: str


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    lines, i, note = text.splitlines(), 0, ""
    while i < len(lines):
        opened = re.match(r"(`{3,})(\S*)", lines[i])
        if opened is None:
            if lines[i].strip():
                comment = re.fullmatch(r"<!-- suite: (.*) -->", lines[i].strip())
                note = comment[1] if comment else ""
            i += 1
            continue
        fence, language = opened.groups()
        end = next(j for j in range(i + 1, len(lines)) if lines[j].rstrip() == fence)
        yield Block(language, "\n".join(lines[i + 1 : end]) + "\n", i + 2, note)
        i, note = end + 1, ""


def notes(text: str) -> set[str]:
    """What the comments of a page ask for."""
    return set(re.findall(r"^<!-- suite: (.*) -->$", text, re.MULTILINE))


class Piece(NamedTuple):
    """A program or a prompt of a page, with the number of its first line."""

    source: str
    line: int
    mode: str
    want: str = ""
    error: str | None = None


def pieces(text: str) -> Iterator[Piece]:
    """What is run of a page."""
    for block in blocks(text):
        if block.language not in RUN | SHOWN and not block.language.startswith("{"):
            raise ValueError(f"line {block.line}: a block of {block.language or 'no language'}: one of {sorted(RUN | SHOWN)}")
        if block.note.startswith("not run,"):
            continue
        if block.language == "python":
            yield Piece(block.text, block.line, "exec")
        elif block.language == "pycon":
            examples = doctest.DocTestParser().get_examples(block.text)
            if not examples:
                raise ValueError(f"line {block.line}: a pycon block without a prompt")
            for e in examples:
                yield Piece(e.source, block.line + e.lineno, "single", e.want, e.exc_msg)


def run_page(path: Path, namespace: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run a page and return its namespace; AssertionError where a block prints something else than it says."""
    text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
    namespace = {"__name__": "__main__"} if namespace is None else namespace
    everything = list(pieces(text))
    source = [""] * (text.count("\n") + 1)
    for piece in everything:
        for i, line in enumerate(piece.source.splitlines()):
            source[piece.line - 1 + i] = line + "\n"
    linecache.cache[name] = (len(text), None, source, name)  # so that errors can show the line
    for piece in everything:
        run_piece(piece, name, namespace)
    return namespace


def run_piece(piece: Piece, name: str, namespace: dict[str, Any]) -> None:
    """Run a program or a prompt, and compare what it prints or raises."""
    flags = __future__.annotations.compiler_flag if namespace.get("annotations") is __future__.annotations else 0
    code = compile("\n" * (piece.line - 1) + piece.source, name, piece.mode, flags, dont_inherit=True)
    printed, hook = io.StringIO(), sys.displayhook
    raised, where = None, f"{name}:{piece.line}"
    try:
        sys.displayhook = sys.__displayhook__
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
    except Exception as error:
        if piece.error is None:
            raise AssertionError(f"{where}: {piece.source}raised\n{traceback.format_exc()}") from error
        raised = "".join(traceback.format_exception_only(error))
    finally:
        sys.displayhook = hook
    want, got = (piece.want, printed.getvalue()) if piece.error is None else (piece.error, raised)
    if got is None:
        raise AssertionError(f"{where}: {piece.source}raised nothing, but should\n{want}")
    if not _checker.check_output(want, got, _FLAGS):
        raise AssertionError(f"{where}: {piece.source}gave\n{got}instead of\n{want}")
