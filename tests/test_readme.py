"""The README's code runs as it stands, and its two commands are those that CI and the tests use."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from pages import ROOT, run_page

import gpugrad as gg

README = (ROOT / "README.md").read_text()


def test_every_python_block_runs_and_the_first_one_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_page(ROOT / "README.md")
    assert list(gg.Checkpoints(tmp_path / "run").steps()) == [5, 10]
    loss = names["loss"]
    assert isinstance(loss, gg.Tensor)
    assert np.isfinite(loss.item())
    assert loss.item() < 0.5 * (np.asarray(names["y"]) ** 2).sum()


def test_the_declaration_it_shows_is_the_one_in_the_source() -> None:
    declared = re.search(r"(@elementwise\(ufunc=\"tanh\".*\))\ndef tanh", README)
    assert declared is not None
    source = (Path(gg.__file__).parent / "ops" / "elementwise.py").read_text()
    assert declared.group(1) in source


def test_the_two_commands_are_there() -> None:
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert [command.split("&&")[-1].strip() for command in commands] == [
        ".venv/bin/python examples/digits_mlp.py",
        ".venv/bin/python -m pytest",
    ]
