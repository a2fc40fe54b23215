"""The Dockerfile without Docker: what it says, and that what it copies is enough to run its entry point."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from kernel_cases import needs_cpu_runner

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "docker" / "plain_debian.sh"


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def all_of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def copied() -> list[str]:
    return [source for rest in all_of("COPY") for source in rest.split()[:-1]]


def test_base_user_entry_point_and_caches() -> None:
    (base,) = all_of("FROM")
    assert re.fullmatch(r"python:3\.\d+-slim(-\w+)?", base)
    words = [word for word, _ in instructions()]
    assert all_of("USER") == ["bench"]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word in ("RUN", "COPY"))
    assert any("useradd" in rest and "bench" in rest for rest in all_of("RUN"))
    assert json.loads(all_of("ENTRYPOINT")[0]) == ["python", "-m", "benchmarks.gpu"]
    environment = dict(rest.split("=", 1) for rest in all_of("ENV"))
    caches = [value for name, value in environment.items() if "CACHE" in name and name != "PIP_NO_CACHE_DIR"]
    assert len(caches) >= 4
    assert all_of("VOLUME") == ["/cache"]
    assert all(Path(value).is_relative_to("/cache") for value in caches)


def test_the_toolkit_is_an_extra_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any("[ctk]" in needed for needed in project["optional-dependencies"]["cuda13"])
    assert any('".[cuda13]"' in rest for rest in all_of("RUN"))
    assert project["readme"] in copied()


def test_what_is_copied_is_not_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied())


@needs_cpu_runner  # the registry runs the kernels
def test_what_is_copied_runs_the_command(tmp_path: Path) -> None:
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    path = os.pathsep.join(map(str, [tmp_path, ROOT / "tests" / "cupy_on_path", ROOT / "tests"]))
    _, *entry = json.loads(all_of("ENTRYPOINT")[0])
    done = subprocess.run(
        [sys.executable, *entry, "--small", "--parts", "registry"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "agree" in done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_script_knows_every_instruction() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert {word for word, _ in instructions()} <= set(re.findall(r"^ +([A-Z]+)\) ", text, flags=re.MULTILINE))
    assert os.access(SCRIPT, os.X_OK)
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    done = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "plain_debian.sh ROOT" in done.stderr
    assert "benchmarks/docker/plain_debian.sh" in (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")


def test_kernels_are_not_said_to_be_measured_before_a_report_is_committed() -> None:
    text = (ROOT / "kernels" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| (\w+\.cu)? \|", line) or line.startswith("| |")]
    results = (ROOT / "benchmarks" / "results").glob("*.json")
    if not any("gpu" in json.loads(path.read_text(encoding="utf-8"))["device"] for path in results):
        assert rows
        assert all(row.rstrip(" |").endswith("not yet measured") for row in rows)
