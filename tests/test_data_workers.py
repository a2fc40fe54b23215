"""Loaders with workers: threads and processes give the batches of none, in order, and end with the loop."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.data import DataLoader, TensorDataset
from gpugrad.errors import DataError


class Squares:
    """A data set that is not made of arrays."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.full(2, index, "float32"), index**2


def labels_of(loader: DataLoader) -> list[list[int]]:
    """One epoch, as the last field of every batch."""
    return [batch[-1].numpy().tolist() for batch in loader]


# --- threads


class Slow(Squares):
    """Earlier samples take longer, so that threads finish in another order than they start."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        time.sleep(0.002 * max(0, 6 - index))
        self.seen = {*getattr(self, "seen", ()), threading.current_thread().name}
        return super().__getitem__(index)


def test_workers_keep_the_order() -> None:
    dataset = Slow(24)
    loader = DataLoader(dataset, 2, workers=3, prefetch=2)
    assert labels_of(loader) == labels_of(DataLoader(Squares(24), 2))
    assert len(dataset.seen) == 3
    assert "MainThread" not in dataset.seen
    assert not any(thread.name.startswith("DataLoader") for thread in threading.enumerate())


def test_workers_are_only_so_far_ahead_and_stop_with_the_loop() -> None:
    started: list[int] = []

    class Noted(Squares):
        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            started.append(index)
            return super().__getitem__(index)

    for batch in DataLoader(Noted(100), 1, workers=2, prefetch=3):
        if batch[1].item() == 4:
            break
    assert max(started) <= 2 + 2 * 3
    assert not any(thread.name.startswith("DataLoader") for thread in threading.enumerate())


def test_a_workers_error_comes_in_its_turn() -> None:
    class Broken(Squares):
        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            if index == 5:
                raise DataError("images/5.png: truncated")
            return super().__getitem__(index)

    batches = iter(DataLoader(Broken(9), 2, workers=2))
    assert [next(batches)[1].numpy().tolist() for _ in range(2)] == [[0, 1], [4, 9]]
    with pytest.raises(DataError, match=r"images/5\.png: truncated"):
        next(batches)


def test_workers_have_the_modes_of_the_loop() -> None:
    weight = gg.tensor([2.0], requires_grad=True)

    class Scaled(Squares):
        def __getitem__(self, index: int) -> tuple[Any, int]:
            return weight * index, index

    with gg.no_grad():
        samples = next(iter(DataLoader(Scaled(2), 2, collate_fn=list, workers=1)))
    assert not samples[0][0].requires_grad


# --- processes


class Where(Squares):
    """Each sample with the process that made it; earlier ones take longer."""

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        time.sleep(0.005 * max(0, 6 - index))
        return float(index), os.getpid(), index**2


def test_processes_give_the_batches_of_none() -> None:
    settings = {"shuffle": True, "seed": 3, "drop_last": True}
    alone = DataLoader(Where(23), 4, **settings)
    loader = DataLoader(Where(23), 4, workers=2, processes=True, **settings)
    gg.set_default_dtype("float64")
    try:
        for _ in range(2):
            for ours, theirs in zip(alone, loader, strict=True):
                assert (ours[0].dtype, theirs[0].dtype) == ("float64", "float64")
                np.testing.assert_array_equal(ours[0].numpy(), theirs[0].numpy())
                assert os.getpid() not in theirs[1].numpy()
                np.testing.assert_array_equal(ours[2].numpy(), theirs[2].numpy())
    finally:
        gg.set_default_dtype("float32")
    assert loader.state_dict() == alone.state_dict()
    assert multiprocessing.active_children() == []


class Noisy(Squares):
    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return gg.random.normal(()).item(), random.random(), np.random.rand(), np.random.default_rng().integers(9), index  # noqa: NPY002


def rows(loader: DataLoader) -> list[list[float]]:
    return [[*fields[:3], fields[4]] for batch in loader for fields in zip(*(field.numpy().tolist() for field in batch))]


def test_draws_are_those_of_the_seed_for_any_number_of_processes_and_after_a_resume() -> None:
    def fresh(workers: int) -> DataLoader:
        return DataLoader(Noisy(20), 4, shuffle=True, seed=5, workers=workers, processes=True)

    first = fresh(1)
    epochs = [rows(first), rows(first)]
    assert len({value for epoch in epochs for row in epoch for value in row[:3]}) == 2 * 20 * 3  # no draw comes twice
    second = fresh(3)
    assert rows(second) == epochs[0]
    for number, _ in enumerate(second):
        if number == 1:
            break
    resumed = fresh(2)
    resumed.load_state_dict(second.state_dict())
    assert rows(resumed) == epochs[1][8:]


class Broken(Squares):
    def __init__(self, length: int, what: str) -> None:
        super().__init__(length)
        self.what = what

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if index == 5:
            if self.what == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.what == "strange":
                raise Strange(1, 2)
            raise DataError("images/5.png: truncated")
        return super().__getitem__(index)


class Strange(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize(
    "settings", [{}, {"workers": 2}, {"workers": 2, "processes": True}], ids=["none", "threads", "processes"]
)
@pytest.mark.parametrize("collate_fn", [None, list])
def test_an_error_names_the_sample_and_shows_where_it_arose(settings: dict[str, Any], collate_fn: Any) -> None:
    batches = iter(DataLoader(Broken(9, "error"), 2, collate_fn=collate_fn, **settings))
    next(batches), next(batches)
    with pytest.raises(DataError, match=r"images/5\.png: truncated") as caught:
        next(batches)
    shown = "".join(traceback.format_exception(caught.value))
    assert "raised by the data set for sample 5" in shown
    assert 'raise DataError("images/5.png: truncated")' in shown  # the worker's traceback
    assert multiprocessing.active_children() == []


def test_an_error_that_cannot_travel_is_told() -> None:
    with pytest.raises(DataError, match=re.escape("Strange: 1 and 2")) as caught:
        list(DataLoader(Broken(9, "strange"), 2, workers=1, processes=True))
    assert caught.value.__notes__ == ["raised by the data set for sample 5"]


def test_a_worker_that_is_killed_is_an_error_and_no_hang() -> None:
    with pytest.raises(DataError, match=r"a worker process ended before its time\. It was killed"):
        list(DataLoader(Broken(9, "killed"), 2, workers=2, processes=True))
    assert multiprocessing.active_children() == []


def test_what_cannot_be_sent_is_refused() -> None:
    with pytest.raises(DataError, match=r"cannot be sent to processes: .*lambda.* or use threads"):
        next(iter(DataLoader(Squares(4), 2, collate_fn=lambda samples: samples, workers=1, processes=True)))
    with pytest.raises(DataError, match="processes=True with workers=0"):
        DataLoader(Squares(4), processes=True)
    with pytest.raises(DataError, match="processes is 2, expected True or False"):
        DataLoader(Squares(4), workers=2, processes=2)  # type: ignore[arg-type]


def test_breaking_off_ends_the_processes() -> None:
    for _ in DataLoader(TensorDataset(np.arange(1000)), 1, workers=2, processes=True):
        assert len(multiprocessing.active_children()) == 2
        break
    assert multiprocessing.active_children() == []


SCRIPT = """
import os, sys, time
import numpy as np
from gpugrad.data import DataLoader

