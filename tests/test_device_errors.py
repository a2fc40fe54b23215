"""What goes wrong with GPUs, on the stand-in for CuPy: each error says what was asked for, what there is, and what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import cupy_standin
import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.info import report


@pytest.fixture
def cupy() -> Iterator[Any]:
    with cupy_standin.installed(devices=2) as library:
        yield library


# --- nothing to run on --------------------------------------------------------------------------------------------

MAKERS: list[Callable[[], Any]] = [
    lambda: gg.tensor([1.0], device="cuda"),
    lambda: gg.zeros(3, device="cuda:0"),
    lambda: gg.tensor([1.0]).cuda(),
    lambda: nn.Linear(2, 3).to("cuda"),
    lambda: gg.data.DataLoader([1.0], device="cuda"),
]
LACKS: dict[str, tuple[dict[str, Any], str]] = {
    "no driver": ({"available": False}, "no NVIDIA GPU or driver: check `nvidia-smi`"),
    "no GPU": ({"devices": 0}, "no NVIDIA GPU: check `nvidia-smi` and the variable CUDA_VISIBLE_DEVICES"),
    "old driver": (
        {"available": False, "driver": 12020},
        r"driver is for CUDA 12\.2 and CuPy for CUDA 13\.0: update the driver, or .*pip install gpugrad\[cuda12\]",
    ),
}


@pytest.mark.parametrize("lack", LACKS)
def test_a_gpu_that_is_not_there(lack: str) -> None:
    options, message = LACKS[lack]
    with cupy_standin.installed(**options):
        for make in MAKERS:
            with pytest.raises(gg.DeviceError, match=rf"(?s)device 'cuda' was asked for.*{message}.*test_device_errors\.py"):
                make()
        assert gg.tensor([1.0], device="auto").device == "cpu"
        assert gg.device_count() == 0
        assert not gg.cuda_is_available()
        told = report()
    assert "14.2.0" in told
    assert "none: " in told
    assert {line.split()[0] for line in told.splitlines()} >= {"cupy", "cuda", "compiler", "cublasLt", "cache"}


def test_a_device_with_a_number_too_high(cupy: Any) -> None:
    with pytest.raises(gg.DeviceError, match=r"'cuda:2' was asked for, but this machine has 2 CUDA device\(s\): cuda:0, cuda:1"):
        gg.zeros(2, device="cuda:2")
    for name in ("cuda:", "cuda:x", "gpu", "cuda:-1"):
        with pytest.raises(gg.DeviceError, match="unknown device"):
            gg.zeros(2, device=name)


class Broken:
    """In place of CuPy's importer: what an import says where CuPy's own libraries do not load."""

    text = (
        "\n================================================================\nFailed to import CuPy.\n\nOriginal error:\n"
        "  ImportError: libcudart.so.12: cannot open shared object file\n"
    )

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name == "cupy":
            raise ImportError(self.text)
        return None


def test_a_toolkit_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    message = r"(?s)a CUDA library is missing or of another version: ImportError: libcudart\.so\.12.*gpugrad\[cuda13\].*cuda12"
    with pytest.raises(gg.DeviceError, match=message):
        gg.tensor([1.0], device="cuda")
    assert gg.device_count() == 0
    assert "libcudart.so.12" in report()


def test_a_library_that_is_missed_only_when_it_is_used(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def dot(a: Any, b: Any) -> Any:
        raise ImportError('Failure finding "libcublasLt.so.13"')

    x = gg.ones((2, 2), device="cuda", requires_grad=True)
    y = x @ x
    monkeypatch.setattr(cupy.ndarray, "dot", dot)
    gg.op.registry["matmul"].forwards.clear()
    message = r"(?s)matmul: .*CUDA library is missing.*libcublasLt\.so\.13.*gpugrad\[cuda13\].*x = float32\[2, 2\] on cuda:0"
    with pytest.raises(gg.DeviceError, match=message):
        x @ x
    with pytest.raises(gg.DeviceError, match=r"(?s)backward of matmul failed: .*libcublasLt\.so\.13.*result was float32\[2, 2\]"):
        y.sum().backward()


def test_a_failure_of_cuda(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    error = type("CUDARuntimeError", (RuntimeError,), {"__module__": "cupy_backends.cuda.api.runtime"})

    def exp(x: Any) -> Any:
        raise error("cudaErrorIllegalAddress: an illegal memory access was encountered")

    monkeypatch.setattr(cupy, "exp", exp)
    gg.op.registry["exp"].forwards.clear()
    with pytest.raises(
        gg.DeviceError, match=r"(?s)exp: CUDA failed.*IllegalAddress.*CUDA_LAUNCH_BLOCKING=1.*x = float32\[2\] on cuda"
    ):
        gg.exp(gg.ones(2, device="cuda"))
    gg.op.registry["exp"].forwards.clear()


# --- memory -------------------------------------------------------------------------------------------------------

FIGURES = r"(?s)Out of memory allocating 4,194,304 bytes on cuda:0: arrays use [\d,]+ bytes, CuPy's pool holds [\d,]+"
ADVICE = r".*of the device's 10,000,000 are free.*smaller batch.*no_grad.*checkpoint.*free_all_blocks"


def test_out_of_memory() -> None:
    with cupy_standin.installed(memory=10_000_000):
        x = gg.ones((1024, 1024), device="cuda", requires_grad=True)
        y = x + 1
        message = FIGURES + ADVICE + r".*x = float32\[1024, 1024\] on cuda:0.*\.py:\d+"
        with pytest.raises(gg.OutOfMemoryError, match=message) as caught:
            y * 2
        assert "arrays use 8,388,608 bytes" in str(caught.value)
        assert isinstance(caught.value, MemoryError)
        for make in (lambda: gg.zeros((1024, 1024), device="cuda"), lambda: gg.ones((1024, 1024)).to("cuda")):
            with pytest.raises(gg.OutOfMemoryError, match=FIGURES + ADVICE):
                make()
        with pytest.raises(gg.OutOfMemoryError, match=FIGURES + ".*gives back"):
            y.backward(gg.broadcast_to(gg.ones(1, device="cuda"), (1024, 1024)))
        del y, caught
        assert (x + 2).shape == (1024, 1024)  # what was freed is used again


def test_out_of_memory_where_no_array_is_at_hand() -> None:
    rows = gg.data.TensorDataset(np.ones((1024, 1024), "float32"))
    with cupy_standin.installed(memory=3_000_000):
        for make in (
            lambda: gg.random.uniform((1024, 1024), device="cuda"),
            lambda: gg.random.normal((1024, 1024), device="cuda"),
            lambda: next(iter(gg.data.DataLoader(rows, 1024, device="cuda"))),
        ):
            with pytest.raises(
                gg.OutOfMemoryError, match=r"(?s)allocating [\d,]+ bytes on cuda:0: arrays use.*free_all"
            ) as caught:
                make()
            assert "test_device_errors.py" in str(caught.value)


def test_gradients_on_another_device_are_refused(cupy: Any) -> None:
    x = gg.ones(3, device="cuda", requires_grad=True)
    with pytest.raises(gg.DeviceError, match=r"gradient= is float32\[3\] on cpu, but the output is float32\[3\] on cuda:0"):
        (x * 2).backward(gg.ones(3))
    with pytest.raises(gg.DeviceError, match=r"\.grad must be float32\[3\] on cuda:0.*got float32\[3\] on cpu"):
        x.grad = gg.ones(3)


def test_an_array_that_speaks_dlpack_alone(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Foreign:
        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

        def __dlpack__(self, **_: Any) -> Any: ...

    shared = cupy.ones(3)
    monkeypatch.setattr(cupy, "from_dlpack", lambda value: shared, raising=False)
    assert gg.asarray(Foreign()).data is shared
    assert gg.from_dlpack(Foreign()).data is shared
    assert gg.tensor(Foreign()).data is not shared
    assert gg.asarray(Foreign(), device="cpu").tolist() == [1, 1, 1]


def test_out_of_memory_in_a_backward() -> None:
    with cupy_standin.installed(memory=13_000_000):
        x = gg.ones((1024, 1024), device="cuda", requires_grad=True)
        y = (x * x).sum()
        z = gg.ones((1024, 1024), device="cuda")
        message = r"(?s)backward of multiply failed: Out of memory allocating [\d,]+ bytes on cuda:0.*float32\[1024, 1024\], made"
        with pytest.raises(gg.OutOfMemoryError, match=message):
            y.backward()
        assert z.shape == x.shape


def test_a_limit_of_the_pool_is_told() -> None:
    with cupy_standin.installed() as cupy:
        cupy.get_default_memory_pool().set_limit(size=5_000_000)
        x = gg.ones((1024, 1024), device="cuda")
        with pytest.raises(gg.OutOfMemoryError, match=r"pool holds 4,194,304 of at most 5,000,000"):
            gg.exp(x)


# --- devices that meet --------------------------------------------------------------------------------------------


def gpu(*shape: int, device: str = "cuda:0") -> gg.Tensor:
    return gg.ones(shape, device=device, requires_grad=True)


MIXED: dict[str, tuple[Callable[[], Any], str]] = {
    "tensors": (lambda: gpu(2) + gg.ones(2), r"add: operands are on cpu and cuda:0: move one with \.to\(device\)"),
    "arrays": (lambda: gpu(2) * np.ones(2), "multiply: operands are on cpu and cuda:0"),
    "arrays first": (lambda: np.ones(2) * gpu(2), "multiply: operands are on cpu and cuda:0"),
    "GPUs": (
        lambda: gpu(2) + gpu(2, device="cuda:1"),
        r"(?s)add: operands are on cuda:0 and cuda:1.*\[2\] on cuda:0.*\[2\] on cuda:1",
    ),
    "lists": (lambda: gg.concatenate([gpu(2), gg.ones(2)]), "concatenate: operands are on cpu and cuda:0"),
    "model": (lambda: nn.Linear(2, 3)(gpu(4, 2)), r"(?s)linear: operands are on cpu and cuda:0.*weight = float32\[3, 2\] on cpu"),
    "targets": (lambda: gg.cross_entropy(gpu(4, 3), np.zeros(4, int)), "cross_entropy: operands are on cpu and cuda:0"),
    "a number that is trained": (
        lambda: gpu(2) * gg.tensor(2.0, requires_grad=True),
        "multiply: operands are on cpu and cuda:0, and that on cpu requires a gradient",
    ),
    "cotangent": (lambda: (gpu(2) * 2).backward(gg.ones(2)), r"gradient= is float32\[2\] on cpu, but the output is .* on cuda:0"),
    "cotangent of vjp": (lambda: gg.vjp(gg.exp, gpu(2))[1](np.ones(2, "float32")), r"cotangent on cpu .* cuda:0: move it"),
    "tangent": (lambda: gg.jvp(gg.exp, (gpu(2),), (np.ones(2, "float32"),)), r"tangent on cpu .* cuda:0: move it"),
    "grad": (lambda: setattr(gpu(2), "grad", gg.ones(2)), r"\.grad must be float32\[2\] on cuda:0"),
    "index": (lambda: gg.ones(3)[gg.tensor([0, 1], device="cuda")], r"(?s)getitem: .*move one with \.to\(device\)"),
    "mask": (lambda: gg.where(gpu(2) > 0, 1.0, gg.ones(2)), "where: operands are on cpu and cuda:0"),
    "assignment": (lambda: gpu(2).detach().__setitem__(slice(None), gg.ones(2)), "setitem_: operands are on cpu and cuda:0"),
    "products": (lambda: gpu(2, 2) @ np.ones((2, 2)), "matmul: operands are on cpu and cuda:0"),
}


@pytest.mark.parametrize("name", MIXED)
def test_devices_that_meet(cupy: Any, name: str) -> None:
    make, message = MIXED[name]
    with pytest.raises((gg.DeviceError, gg.ShapeError), match=message) as caught:
        make()
    if name not in ("cotangent", "grad"):
        assert isinstance(caught.value, gg.DeviceError)
    assert "test_device_errors.py" in str(caught.value)


# --- the report ---------------------------------------------------------------------------------------------------


def test_the_report_of_a_machine_with_gpus(cupy: Any) -> None:
    told = dict(line.split(maxsplit=1) for line in report().splitlines())
    assert told["numpy"] == np.__version__
    assert told["cupy"] == "14.2.0"
    assert told["driver"] == "for CUDA 13.0"
    assert told["cuda:0"] == "Stand-in, compute capability 9.0, 8.0 GiB, 8.0 GiB free"
    assert "cuda:1" in told
    assert "missing" in told["compiler"]  # the stand-in has no NVRTC, and the report does not fail of it


def test_the_report_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    from gpugrad.__main__ import main

    main(["info"])
    assert "gpugrad" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["something else"])
