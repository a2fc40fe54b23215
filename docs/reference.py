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
    """A page: its file, title and first sentence; the namespace it lists, and of that the names from some modules."""

    file: str
    title: str
    about: str
    namespace: str = "gpugrad"
    modules: tuple[str, ...] = ()


GROUPS = [
    Group("tensors", "Tensors and creation", "The array on the tape, and what makes one.", "gpugrad", ("tensor", "creation", "ops.random")),
    Group("dtypes", "Dtypes", "Names of dtypes and questions about them.", "gpugrad", ("dtypes",)),
    Group(
        "derivatives",
        "Derivatives",
        "Functions of functions, gates of your own, and what is recorded.",
        "gpugrad",
        ("transforms", "derivatives", "function", "checkpoint", "tape"),
    ),
    Group("devices", "Devices and precision", "Which devices there are, and in what products are computed.", "gpugrad", ("backend", "amp")),
    Group("seeing", "Seeing the tape", "Pictures, the first nan, time and memory.", "gpugrad", ("draw", "drawing", "watch", "watchers")),
    Group("saving", "Saving and progress", "Files of tensors, checkpoints, progress bars.", "gpugrad", ("serialization", "checkpoints", "progress")),
    Group("errors", "Errors", "Every exception that is raised on purpose.", "gpugrad", ("errors",)),
    Group("elementwise", "Elementwise functions", "One result for each element.", "gpugrad", ("ops.elementwise", "ops.floating", "ops.aliases")),
    Group("activations", "Activation functions", "Also in `gpugrad.nn.functional`, with more.", "gpugrad", ("ops.activation",)),
    Group("comparison", "Comparisons and bits", "Results without a gradient.", "gpugrad", ("ops.comparison", "ops.integers")),
    Group("complex", "Complex numbers and special functions", "Parts of complex numbers, gamma and error functions.", "gpugrad", ("ops.complex_numbers", "ops.gamma", "ops.special")),
    Group("reductions", "Sums, scans and statistics", "Along an axis, along several, or over all.", "gpugrad", ("ops.reduction", "ops.scan", "ops.statistics")),
    Group("products", "Products", "Of matrices, vectors and tensors; more in `gpugrad.linalg`.", "gpugrad", ("ops.linalg", "ops.products")),
    Group("shapes", "Shapes", "The same elements in another arrangement.", "gpugrad", ("ops.shape", "ops.manipulation")),
    Group("indexing", "Indexing, sorting and sets", "Elements by their place or their order.", "gpugrad", ("ops.indexing", "ops.gather", "ops.sorting", "ops.sets")),
    Group("losses", "Losses", "Also in `gpugrad.nn.functional`, with more.", "gpugrad", ("ops.loss", "ops.likelihood")),
    Group("others", "More of NumPy", "Polynomials, pieces and the rest of NumPy's names.", "gpugrad", ("ops.standard", "ops.polynomials")),
    Group("random", "random", "NumPy's names on a seed of ours.", "gpugrad.random"),
    Group("linalg", "linalg", "", "gpugrad.linalg"),
    Group("fft", "fft", "", "gpugrad.fft"),
    Group("special", "special", "", "gpugrad.special"),
    Group("nn", "nn", "", "gpugrad.nn"),
    Group("functional", "nn.functional", "", "gpugrad.nn.functional"),
    Group("init", "nn.init", "", "gpugrad.nn.init"),
    Group("nn_utils", "nn.utils", "", "gpugrad.nn.utils"),
    Group("optim", "optim", "", "gpugrad.optim"),
    Group("schedules", "optim.lr_scheduler", "", "gpugrad.optim.lr_scheduler"),
    Group("data", "data", "", "gpugrad.data"),
    Group("metrics", "metrics", "", "gpugrad.metrics"),
    Group("distributed", "distributed", "", "gpugrad.distributed"),
    Group("testing", "testing", "", "gpugrad.testing"),
    Group("op", "op", "What ops are declared with: see [How to add an op](../add_op.md).", "gpugrad.op"),
]  # fmt: skip


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
    prefixes = tuple(f"gpugrad.{module}" for module in group.modules)
    if not prefixes:
        return everything
    return {name: value for name, value in everything.items() if any(f"{home(value)}.".startswith(f"{p}.") for p in prefixes)}


def without_a_place() -> list[str]:
    """Public names of `gpugrad` that no page lists."""
    listed = {name for group in GROUPS if group.namespace == "gpugrad" for name in members(group)}
    return sorted(f"{name}, of {home(value)}" for name, value in public(importlib.import_module("gpugrad")).items() if name not in listed)


def page(group: Group) -> str:
    """The text of a page."""
    return "\n".join(lines(group)) + "\n"


def lines(group: Group) -> Iterator[str]:
    """A page: a title, what the namespace says of itself, and one directive for each name."""
    yield f"# {group.title}\n"
    if group.about:
        yield f"{group.about}\n"
    else:
        yield f"```{{eval-rst}}\n.. automodule:: {group.namespace}\n   :no-members:\n```\n"
    for name, value in members(group).items():
        kind = "exception" if inspect.isclass(value) and issubclass(value, Exception) else "class" if inspect.isclass(value) else "function"
        yield f"```{{eval-rst}}\n.. auto{kind}:: {group.namespace}.{name}\n```\n"


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