class Slow:
    def __len__(self):
        return 10_000
    def __getitem__(self, index):
        time.sleep(0.01)
        return np.array([index, os.getpid()])

GUARD
    batches = iter(DataLoader(Slow(), 1, workers=2, processes=True))
    workers = set()
    while len(workers) < 2:
        workers.add(int(next(batches)[0].numpy()[0, 1]))
    print(*workers, flush=True)
    END
"""


def started(tmp_path: Path, end: str, guard: str = "if __name__ == '__main__':") -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("END", end).replace("GUARD", guard))
    environment = {**os.environ, "PYTHONPATH": str(Path(gg.__file__).parent.parent)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, str(script)], stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
    )


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or ") Z " not in status.read_text()


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [
        ("for batch in batches: pass", -signal.SIGINT, "KeyboardInterrupt"),  # and Ctrl-C
        ("time.sleep(60)", -signal.SIGKILL, ""),  # and a kill of the parent alone
        ("pass", 0, ""),
        ("raise KeyError('loop')", 1, "KeyError: 'loop'"),
        ("import gc; kept = [batches]; kept.append(kept); sys.exit(3)", 3, ""),
    ],
    ids=["interrupted", "killed", "left", "error", "cycle"],
)
def test_nothing_outlives_the_program(tmp_path: Path, end: str, code: int, words: str) -> None:
    program = started(tmp_path, end)
    assert program.stdout is not None
    workers = [int(number) for number in program.stdout.readline().split()]
    assert len(workers) == 2
    if code == -signal.SIGINT:
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does: all get it
    if code == -signal.SIGKILL:
        program.kill()
    _, errors = program.communicate(timeout=20)
    assert program.returncode == code
    assert errors.count("Traceback") == (words != ""), errors  # the program's own, none of a worker
    assert words in errors
    until = time.monotonic() + 10
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, workers))


def test_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    program = started(tmp_path, "pass", guard="if True:")
    _, errors = program.communicate(timeout=30)
    assert program.returncode == 1
    assert "must do its work under `if __name__ == '__main__':`" in errors
