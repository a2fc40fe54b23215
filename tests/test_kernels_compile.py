"""Every kernel compiles for every architecture that we name, without spilling registers. Needs NVRTC, and no GPU."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gpugrad.cuda import compiler
from gpugrad.errors import DeviceError

FILES = sorted(path.stem for path in compiler.kernel_folder().glob("*.cu"))
ARCHITECTURES = ["sm_80", "sm_90", "sm_100", "compute_75"]


@pytest.fixture(scope="module")
def nvrtc() -> Any:
    try:
        compiler._nvrtc()
    except DeviceError as error:
        pytest.skip(str(error))
    if compiler.include_folder() is None:
        pytest.skip("CUDA's headers are not installed (pip install nvidia-cuda-runtime nvidia-cuda-crt nvidia-cuda-cccl)")


def test_no_kernel_is_left_out() -> None:
    assert sorted(compiler.KERNELS) == FILES
    for file in FILES:
        text = (compiler.kernel_folder() / f"{file}.cu").read_text(encoding="utf-8")
        declared = re.findall(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(", text)
        assert sorted(set(declared)) == sorted({name.split("<")[0] for name in compiler.KERNELS[file]})
    headers = {path.name for path in compiler.kernel_folder().glob("*.cuh")}
    included = {name for file in FILES for name in re.findall(r'#line 1 "(.+\.cuh)"', compiler.source(file))}
    assert headers == included


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("file", FILES)
def test_compiles_without_spills(file: str, arch: str) -> None:
    kernels = compiler.KERNELS[file]
    if file == "activations" and arch != "sm_90":  # 20 functions in each direction: all dtypes for one architecture only
        kernels = tuple(name for name in kernels if "float>" in name or "Relu" in name)
    compiled = compiler.compile_file(file, arch, kernels)
    assert len(compiled.symbols) == len(set(compiled.symbols.values())) == len(kernels)
    assert "warning" not in compiled.log
    if arch.startswith("compute_"):
        assert b".target " + arch.replace("compute", "sm").encode() in compiled.image
        return
    assert compiled.image.startswith(b"\x7fELF")
    entries = compiled.log.split("Compiling entry function")[1:]
    assert len(entries) == len(kernels)
    names = {symbol: kernel for kernel, symbol in compiled.symbols.items()}
    for entry in entries:
        kernel = names[entry.split("'")[1]]
        spilled = sum(map(int, re.findall(r"(\d+) bytes spill", entry)))
        assert spilled == 0, f"{kernel} for {arch} spills {spilled} bytes"
        registers = int(re.findall(r"Used (\d+) registers", entry)[0])
        print(f"{arch} {kernel}: {registers} registers")


@pytest.mark.usefixtures("nvrtc")
def test_an_error_in_a_source_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "source", lambda file: '#line 7 "broken.cuh"\n__global__ void f() { nothing; }')
    with pytest.raises(DeviceError, match=r'(?s)broken\.cu for sm_90: NVRTC_ERROR_COMPILATION.*broken\.cuh\(7\).*"nothing"'):
        compiler.compile_file("broken", "sm_90", ["f"])
