"""Checkpoints: a killed and resumed run gives the numbers of an unbroken one; what is damaged, and what is refused."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.data import DataLoader, TensorDataset

ROOT = Path(__file__).parent.parent

TRAINING = """
import json, os, signal, sys, time
import numpy as np
import gpugrad as gg
from gpugrad import nn, optim
from gpugrad.data import DataLoader, TensorDataset

folder, log, steps, die_in_save = sys.argv[1], sys.argv[2], 40, int(sys.argv[3])
gg.manual_seed(5)
rng = np.random.default_rng(1)
dataset = TensorDataset(rng.normal(size=(50, 6)).astype("float32"), rng.integers(0, 3, 50))
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
optimizer = optim.AdamW(model.parameters(), lr=0.02)
scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)
loader = DataLoader(dataset, 8, shuffle=True, workers=1)
own = np.random.default_rng(3)
checkpoints = gg.Checkpoints(folder, keep_last=2)
parts = dict(model=model, optimizer=optimizer, scheduler=scheduler, loader=loader, own=own)
step, mean = 0, 0.0
if found := checkpoints.restore(**parts):
    step, mean = found.step, found.extra["mean"]
if die_in_save:
    # A save that is killed after it wrote its file, and before that has its name.
    replace, saves = os.replace, []
    def dying(*paths):
        saves.append(paths)
        if len(saves) == die_in_save:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)
    os.replace = dying
while step < steps:
    for x, y in loader:
        if step == steps:
            break
        noisy = x + gg.random.normal(x.shape, std=0.1) * float(own.random())
        loss = nn.functional.cross_entropy(model(noisy), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        step, mean = step + 1, 0.9 * mean + 0.1 * loss.item()
        with open(log, "a") as file:
            file.write(json.dumps([step, loss.item(), mean, optimizer.param_groups[0]["lr"]]) + "\\n")
        if step % 3 == 0:
            checkpoints.save(step, extra={"mean": mean}, **parts)
        time.sleep(0.01)
checkpoints.save(step, **parts)
"""


class Run:
    """The program above, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.checkpoints, self.log = folder / "checkpoints", folder / "log"
        folder.mkdir()

    def start(self, die_in_save: int = 0) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-c", TRAINING, self.checkpoints, self.log, str(die_in_save)]
        return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)

    def steps(self) -> list[list[float]]:
        lines = self.log.read_text().splitlines(keepends=True) if self.log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def kill_after(self, steps: int) -> None:
        """Start it and kill it once it has done that many steps."""
        before, process = len(self.steps()), self.start()
        deadline = time.monotonic() + 60
        while len(self.steps()) < before + steps and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors

    def finish(self) -> None:
        process = self.start()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


def test_a_killed_and_resumed_run_gives_the_numbers_of_an_unbroken_one(tmp_path: Path) -> None:
    unbroken, killed = Run(tmp_path / "unbroken"), Run(tmp_path / "killed")
    unbroken.finish()
    for steps in (2, 8, 7, 11):  # before the first checkpoint, and in several epochs of seven batches
        killed.kill_after(steps)
    dying = killed.start(die_in_save=2)
    dying.communicate(timeout=60)
    assert dying.returncode == -signal.SIGKILL
    assert len(list(killed.checkpoints.glob(".*.tmp"))) == 1
    killed.finish()
    assert len(killed.steps()) > len(unbroken.steps()) == 40  # some steps were done twice
    for line in killed.steps():
        assert line == unbroken.steps()[int(line[0]) - 1]
    assert sorted(os.listdir(killed.checkpoints)) == ["step-000000039.safetensors", "step-000000040.safetensors"]
    whole, parts = (gg.load(run.checkpoints / "step-000000040.safetensors") for run in (unbroken, killed))
    assert repr(whole) == repr(parts)
    for name, value in whole["model"].items():
        np.testing.assert_array_equal(parts["model"][name].numpy(), value.numpy(), err_msg=name)


# --- one process


