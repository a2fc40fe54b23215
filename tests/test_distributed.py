"""Training on several processes: the arithmetic on threads that stand in for them, and whole jobs under mpiexec."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cupy_standin
import numpy as np
import pytest

import gpugrad as gg
from gpugrad import distributed, nn, optim
from gpugrad.data import DataLoader, TensorDataset
from gpugrad.distributed import DistributedSampler, World
from gpugrad.distributed.links import NCCLLink
from gpugrad.nn import functional as F

ROOT = Path(__file__).parent.parent


class Threads:
    """The links of a job whose ranks are threads of this process."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.arrays: list[Any] = [None] * size
        self.meeting = threading.Barrier(size, timeout=20)

    def link(self, rank: int) -> Any:
        return ThreadLink(self, rank)

    def exchange(self, rank: int, array: np.ndarray) -> list[np.ndarray]:
        self.arrays[rank] = array.copy()
        self.meeting.wait()
        arrays = list(self.arrays)
        self.meeting.wait()
        assert len({(a.shape, a.dtype) for a in arrays}) == 1  # what MPI would need
        return arrays


class ThreadLink:
    def __init__(self, threads: Threads, rank: int) -> None:
        self.threads, self.rank, self.size = threads, rank, threads.size

    def all_gather(self, array: np.ndarray) -> np.ndarray:
        return np.stack(self.threads.exchange(self.rank, array))

    def all_to_all(self, rows: np.ndarray) -> np.ndarray:
        return np.stack([other[self.rank] for other in self.threads.exchange(self.rank, rows)])

    def broadcast(self, array: np.ndarray) -> None:
        array[...] = self.threads.exchange(self.rank, array)[0]


def on_ranks(size: int, program: Callable[[World], Any]) -> list[Any]:
    """What the program returns, or raises, on each rank."""
    threads, results = Threads(size), [None] * size

    def run(rank: int) -> None:
        try:
            results[rank] = program(World(threads.link(rank)))
        except Exception as error:
            results[rank] = error  # type: ignore[call-overload]
            if isinstance(error, AssertionError):
                threads.meeting.abort()

    workers = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
    return results


# --- arithmetic


def with_grads(*grads: Any) -> list[gg.Tensor]:
    tensors = []
    for grad in grads:
        tensors.append(gg.zeros(np.shape(grad), dtype=np.asarray(grad).dtype, requires_grad=True))
        tensors[-1].grad = gg.asarray(grad)
    return tensors


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("bucket_bytes", [1, 40, 1 << 20])
def test_gradients_are_averaged_by_weight_in_the_order_of_the_ranks(size: int, bucket_bytes: int) -> None:
    shapes, dtypes = [(3,), (), (2, 5), (0,), (7,), (2,)], ["f4", "f8", "f4", "f4", "f8", "c8"]
    rng = np.random.default_rng(0)
    grads = [[rng.normal(size=shape).astype(dtype) for shape, dtype in zip(shapes, dtypes)] for _ in range(size)]
    weights = [5.0, 2.0, 3.0][:size]

    def program(world: World) -> list[gg.Tensor]:
        params = with_grads(*grads[world.rank])
        world.average_gradients(params, weights[world.rank], bucket_bytes)
        return [p.grad for p in params]

    results = on_ranks(size, program)
    for i, first in enumerate(results[0]):
        expected = sum(np.asarray(grads[r][i] * (weights[r] / sum(weights)), dtypes[i]) for r in range(size))
        assert (first.dtype, first.shape) == (dtypes[i], shapes[i])
        for result in results:
            np.testing.assert_array_equal(result[i].numpy(), expected)  # equal, not close: the order is fixed


def test_missing_gradients_count_as_zeros_and_no_samples_as_none() -> None:
    def program(world: World) -> list[Any]:
        params = with_grads([2.0], [4.0], [6.0], [np.nan if world.rank else 8.0])
        if world.rank == 1:
            params[0].grad = None
        params[1].grad = None
        world.average_gradients(params, weight=[0.5, 0.0][world.rank] if world.rank else 0.5)
        return [None if p.grad is None else p.grad.item() for p in params]

    assert on_ranks(2, program) == [[2.0, None, 6.0, 8.0]] * 2


