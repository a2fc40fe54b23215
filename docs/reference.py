"""The pages of the API reference, one for each group of public names, written into ``docs/api`` by each build.

A page lists names and where they are; what it says about them is read from the docstrings. A public name is found by the
module that it is written in, so a new function of a known module appears by itself, and a test asks for the place of a new
module in `GROUPS`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple


class Group(NamedTuple):
    """A page: its file, title and first sentence; which modules' names it lists, of which namespace.

    Without a sentence, the page begins with what the namespace says of itself; without modules, it lists all names.
    """

    file: str
    title: str
    about: str = ""
    modules: str = ""
    namespace: str = "gpugrad"


GROUPS = [
    Group("tensors", "Tensors and creation", "The array on the tape, and what makes one.", "tensor creation ops.random"),
    Group("dtypes", "Dtypes", "Names of dtypes and questions about them.", "dtypes"),
    Group(
        "derivatives",
        "Derivatives",
        "Functions of functions, gates of your own, and what is recorded.",
        "transforms derivatives function checkpoint modes tape ops.chain",
    ),
    Group("devices", "Devices and precision", "Which devices there are, and in what products are computed.", "backend amp"),
    Group("seeing", "Seeing the tape", "Pictures, the first nan, time and memory.", "draw drawing watch watchers"),
    Group("saving", "Saving and progress", "Files of tensors, checkpoints, progress bars.", "serialization checkpoints progress"),
    Group("errors", "Errors", "Every exception that is raised on purpose; see [the error guide](../errors.md).", "errors"),
    Group("elementwise", "Elementwise functions", "One result for each element.", "ops.elementwise ops.floating ops.aliases"),
    Group("activations", "Activation functions", "More are in [nn.functional](functional.md).", "ops.activation"),
    Group("comparison", "Comparisons and bits", "Results without a gradient.", "ops.comparison ops.integers"),
    Group(
        "complex",
        "Complex numbers and special functions",
        "Parts of complex numbers, gamma and error functions; more are in [special](special.md).",
        "ops.complex_numbers ops.gamma ops.special",
    ),
    Group(
        "reductions",
        "Sums, scans and statistics",
        "Along an axis, along several, or over all.",
        "ops.reduction ops.scan ops.statistics",
    ),
    Group("products", "Products", "Of matrices, vectors and tensors; more in [linalg](linalg.md).", "ops.linalg ops.products"),
    Group("shapes", "Shapes", "The same elements in another arrangement.", "ops.shape ops.manipulation ops.padding"),
    Group(
        "indexing",
        "Indexing, sorting and sets",
        "Elements by their place or their order.",
        "ops.indexing ops.gather ops.sorting ops.sets",
    ),
    Group("losses", "Losses", "More are in [nn.functional](functional.md).", "ops.loss ops.likelihood"),
    Group("others", "More of NumPy", "Polynomials, pieces and the rest of NumPy's names.", "ops.standard ops.polynomials"),
    Group("random", "random", "Random numbers, the same for a seed on every device.", "ops.random", "gpugrad.random"),
    Group("linalg", "linalg", namespace="gpugrad.linalg"),
    Group("fft", "fft", namespace="gpugrad.fft"),
    Group("special", "special", namespace="gpugrad.special"),
    Group("nn", "nn", namespace="gpugrad.nn"),
    Group("functional", "nn.functional", namespace="gpugrad.nn.functional"),
    Group("init", "nn.init", namespace="gpugrad.nn.init"),
    Group("nn_utils", "nn.utils", namespace="gpugrad.nn.utils"),
    Group("optim", "optim", namespace="gpugrad.optim"),
    Group("schedules", "optim.lr_scheduler", namespace="gpugrad.optim.lr_scheduler"),
    Group("data", "data", namespace="gpugrad.data"),
    Group("metrics", "metrics", namespace="gpugrad.metrics"),
    Group("distributed", "distributed", namespace="gpugrad.distributed"),
    Group("testing", "testing", namespace="gpugrad.testing"),
    Group("op", "op", "What ops are declared with: see [How to add an op](../add_op.md).", namespace="gpugrad.op"),
]


def public(namespace: ModuleType) -> dict[str, Any]:
    """The public functions and classes of a namespace, in alphabetical order."""
    listed = getattr(namespace, "__all__", None)
    names = listed if listed is not None else [name for name in vars(namespace) if not name.startswith("_")]
    found = {name: getattr(namespace, name) for name in names}
    return {
        name: value
        for name, value in sorted(found.items(), key=lambda item: item[0].lower())
        if (inspect.isroutine(value) or inspect.isclass(value)) and (listed is not None or home(value).startswith("gpugrad"))
    }


def home(value: Any) -> str:
    """The module in which something is written."""
    return getattr(value, "__module__", None) or ""


def is_shown_above(value: Any, name: str, above: ModuleType) -> bool:
    """Whether a class is on another page: an exception, or one of the namespace above."""
    return inspect.isclass(value) and (issubclass(value, Exception) or getattr(above, name, None) is value)


def members(group: Group) -> dict[str, Any]:
    """The names of a page."""
    everything = public(pkgutil.resolve_name(group.namespace))
    if group.namespace != "gpugrad":
        above = pkgutil.resolve_name(group.namespace.rpartition(".")[0])
        everything = {name: value for name, value in everything.items() if not is_shown_above(value, name, above)}
    prefixes = tuple(f"gpugrad.{module}" for module in group.modules.split())
    if not prefixes:
        return everything
    return {name: value for name, value in everything.items() if any(f"{home(value)}.".startswith(f"{p}.") for p in prefixes)}


def without_a_place() -> list[str]:
    """Public names of `gpugrad` that no page lists."""
    listed = {name for group in GROUPS if group.namespace == "gpugrad" for name in members(group)}
    everything = public(importlib.import_module("gpugrad"))
    return sorted(f"{name}, of {home(value)}" for name, value in everything.items() if name not in listed)


def page(group: Group) -> str:
    """The text of a page."""
    return "\n".join(lines(group)) + "\n"


def lines(group: Group) -> Iterator[str]:
    """A page: a title, what the namespace says of itself, and one directive for each name."""
    yield f"# {group.title}\n"
    if group.about:
        yield f"{group.about}\n"
    yield "```{eval-rst}"
    if not group.about:
        yield f".. automodule:: {group.namespace}\n   :no-members:\n"
    for name, value in members(group).items():
        kind = "function"
        if inspect.isclass(value):
            kind = "exception" if issubclass(value, Exception) else "class"
        inherited = "   :inherited-members:\n" if name == "Tensor" else ""
        yield f".. auto{kind}:: {group.namespace}.{name}\n{inherited}"
    yield "```"


def write(folder: Path) -> None:
    """Write all pages; those that say the same as before are left alone, so that a second build is quick."""
    missing = without_a_place()
    if missing:
        raise LookupError(f"give their modules a place in docs/reference.py: {', '.join(missing)}")
    folder.mkdir(exist_ok=True)
    index = "# API reference\n\nMade from the docstrings. Every example in them is run by the tests.\n\n"
    texts = {group.file: page(group) for group in GROUPS}
    texts["index"] = index + "```{toctree}\n:maxdepth: 1\n\n" + "\n".join(group.file for group in GROUPS) + "\n```\n"
    for old in folder.glob("*.md"):
        if old.stem not in texts:
            old.unlink()
    for name, text in texts.items():
        target = folder / f"{name}.md"
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")