def model_of(value: float) -> gg.nn.Module:
    model = gg.nn.Linear(3, 2)
    model.weight.data[...] = value
    return model


@pytest.fixture
def three(tmp_path: Path) -> gg.Checkpoints:
    """Checkpoints of steps 1, 2 and 3, in which the weights are the step."""
    checkpoints = gg.Checkpoints(tmp_path / "run")
    for step in (1, 2, 3):
        checkpoints.save(step, model=model_of(step))
    return checkpoints


def test_an_empty_folder_restores_nothing(tmp_path: Path) -> None:
    checkpoints = gg.Checkpoints(tmp_path / "new")
    assert checkpoints.restore(model=model_of(0)) is None
    assert checkpoints.latest() is None
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("keep", "left"), [(1, [7]), (3, [3, 5, 7]), (None, [1, 2, 3, 5, 7])])
def test_the_last_are_kept(tmp_path: Path, keep: int | None, left: list[int]) -> None:
    checkpoints = gg.Checkpoints(tmp_path, keep_last=keep)
    (tmp_path / "notes.safetensors").touch()
    for step in (1, 2, 3, 5, 7):
        path = checkpoints.save(step)
        assert path == checkpoints.latest()
    assert list(checkpoints.steps()) == left
    assert (tmp_path / "notes.safetensors").exists()


def test_everything_comes_back(tmp_path: Path) -> None:
    model, generator = model_of(1), np.random.default_rng(0)
    optimizer = gg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(TensorDataset(np.arange(6)), 2, shuffle=True, seed=4)
    model(gg.ones((1, 3))).sum().backward()
    optimizer.step()
    next(iter(loader))
    extra = {"losses": [0.5, float("inf")], "best": (1, np.arange(3)), "note": None, 3: "é"}
    gg.Checkpoints(tmp_path).save(9, model=model, optimizer=optimizer, loader=loader, generator_=generator, extra=extra)
    drawn = gg.random.normal((4,)).numpy(), generator.random(4)
    fresh, other = model_of(0), np.random.default_rng(1)
    again = gg.optim.SGD(fresh.parameters(), lr=0.3, momentum=0.9)
    rest = DataLoader(TensorDataset(np.arange(6)), 2, shuffle=True, seed=0)
    found = gg.Checkpoints(tmp_path).restore(model=fresh, optimizer=again, loader=rest, generator_=other)
    assert found is not None
    assert (found.step, found.path.name) == (9, "step-000000009.safetensors")
    assert repr(found.extra) == repr({**extra, "best": (1, gg.asarray(np.arange(3)))})
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(fresh.state_dict()[name].numpy(), value.numpy())
    assert repr(again.state_dict()) == repr(optimizer.state_dict())
    assert rest.state_dict() == loader.state_dict() == {"seed": 4, "epoch": 0, "samples": 2, "length": 6}
    np.testing.assert_array_equal(gg.random.normal((4,)).numpy(), drawn[0])
    np.testing.assert_array_equal(other.random(4), drawn[1])


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    place = content.index(np.float32(3).tobytes() * 6)
    damaged = {
        "truncated": content[:-5],
        "empty": b"",
        "other": content[place:],
        "bit": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
        "number": content.replace(rb"[\"step\", 3]", rb"[\"step\", 4]"),
        "name": content.replace(rb"\"extra\"", rb"\"fxtra\""),
    }[kind]
    assert damaged != content
    path.write_bytes(damaged)


@pytest.mark.parametrize("kind", ["truncated", "empty", "other", "bit", "number", "name"])
def test_a_damaged_file_falls_back_to_the_one_before(three: gg.Checkpoints, kind: str) -> None:
    newest = three.steps()[3]
    damage(newest, kind)
    resumed, model = gg.Checkpoints(three.folder), model_of(0)
    with pytest.warns(RuntimeWarning, match=r"passed over a damaged checkpoint: .*step-000000003") as caught:
        found = resumed.restore(model=model)
    assert caught[0].filename == __file__
    assert found is not None
    assert found.step == 2
    assert (model.weight.data == 2).all()
    assert newest.exists()  # until the run has got further
    resumed.save(4, model=model)
    assert list(resumed.steps()) == [1, 2, 4]
    with pytest.raises(gg.CheckpointError, match="no checkpoint of step 3; there are 1, 2, 4"):
        resumed.restore(3)