def test_the_average_of_numbers() -> None:
    assert on_ranks(3, lambda world: world.average(float(world.rank), weight=world.rank + 1)) == [8 / 6] * 3
    assert on_ranks(2, lambda world: world.average(np.nan if world.rank else 3.0, weight=1.0 - world.rank)) == [3.0] * 2
    assert World().average(2.5) == 2.5
    assert (
        on_ranks(2, lambda world: world.gather({"rank": world.rank, "long": "x" * world.rank}))
        == [[{"rank": 0, "long": ""}, {"rank": 1, "long": "x"}]] * 2
    )


@pytest.mark.parametrize(
    ("program", "error", "words"),
    [
        (
            lambda w: w.average_gradients(with_grads(np.zeros(2 + w.rank))),
            gg.DistributedError,
            "average_gradients: the tensors differ between ranks: number 0 is ((2,), 'float64') on rank 0 and ((3,), 'float64')",
        ),
        (
            lambda w: w.broadcast([gg.zeros(1)] * (2 - w.rank)),
            gg.DistributedError,
            "broadcast: the tensors differ between ranks: there are 2 on rank 0 and 1 on rank 1",
        ),
        (lambda w: w.average_gradients([], weight=-w.rank), ValueError, "weights are [0.0, -1.0], expected numbers of 0 or more"),
        (lambda w: w.average(1.0, weight=0.0), ValueError, "weights are [0.0, 0.0]"),
        (lambda w: w.average(1.0, weight=np.inf), ValueError, "weights are [inf, inf]"),
    ],
)
def test_ranks_that_disagree_all_raise(program: Callable[[World], Any], error: type[Exception], words: str) -> None:
    for result in on_ranks(2, program):
        assert isinstance(result, error)
        assert words in str(result)


def test_parameters_and_buffers_are_broadcast() -> None:
    class Net(nn.Module):
        def __init__(self, value: float) -> None:
            self.inner = nn.Linear(3, 2)
            self.inner.weight.data[...] = value
            self.mean = nn.Buffer(np.full((2, 2), value).T)
            self.empty = nn.Parameter(np.zeros((0, 2)))

    def program(world: World) -> Any:
        net = Net(world.rank + 1.0)
        array = net.inner.weight.data
        world.broadcast(net)
        assert net.inner.weight.data is array  # an optimiser that has it keeps it
        return {name: value.numpy().tolist() for name, value in net.state_dict().items()}

    first, second = on_ranks(2, program)
    assert first == second
    assert first["inner.weight"] == [[1.0] * 3] * 2
    assert first["mean"] == [[1.0, 1.0]] * 2


def test_sampler_shares_every_batch() -> None:
    dataset = TensorDataset(np.arange(11))
    whole = [x.numpy().tolist() for (x,) in DataLoader(dataset, 4, shuffle=True, seed=3)]

    def program(world: World) -> list[list[int]]:
        loader = DataLoader(dataset, 4, shuffle=True, seed=3, sampler=DistributedSampler(world))
        return [x.numpy().tolist() for (x,) in loader]

    for size in (1, 2, 3):
        shares = on_ranks(size, program)
        assert [[number for share in shares for number in share[i]] for i in range(3)] == whole
        assert all(len(part) >= 1 for share in shares for part in share)
    with pytest.raises(gg.DataError, match="a batch of 3 samples cannot be shared by 4 ranks"):
        raise on_ranks(4, program)[2]


