"""Every example in docs/ runs and prints what it says; tables are those that their generators write."""

from __future__ import annotations

import doctest
import importlib.util
from pathlib import Path

import numpy
import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_examples_print_what_they_say(path: Path) -> None:
    failed, tried = doctest.testfile(str(path), module_relative=False)
    assert failed == 0
    assert tried == path.read_text().count(">>> ")


@pytest.mark.parametrize("generator", ["tables", "numpy_functions"])
def test_a_table_is_what_its_generator_writes(generator: str) -> None:
    if generator == "numpy_functions" and not numpy.__version__.startswith("2.4."):
        pytest.skip("NumPy gains functions with every version; the table is written with 2.4")
    spec = importlib.util.spec_from_file_location(generator, DOCS / f"{generator}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text() == module.text(), f"run `python docs/{generator}.py`"
