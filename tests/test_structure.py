"""The house rules that a reader cannot see at a glance: imports run one way, importing is light, files are short."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpugrad

PACKAGE = Path(gpugrad.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

LAYERS = [
    "errors",
    "public",
    "half",
    "dtypes",
    "dlpack",
    "aligned",
    "backend",
    "cuda",
    "mutations",
    "placed",
    "modes",
    "tape",
    "parts",
    "dispatch",
    "op",
    "ops",
    "rounding",
    "interpret",
    "batch_rules",
    "batching",
    "hooks",
    "methods",
    "exports",
    "tensor",
    "tree",
    "creation",
    "linalg",
    "fft",
    "special",
    "numpy_rules",
    "protocols",
    "numpy",
    "transforms",
    "derivatives",
    "function",
    "serialization",
    "nn",
    "optim",
    "amp",
    "checkpoint",
    "watchers",
    "watch",
    "drawing",
    "draw",
    "data",
    "checkpoints",
    "metrics",
    "progress",
    "distributed",
    "testing",
    "info",
    "__main__",
]
"""A module may import those before it. Within a package (ops, nn, optim, data) modules may import each other."""

MOST_LINES = 600
MOST_SECONDS = 0.150
NOT_LOADED = {"cupy", "matplotlib", "sklearn", "torch", "scipy", "safetensors", "tqdm", "ml_dtypes", "mpi4py"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def layer_of(module: str) -> str | None:
    """The layer of a dotted module name; None outside gpugrad and for gpugrad itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "gpugrad" and len(parts) > 1 else None


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def running_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes that can run, functions' bodies too: imports for the type checker alone never do."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if is_for_types_only(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield from running_nodes(other)
        else:
            yield from running_nodes(child)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of all that a file imports."""
    package = name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
    for node in running_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                yield node.lineno, ".".join([*base, *([node.module] if node.module else []), alias.name])


def test_every_module_has_a_layer() -> None:
    found = {layer for layer in map(layer_of, map(name_of, FILES)) if layer is not None}
    assert found == set(LAYERS), "name the place of new modules in LAYERS"


@pytest.mark.parametrize("path", [pytest.param(path, id=name_of(path)) for path in FILES])
def test_imports_run_one_way(path: Path) -> None:
    own = layer_of(name_of(path))
    if own is None:
        return  # the package's own __init__ imports everything
    earlier = set(LAYERS[: LAYERS.index(own)])
    wrong = []
    for line, module in imports(path):
        layer = layer_of(module)
        if layer not in (None, own) and layer not in earlier:
            wrong.append(f"{path}:{line} imports {module}")
        if module == "gpugrad":
            wrong.append(f"{path}:{line} imports the package as a whole")
    assert not wrong, "\n".join(wrong)


def test_only_backend_imports_cupy() -> None:
    assert {name_of(path) for path in FILES for _, module in imports(path) if module.split(".")[0] == "cupy"} <= {
        "gpugrad.backend"
    }


@pytest.mark.parametrize("path", [pytest.param(path, id=name_of(path)) for path in FILES])
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def in_a_fresh_interpreter(program: str, compiled: Path | None = None) -> str:
    """What a program prints; with a folder for compiled modules, they are kept there, as an installed package has them."""
    command = [sys.executable, "-W", "error", "-c", program]
    env = dict(os.environ)
    if compiled is not None:
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        env["PYTHONPYCACHEPREFIX"] = str(compiled)
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=PACKAGE.parent, env=env, timeout=120).stdout


def test_importing_loads_nothing_heavy() -> None:
    loaded = json.loads(in_a_fresh_interpreter("import gpugrad, json, sys; print(json.dumps(list(sys.modules)))"))
    assert not NOT_LOADED & {module.split(".")[0] for module in loaded}


def test_importing_is_quick(tmp_path: Path) -> None:
    """Beyond NumPy's own import; on a machine so slow or busy that NumPy takes long, not much longer than that.

    The best of five, since other work on the machine only ever adds.
    """
    program = (
        "from time import perf_counter\n"
        "start = perf_counter(); import numpy; middle = perf_counter(); import gpugrad; end = perf_counter()\n"
        "print(middle - start, end - middle)"
    )
    times = [tuple(map(float, in_a_fresh_interpreter(program, tmp_path).split())) for _ in range(5)]
    numpy_alone, best = min(t[0] for t in times), min(t[1] for t in times)
    limit = max(MOST_SECONDS, 1.5 * numpy_alone)
    assert best < limit, f"import gpugrad takes {best * 1000:.0f} ms beyond NumPy, which takes {numpy_alone * 1000:.0f} ms"


def test_every_package_is_installed() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    folders = {".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in FILES if path.name == "__init__.py"}
    assert set(project["tool"]["setuptools"]["packages"]) == folders | {"gpugrad.kernels"}  # CUDA sources, from kernels/