def train(world: World, steps: int, checkpoints: gg.Checkpoints | None = None) -> list[float]:
    """A noisy regression, in which ranks draw noise of their own."""
    rng = np.random.default_rng(0)
    dataset = TensorDataset(rng.normal(size=(30, 4)), rng.normal(size=(30, 1)))
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).to(dtype="float64")
    for i, p in enumerate(model.parameters()):
        p.data[...] = np.random.default_rng(i + 10 * world.rank).normal(size=p.shape) / 3
    world.broadcast(model)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    loader = DataLoader(dataset, 8, shuffle=True, seed=1, sampler=DistributedSampler(world))
    losses, parts = [], {"model": model, "optimizer": optimizer, "loader": loader}
    if checkpoints is not None and (found := world.restore(checkpoints, **parts)):
        losses = found.extra["losses"]
    while len(losses) < steps:
        for x, y in loader:
            if len(losses) == steps:
                break
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            world.average_gradients(model.parameters(), weight=len(x))
            optimizer.step()
            losses.append(world.average(loss.item(), weight=len(x)))
            if checkpoints is not None:
                world.save(checkpoints, len(losses), extra={"losses": losses}, **parts)
    return losses


@pytest.mark.parametrize("size", [2, 3])
def test_several_ranks_take_the_steps_of_one(size: int) -> None:
    alone = train(World(), 20)
    results = on_ranks(size, lambda world: train(world, 20))
    assert all(result == results[0] for result in results)
    np.testing.assert_allclose(results[0], alone, rtol=1e-12)
    assert on_ranks(size, lambda world: train(world, 20)) == results


def test_checkpoints_are_written_by_rank_0_and_read_by_all(tmp_path: Path) -> None:
    def both(steps: int) -> list[Any]:
        return on_ranks(2, lambda world: train(world, steps, gg.Checkpoints(tmp_path / "run")))

    unbroken = on_ranks(2, lambda world: train(world, 9))
    both(5)
    assert both(9) == unbroken
    assert len(os.listdir(tmp_path / "run")) == 3
    again = on_ranks(2, lambda world: train(world, 3, gg.Checkpoints(tmp_path / "run")))
    assert again == unbroken  # nothing was left to do


def test_a_save_that_fails_fails_on_all_ranks(tmp_path: Path) -> None:
    gg.Checkpoints(tmp_path).save(3)
    first, second = on_ranks(2, lambda world: world.save(gg.Checkpoints(tmp_path), 1))
    assert isinstance(first, gg.CheckpointError)
    assert isinstance(second, gg.DistributedError)
    assert "rank 0 could not save: CheckpointError: " in str(second)
    with pytest.raises(gg.DistributedError, match=r"not written by World\.save"):
        World().restore(gg.Checkpoints(tmp_path))


def test_random_generators_come_back_for_each_rank(tmp_path: Path) -> None:
    gg.manual_seed(3)
    world, checkpoints = World(), gg.Checkpoints(tmp_path)
    world.save(checkpoints, 1, extra="note")
    drawn = gg.random.normal((3,)).numpy()
    found = world.restore(checkpoints)
    assert found is not None
    assert found.extra == "note"
    np.testing.assert_array_equal(gg.random.normal((3,)).numpy(), drawn)
    state = gg.random.default_generator().bit_generator.state
    checkpoints.save(2, extra={"extra": None, "generators": [state, state]})
    drawn = gg.random.normal((3,)).numpy()
    gg.random.default_generator().bit_generator.state = state
    with pytest.warns(RuntimeWarning, match="saved by 2 ranks, and this job has 1"):
        world.restore(checkpoints)
    np.testing.assert_array_equal(gg.random.normal((3,)).numpy(), drawn)


def test_without_mpi_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpugrad.distributed.start._world", None)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    with pytest.raises(ImportError, match=r"pip install gpugrad\[distributed\]"):
        distributed.init()


class Communicator:
    """NCCL as `cupyx.distributed.NCCLBackend` shows it: results go into arrays that are given."""

    def __init__(self, link: ThreadLink) -> None:
        self.link = link

    def all_gather(self, sent: np.ndarray, out: np.ndarray, count: int) -> None:
        assert count == sent.size
        out[...] = self.link.all_gather(sent).reshape(out.shape)

    def all_to_all(self, sent: np.ndarray, out: np.ndarray) -> None:
        assert len(sent) == len(out) == self.link.size
        out[...] = self.link.all_to_all(sent)

    def broadcast(self, array: np.ndarray, root: int) -> None:
        assert root == 0
        self.link.broadcast(array)


