"""SciPy's and scikit-learn's functions on Tensors: the example, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "examples" / "through_scipy.py"


def test_every_derivative_of_the_example_is_right() -> None:
    """In a process of its own: SciPy reads its environment once."""
    pytest.importorskip("scipy", minversion="1.17")
    pytest.importorskip("sklearn", minversion="1.8")
    env = os.environ | {"PYTHONPATH": str(SCRIPT.parent.parent)}
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, env=env, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    head, columns, *table, end = done.stdout.strip().splitlines()
    assert head.startswith("SciPy ")
    assert columns.split() == ["function", "value", "derivative", "measured", "error"]
    assert len(table) >= 20
    assert end == f"{len(table)} of {len(table)} derivatives are right to 1e-05"
    for line in table:
        assert float(line.split()[-1]) < 1e-5
        assert float(line.split()[2]) != 0
