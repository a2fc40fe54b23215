"""Every example in docs/ runs and prints what it says; tables are those that their generators write."""

from __future__ import annotations

import doctest
import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_examples_print_what_they_say(path: Path) -> None:
    failed, tried = doctest.testfile(str(path), module_relative=False)
    assert failed == 0
    assert tried == path.read_text().count(">>> ")


def test_the_table_of_ops_is_current() -> None:
    spec = importlib.util.spec_from_file_location("tables", DOCS / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    assert tables.TARGET.read_text() == tables.text(), "run `python docs/tables.py`"