def test_the_link_of_nccl_moves_what_the_others_move() -> None:
    threads = Threads(3)

    def program(world: World) -> list[Any]:
        link = threads.link(world.rank)
        rows = (np.arange(12).reshape(3, 4) + 100 * world.rank).astype("complex64")
        moved = []
        for way in (link, NCCLLink(Communicator(link), link.rank, link.size)):
            mine = rows.copy()
            way.broadcast(mine)
            moved.append([array.tolist() for array in (way.all_gather(rows[0]), way.all_to_all(rows), mine)])
        return moved

    for expected, found in on_ranks(3, program):
        assert found == expected


def test_a_gradient_on_a_gpu_needs_nccl() -> None:
    with (
        cupy_standin.installed() as cupy,
        pytest.raises(gg.DistributedError, match=r"float64\[3\] on cuda.*distributed\.init\(device='cuda'\)"),
    ):
        World()._link(cupy.zeros(3))


# --- jobs


def _mpiexec() -> str | None:
    return shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def _why_no_mpi() -> str | None:
    """Why no job can be started here; found out by starting one."""
    mpiexec = _mpiexec()
    if mpiexec is None:
        return "mpiexec is not installed"
    done = job(2, "from mpi4py import MPI; assert MPI.COMM_WORLD.size == 2")
    return None if done.returncode == 0 else f"mpiexec does not work with mpi4py here: {done.stderr[-300:]}"