def test_a_damaged_file_that_was_asked_for_is_an_error(three: gg.Checkpoints) -> None:
    damage(three.steps()[3], "bit")
    with pytest.raises(gg.CheckpointError, match=r"step-000000003\.safetensors: damaged: its checksum"):
        three.restore(step=3)
    for step in (1, 2):
        three.steps()[step].write_bytes(b"")
    with (
        pytest.warns(RuntimeWarning, match="passed over"),
        pytest.raises(gg.CheckpointError, match=r"step-000000001\.safetensors"),
    ):
        three.restore()


def test_a_run_may_go_back_and_then_what_came_after_is_gone(three: gg.Checkpoints) -> None:
    with pytest.raises(gg.CheckpointError, match=r"save of step 2, but this run is at step 3: restore\(step\)"):
        three.save(2)
    assert three.restore(step=1) is not None
    assert list(three.steps()) == [1, 2, 3]
    three.save(2, model=model_of(20))
    assert list(three.steps()) == [1, 2]
    three.save(2, model=model_of(21))
    model = model_of(0)
    three.restore(model=model)
    assert (model.weight.data == 21).all()


def test_another_run_is_not_overwritten(three: gg.Checkpoints) -> None:
    other = gg.Checkpoints(three.folder)
    for step in (1, 3):
        with pytest.raises(gg.CheckpointError, match=rf"save of step {step}, but step 3 is there, of an earlier run: restore"):
            other.save(step)
    assert list(three.steps()) == [1, 2, 3]


def test_half_written_files_are_cleaned_up(three: gg.Checkpoints) -> None:
    left, writing = three.folder / ".gpugrad-0123.tmp", three.folder / ".gpugrad-4567.tmp"
    left.write_bytes(b"half")
    os.utime(left, (1e9, 1e9))
    writing.write_bytes(b"by another thread")
    found = three.restore()
    assert found is not None
    assert found.step == 3
    three.save(4)
    assert not left.exists()
    assert writing.exists()


def test_a_failed_save_leaves_the_folder_as_it_was(three: gg.Checkpoints) -> None:
    before = sorted(os.listdir(three.folder))
    with pytest.raises(gg.CheckpointError, match="extra"):
        three.save(4, extra=object())
    assert sorted(os.listdir(three.folder)) == before


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda c: gg.Checkpoints("x", keep_last=0), ValueError, "keep_last is 0, expected an integer of at least 1"),
        (lambda c: c.save(-1), ValueError, "step is -1, expected a non-negative integer"),
        (lambda c: c.save(True), ValueError, "step is True"),
        (lambda c: c.save(4, model={"w": 1}), TypeError, "model is of type dict, expected what has state_dict"),
        (lambda c: c.save(4, model=gg.nn.Linear), TypeError, "model is of type type"),
        (lambda c: c.save(4, generator=np.random.default_rng(0)), ValueError, "the name 'generator' is taken"),
        (lambda c: c.restore(optimizer=model_of(0)), gg.CheckpointError, "holds no optimizer; it has model"),
        (lambda c: c.restore(model=gg.nn.Linear(4, 4)), gg.CheckpointError, "the state does not fit Linear"),
        (lambda c: c.restore(step=7), gg.CheckpointError, "no checkpoint of step 7; there are 1, 2, 3"),
    ],
)
def test_misuse(three: gg.Checkpoints, call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        call(three)
    assert list(three.steps()) == [1, 2, 3]


def test_other_files_of_that_name_are_refused(tmp_path: Path) -> None:
    gg.save({"w": np.ones(1)}, tmp_path / "step-000000001.safetensors")
    with pytest.raises(gg.CheckpointError, match="not written by Checkpoints"):
        gg.Checkpoints(tmp_path).restore()
