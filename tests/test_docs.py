"""The pages of docs/ and the README: code runs and prints what it says, commands and links lead somewhere, the site builds."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import io
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import cuda_cpu
import cupy_standin
import numpy
import pytest
from pages import ROOT, blocks, notes, run_page

import gpugrad as gg
from gpugrad import errors
from gpugrad.cuda import compiler, wiring
from gpugrad.op import registry

DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.parent != DOCS / "api")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix().removeprefix("docs/")


each_page = pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=name_of)


# --- programs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def _as_it_was() -> Iterator[None]:
    """Ops and kernels that a page declares are gone after it, and the default dtype is what it was."""
    dtype = gg.default_dtype()
    with contextlib.ExitStack() as stack:
        for table in (registry, compiler.KERNELS, wiring.FORWARDS, wiring.RULES):
            stack.enter_context(patch.dict(table))
        yield
    gg.set_default_dtype(dtype)


@pytest.mark.parametrize("path", PAGES, ids=name_of)  # the README is run by tests/test_readme.py
@pytest.mark.usefixtures("_as_it_was")
def test_code_runs_and_prints_what_it_says(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = notes(path.read_text(encoding="utf-8"))
    compilers = "kernel compilers" in asked
    if compilers and cuda_cpu.missing() is not None:
        pytest.skip(str(cuda_cpu.missing()))
    with contextlib.ExitStack() as stack:
        if compilers or "stand-in for CuPy" in asked:
            stack.enter_context(cupy_standin.installed(devices=2, kernels=compilers))
        run_page(path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```pycon\n>>> 1 + 1\n3\n```\n", "page.md:2: 1 \\+ 1\ngave\n2\n"),
        ("```python\nx = 1\nprint(x)\n```\n", "page.md:2: (.|\n)*gave\n1\ninstead of\n$"),
        ("```python\nx = y\n```\n", "NameError"),
        ("```pycon\n>>> {}['a']\nTraceback (most recent call last):\nValueError: a\n```\n", "KeyError: 'a'\ninstead of"),
        ("```pycon\n>>> x = 1\nTraceback (most recent call last):\nValueError: a\n```\n", "raised nothing"),
        ("```pycon\nx\n```\n", "without a prompt"),
        ("```py\nx\n```\n", "a block of py"),
    ],
)
def test_a_page_that_is_wrong_is_noticed(text: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises((AssertionError, ValueError), match=complaint):
        run_page(page)


def test_blocks_share_names_and_a_comment_can_hold_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```python\ndef f():\n    return x\n```\n\n<!-- suite: not run, it has no end -->\n```python\nwhile True: pass\n```\n"
        "````text\n```python\nraise\n```\n````\n```pycon\n>>> x = 5\n>>> f(), [\n...  1]\n(5, [1])\n```\n"
    )
    assert run_page(page)["x"] == 5


# --- commands -----------------------------------------------------------------------------------------------------


def commands(text: str) -> Iterator[list[str]]:
    """Commands in blocks and in running text, as words."""
    shown = [line.removeprefix("$ ") for block in blocks(text) if block.language == "console" for line in block.text.splitlines()]
    running = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    shown += re.findall(r"`((?:python|mpiexec) [^`]+)`", running)
    for line in shown:
        for command in line.split("&&"):
            yield shlex.split(command, comments=True)


@functools.cache
def help_of(program: str) -> str:
    """What a program of ours says to --help."""
    printed, given = io.StringIO(), sys.argv
    run, target = (runpy.run_path, str(ROOT / program)) if program.endswith(".py") else (runpy.run_module, program)
    try:
        sys.argv = [program, "--help"]
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            run(target, run_name="__main__")
    finally:
        sys.argv = given
    return printed.getvalue()


@each_page
def test_commands_name_what_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for extras in re.findall(r"(?:gpugrad|\.)\[([\w,-]+)\]", text):
        assert set(extras.split(",")) <= set(EXTRAS)
    for words in commands(text):
        place = next((i for i, word in enumerate(words) if word.rpartition("/")[2] in ("python", "python3")), None)
        if place is None or place + 1 == len(words):
            continue
        module = words[place + 1] == "-m"
        program, given = words[place + 1 + module], words[place + 2 + module :]
        if module and program not in ("gpugrad", "benchmarks", "benchmarks.gpu"):
            assert program in ("venv", "pytest", "pip", "sphinx"), words
            continue
        if not module:
            assert (ROOT / program).is_file(), words
        for option in (word.partition("=")[0] for word in given if word.startswith("--")):
            assert re.search(rf"(?<!\S){option}\b", help_of(program)), words


# --- links --------------------------------------------------------------------------------------------------------


def prose(text: str) -> str:
    """A page without its blocks and code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(text: str) -> set[str]:
    """The names that headings can be linked by, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        if found.parent != DOCS / "api":  # made by the build
            assert found.exists(), target
            assert not anchor or anchor in anchors(found.read_text(encoding="utf-8")), target


def resolves(name: str, root: ModuleType) -> bool:
    """Whether a dotted name leads to something, of a Tensor too where that is a property or a method."""
    value: Any = root
    for part in name.split("."):
        if not hasattr(value, part):
            return False
        value = getattr(value, part)
    return True


@each_page
def test_names_in_running_text_exist(path: Path) -> None:
    """In code between words: of gpugrad, NumPy and PyTorch, and files of the project."""
    text = re.sub(r"^(`{3,}).*?^\1$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    libraries: dict[str, Any] = {"gg": gg, "gpugrad": gg, "nn": gg.nn, "optim": gg.optim, "np": numpy, "numpy": numpy}
    with contextlib.suppress(ImportError):
        libraries["torch"] = importlib.import_module("torch")
    wrong = []
    for code in re.findall(r"`([^`\n]+)`", text):
        for library, name in re.findall(rf"(?<![\w./-])({'|'.join(libraries)})\.([\w.]*\w)", code):
            if name != "NAME" and not name.endswith(".py") and not resolves(name, libraries[library]):
                wrong.append(f"{library}.{name}")
        if re.fullmatch(r"(gpugrad|tests|docs|kernels|examples|benchmarks)/[\w./*-]+", code) and "NAME" not in code:
            wrong += [] if list(ROOT.glob(code)) else [code]
    assert not wrong


def test_the_error_guide_has_every_error() -> None:
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    for name in errors.__all__:
        if isinstance(kind := getattr(errors, name), type) and kind is not gg.GpugradError:
            assert f"\n## {name}\n" in text
            assert f"| [`{name}`](#{name.lower()}) | `{kind.__mro__[2].__name__}` |" in text or kind is gg.LinearAlgebraError


def directives(path: Path, name: str) -> Iterator[str]:
    """The texts of the blocks of a directive, with what stands behind its name as their first line."""
    text = path.read_text(encoding="utf-8")
    for block in blocks(text):
        if block.language == f"{{{name}}}":
            yield text.splitlines()[block.line - 2].partition("}")[2].strip() + "\n" + block.text


def test_every_page_is_in_the_navigation_once() -> None:
    listed = [DOCS / "index.md"]
    for page in PAGES:
        for tree in directives(page, "toctree"):
            entries = [line.rpartition("<")[2].rstrip(">") for line in tree.splitlines() if line and not line.startswith(":")]
            listed += [((page.parent if not e.startswith("/") else DOCS) / f"{e.lstrip('/')}.md").resolve() for e in entries]
    assert sorted(path for path in listed if path.parent != DOCS / "api") == PAGES


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_source_that_is_shown_is_there(path: Path) -> None:
    for shown in directives(path, "literalinclude"):
        file, *options = shown.splitlines()
        source = (path.parent / file).read_text(encoding="utf-8")
        given = dict(re.findall(r"^:([\w-]+): (.*)$", "\n".join(options), re.MULTILINE))
        if "pyobject" in given:
            names = {f"{getattr(up, 'name', '')}.{node.name}".lstrip(".") for up, node in definitions(ast.parse(source))}
            assert given["pyobject"] in names, given
        for option in ("start-at", "start-after", "end-at", "end-before"):
            assert given.get(option, "") in source, given


def definitions(tree: ast.AST) -> Iterator[tuple[ast.AST, Any]]:
    """Classes and functions, each with what it is defined in."""
    for up in ast.walk(tree):
        for node in ast.iter_child_nodes(up):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield up, node


# --- generated ----------------------------------------------------------------------------------------------------


def generator_of(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("generator", ["tables", "numpy_functions"])
def test_a_table_is_what_its_generator_writes(generator: str) -> None:
    if generator == "numpy_functions" and not numpy.__version__.startswith("2.4."):
        pytest.skip("NumPy gains functions with every version; the table is written with 2.4")
    module = generator_of(generator)
    assert module.TARGET.read_text() == module.text(), f"run `python docs/{generator}.py`"


def test_every_public_name_has_a_place_in_the_reference() -> None:
    reference = generator_of("reference")
    assert not reference.without_a_place(), "give their modules a place in docs/reference.py"
    for group in reference.GROUPS:
        assert reference.members(group), group.file


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """By the command that docs/index.md states."""
    for module in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(module, reason="pip install -e '.[docs]'")
    command = "python -m sphinx -W docs build/docs"
    assert command in (DOCS / "index.md").read_text()
    assert command in (ROOT / "README.md").read_text()
    words = [sys.executable, *command.split()[1:-1], str(tmp_path), "-q", "-d", str(tmp_path / "read")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tutorial" / "gate.html").is_file()
    assert "Hyperbolic tangent" in (tmp_path / "api" / "elementwise.html").read_text()