SETTINGS = {  # Open MPI's: as root, and with more ranks than cores
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def job(ranks: int, *arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a program, given as text, or as a path with arguments, on several ranks."""
    mpiexec = _mpiexec()
    assert mpiexec is not None
    program = ["-c", arguments[0]] if isinstance(arguments[0], str) else list(arguments)
    environment = {**os.environ, **SETTINGS, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [mpiexec, "-n", str(ranks), sys.executable, *program]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, check=False)


@pytest.fixture(scope="session")
def mpi() -> None:
    if reason := _why_no_mpi():
        pytest.skip(reason)


@pytest.mark.usefixtures("mpi")
def test_the_digits_example_gives_the_losses_of_one_process(tmp_path: Path) -> None:
    script = ROOT / "examples" / "digits_mlp.py"
    arguments = ["--epochs", "3", "--batch-size", "96", "--out"]
    histories = []
    for name, extra in (("two", ["--distributed"]), ("one", [])):
        done = job(len(extra) + 1, script, *arguments, tmp_path / name, *extra)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("test accuracy") == 1  # rank 0 alone prints
        histories.append(json.loads(gg.load_metadata(tmp_path / name / "digits_mlp.safetensors")["history"]))
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-12, err_msg=name)


@pytest.mark.usefixtures("mpi")
def test_the_links_of_mpi() -> None:
    """What the threads above stand in for."""
    done = job(
        3,
        """
import numpy as np
from gpugrad import distributed
world = distributed.init()
link, rank = world._host, world.rank
assert (world.size, world.device) == (3, "cpu")
assert distributed.init() is world
for dtype in ("float16", "float32", "complex128", "uint8"):
    rows = (np.arange(12).reshape(3, 4) + 100 * rank).astype(dtype)
    assert (link.all_gather(rows[0]) == [(np.arange(4) + 100 * r).astype(dtype) for r in range(3)]).all()
    assert (link.all_to_all(rows) == [(np.arange(4) + 4 * rank + 100 * r).astype(dtype) for r in range(3)]).all()
    link.broadcast(rows)
    assert (rows == np.arange(12).reshape(3, 4)).all()
link.broadcast(np.empty(0))
assert world.gather("x" * rank) == ["", "x", "xx"]
world.barrier()
print("right")
""",
    )
    assert done.stdout.count("right") == 3, done.stderr  # MPICH may put two ranks' words on one line
    assert done.returncode == 0, done.stderr


ENDINGS = {
    "exception": ("raise KeyError('what went wrong')", r"rank 1 of 2 failed:(.|\n)*KeyError: 'what went wrong'"),
    "exit": ("sys.exit(3)", r"DistributedError: rank 0 waits for rank 1, which has left the program"),
    "fewer batches": ("break", r"DistributedError: rank 0 waits for rank 1, which has left the program"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", ""),
    "without a word": ("os._exit(0)", ""),
}


@pytest.mark.usefixtures("mpi")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_rank_that_ends_ends_the_job_with_an_error(ending: str) -> None:
    statement, words = ENDINGS[ending]
    program = f"""
import os, signal, sys
import numpy as np
import gpugrad as gg
from gpugrad import distributed
world = distributed.init()
weight = gg.zeros(50_000, requires_grad=True)
for step in range(50):
    if step == 20 and world.rank == 1:
        {statement}
    weight.grad = gg.ones(50_000)
    world.average_gradients([weight])
print("done")
"""
    start = time.monotonic()
    done = job(2, program, timeout=60)
    # MPICH ends the job when a rank leaves without a word, and may then give that rank's status, 0, as the job's.
    assert done.returncode != 0 or (ending == "without a word" and not done.stdout)
    assert time.monotonic() - start < 30
    assert re.search(words, done.stderr), done.stderr
    assert done.stdout.count("done") <= (ending == "fewer batches")


JOB = """
import json, os, signal, sys
import numpy as np
import gpugrad as gg
from gpugrad import distributed, nn, optim
from gpugrad.data import DataLoader, TensorDataset

folder, die_at = sys.argv[1], int(sys.argv[2])
world = distributed.init()
gg.manual_seed(world.rank)  # every rank draws masks of its own
rng = np.random.default_rng(0)
dataset = TensorDataset(rng.normal(size=(40, 6)), rng.normal(size=(40, 1)))
model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 1)).to(dtype="float64")
optimizer = optim.Adam(model.parameters(), lr=0.01)
loader = DataLoader(dataset, 10, shuffle=True, seed=1, sampler=distributed.DistributedSampler(world))
world.broadcast(model)
checkpoints, parts = gg.Checkpoints(folder), {"model": model, "optimizer": optimizer, "loader": loader}
found = world.restore(checkpoints, **parts)
step = found.step if found else 0
while step < 14:
    for x, y in loader:
        optimizer.zero_grad()
        loss = gg.mse_loss(model(x), y)
        loss.backward()
        world.average_gradients(model.parameters(), weight=len(x), bucket_bytes=200)
        optimizer.step()
        step += 1
        if step == die_at and world.rank == world.size - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if step % 3 == 0:
            world.save(checkpoints, step, **parts)
        if step == 14:
            break
if world.rank == 0:
    print(json.dumps({name: value.numpy().tolist() for name, value in model.state_dict().items()}))
"""


@pytest.mark.usefixtures("mpi")
def test_a_job_that_was_killed_goes_on_with_the_numbers_of_one_that_was_not(tmp_path: Path) -> None:
    """Gradients in buckets of a few numbers, checkpoints of rank 0, and a rank that is killed in the third epoch."""
    program = tmp_path / "job.py"
    program.write_text(JOB)
    unbroken = job(2, program, tmp_path / "unbroken", "0")
    assert unbroken.returncode == 0, unbroken.stderr
    assert job(2, program, tmp_path / "killed", "11").returncode != 0
    assert sorted(os.listdir(tmp_path / "killed"))[-1] == "step-000000009.safetensors"
    resumed = job(2, program, tmp_path / "killed", "0")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout) == json.loads(unbroken.stdout)


@pytest.mark.usefixtures("mpi")
def test_ranks_may_end_at_different_times() -> None:
    done = job(2, "import time; from gpugrad import distributed; w = distributed.init(); w.barrier(); time.sleep(2 * w.rank)")
    assert done.returncode == 0, done.stderr
