"""The CPU runner of CUDA kernels: what it computes, and that it finds planted faults."""

from __future__ import annotations

import re
from typing import Any

import cuda_cpu
import numpy as np
import pytest
from cuda_cpu import KernelError
from kernel_cases import needs_cpu_runner, run

pytestmark = needs_cpu_runner

CODE = """
__device__ int lane() { return threadIdx.x % 32; }

// The sum of each block of 100 numbers, twice over: the scratch memory is used again.
__global__ void sums(const float* x, float* out, int n) {
    __shared__ float scratch[4];
    for (int i = 0; i < 2; ++i) {
        int at = blockIdx.x * blockDim.x + threadIdx.x;
        float value = at < n ? x[at] : 0;
        for (int by = 16; by; by /= 2) value += __shfl_xor_sync(~0u, value, by);
        if (lane() == 0) scratch[threadIdx.x / 32] = value + i;
        __syncthreads(); // before reading
        float sum = 0;
        for (int k = 0; k < 4; ++k) sum += scratch[k];
        if (threadIdx.x == 0) out[2 * blockIdx.x + i] = sum;
        __syncthreads(); // before writing again
    }
}
__global__ void add(const float* x, float* y, long long n, float by) {
    for (long long i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) y[i] = x[i] + by;
}
__global__ void copy_vector(const float* x, float* y) {
    *reinterpret_cast<float4*>(y) = *reinterpret_cast<const float4*>(x);
}
__global__ void reversed(const double* x, double* y) {
    extern __shared__ double scratch[];
    scratch[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = scratch[blockDim.x - 1 - threadIdx.x];
}
__global__ void warps(const int* x, int* out) {
    int value = x[threadIdx.x];
    int* row = out + 8 * threadIdx.x;
    row[0] = __shfl_sync(~0u, value, 3);
    row[1] = __shfl_up_sync(~0u, value, 1);
    row[2] = __shfl_down_sync(~0u, value, 2);
    row[3] = __shfl_xor_sync(~0u, value, 5);
    row[4] = __ballot_sync(~0u, value > 10);
    row[5] = __any_sync(~0u, value == 7);
    row[6] = __all_sync(~0u, value >= 0);
    __syncwarp();
    row[7] = 0;
}
__global__ void counts(unsigned* counter, float* total, unsigned* tickets) {
    tickets[blockIdx.x] = atomicInc(counter, gridDim.x - 1);
    atomicAdd(total, 1.5f);
}
__global__ void halves(const float* x, __half* h, __nv_bfloat16* b) {
    h[threadIdx.x] = __float2half_rn(x[threadIdx.x]);
    b[threadIdx.x] = __float2bfloat16_rn(x[threadIdx.x]);
}
__global__ void stuck() { if (threadIdx.x < 5) __syncthreads(); else __syncwarp(); }
__global__ void split() {
    if (threadIdx.x < 5)
        __syncthreads();
    else
        __syncthreads();
}
__global__ void left() { if (threadIdx.x != 2) __syncwarp(); }
__global__ void past_shared(int i, float* out) { __shared__ float s[4]; s[i] = 1; *out = s[i]; }
__global__ void follow(float* const* table) { *table[0] = 1; }
"""
NAMES = re.findall(r"__global__ void (\w+)", CODE)


def kernel(name: str, code: str = CODE) -> Any:
    return cuda_cpu.RawModule(code=code, name_expressions=NAMES if code is CODE else [name]).get_function(name)


def block_sums(code: str = CODE) -> Any:
    x, out = cuda_cpu.array(np.arange(1000, dtype=np.float32)), cuda_cpu.empty((8, 2))
    kernel("sums", code)((8,), (128,), (x, out, np.int32(1000)))
    return out


BLOCK_SUMS = np.add.reduceat(np.arange(1000.0), np.arange(0, 1000, 128))[:, None] + [0, 4]


# --- what it computes ---------------------------------------------------------------------------------------------


def test_barriers_and_shuffles() -> None:
    np.testing.assert_array_equal(run(block_sums), BLOCK_SUMS)


def test_strides_over_the_grid() -> None:
    x, y = cuda_cpu.array(np.arange(1000, dtype=np.float32)), cuda_cpu.empty(1000)
    kernel("add")((2,), (96,), (x, y, np.int64(1000), np.float32(0.5)))
    np.testing.assert_array_equal(y, x + 0.5)


def test_dynamic_shared_memory() -> None:
    x, y = cuda_cpu.array(np.arange(70.0)), cuda_cpu.empty(70, float)
    run(lambda: kernel("reversed")((1,), (70,), (x, y), shared_mem=70 * 8))
    np.testing.assert_array_equal(y, x[::-1])


def test_warp_operations() -> None:
    x, out = cuda_cpu.array(np.arange(32, dtype=np.int32)), cuda_cpu.empty((32, 8), np.int32)
    run(lambda: kernel("warps")((1,), (32,), (x, out)))
    lanes = np.arange(32)
    expected = [
        np.full(32, 3), np.maximum(lanes - 1, 0), np.where(lanes < 30, lanes + 2, lanes), lanes ^ 5,
        np.full(32, -(1 << 11)), np.full(32, 1), np.full(32, 1), np.full(32, 0),
    ]  # fmt: skip
    np.testing.assert_array_equal(out.T, expected)


def test_atomics() -> None:
    counter, total = cuda_cpu.zeros(1, np.uint32), cuda_cpu.zeros(1)
    tickets = cuda_cpu.empty(5, np.uint32)
    kernel("counts")((5,), (1,), (counter, total, tickets))
    assert sorted(tickets) == [0, 1, 2, 3, 4]
    assert (counter[0], total[0]) == (0, 7.5)


def test_half_types_round_as_numpy_does() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = cuda_cpu.array(np.random.default_rng(0).standard_normal(256).astype(np.float32) * 100)
    h, b = cuda_cpu.empty(256, np.float16), cuda_cpu.empty(256, ml_dtypes.bfloat16)
    kernel("halves")((1,), (256,), (x, h, b))
    np.testing.assert_array_equal(h, x.astype(np.float16))
    np.testing.assert_array_equal(b.view(np.uint16), x.astype(ml_dtypes.bfloat16).view(np.uint16))


# --- planted faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["before reading", "before writing again"])
def test_a_missing_barrier_is_found(which: str) -> None:
    planted = CODE.replace(f"__syncthreads(); // {which}", "")
    assert planted != CODE
    wrong = []
    for schedule in cuda_cpu.SCHEDULES:
        with cuda_cpu.schedule(schedule):
            wrong.append(not np.array_equal(block_sums(planted), BLOCK_SUMS))
    assert any(wrong)


def test_a_wrong_index_is_found() -> None:
    x, y = cuda_cpu.array(np.arange(10, dtype=np.float32)), cuda_cpu.empty(10)
    arguments = x, y, np.int64(10), np.float32(0)
    with pytest.raises(KernelError, match="add wrote after an array of 40 bytes"):
        kernel("add", CODE.replace("y[i] = x[i]", "y[i + 1] = x[i]"))((1,), (32,), arguments)
    with pytest.raises(KernelError, match="add wrote before an array of 40 bytes"):
        kernel("add", CODE.replace("y[i] = x[i]", "y[i - 1] = x[i]"))((1,), (32,), arguments)
    kernel("add", CODE.replace("y[i] = x[i]", "y[i] = x[i + 1]"))((1,), (32,), arguments)
    assert np.isnan(y[9])
    x, out = cuda_cpu.array(np.ones(4)), cuda_cpu.empty(1)
    with pytest.raises(KernelError, match=r"past_shared: thread .* index 4 outside of an array in kernel.cu, line \d+"):
        kernel("past_shared")((1,), (1,), (np.int32(4), out))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.int64(4), np.float64(1)), "argument 3 of add must be float32, got float64"),
        ((np.int64(4), 1.0), "argument 3 of add must be float32, got float64"),  # CuPy passes a Python float as a double
        ((np.int32(4), np.float32(1)), "argument 2 of add must be int64, got int32"),
        ((np.int64(4),), "add takes 4 arguments, got 3"),
        ((np.int64(4), np.float32(1), 0), "add takes 4 arguments, got 5"),
    ],
)
def test_a_wrong_argument_is_found(arguments: tuple[Any, ...], message: str) -> None:
    x, y = cuda_cpu.zeros(4), cuda_cpu.zeros(4)
    with pytest.raises(KernelError, match=message):
        kernel("add")((1,), (32,), (x, y, *arguments))


def test_an_array_of_another_dtype_is_found() -> None:
    x, y, numbers = cuda_cpu.zeros(4), cuda_cpu.zeros(4, float), (np.int64(4), np.float32(1))
    with pytest.raises(KernelError, match="argument 1 of add must be an array of float32, got one of float64"):
        kernel("add")((1,), (32,), (x, y, *numbers))
    with pytest.raises(KernelError, match="argument 0 of add must be an array of float32, got 1"):
        kernel("add")((1,), (32,), (1, x, *numbers))


def test_a_misaligned_vector_is_found() -> None:
    x = cuda_cpu.zeros(8)
    with pytest.raises(KernelError, match=r"copy_vector: thread \(0, 0, 0\) of block \(0, 0, 0\): misaligned .* line \d+"):
        kernel("copy_vector")((1,), (1,), (x, x[1:]))
    kernel("copy_vector")((1,), (1,), (x, x[4:]))


def test_a_pointer_to_nowhere_is_found() -> None:
    with pytest.raises(KernelError, match="outside of all memory"):
        kernel("add")((1,), (32,), (np.uintp(0), cuda_cpu.zeros(4), np.int64(4), np.float32(1)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stuck", r"deadlock: 32 threads wait, this one at __sync(threads|warp) in line \d+"),
        ("split", r"is at __syncthreads in line \d+, while others wait at the one in line \d+"),
        ("left", "returned, while others wait for it at __syncwarp|names lane 2, which has returned"),
    ],
)
def test_threads_that_wait_for_ever_are_found(name: str, message: str) -> None:
    for schedule in cuda_cpu.SCHEDULES:
        with cuda_cpu.schedule(schedule), pytest.raises(KernelError, match=message):
            kernel(name)((1,), (33,), ())
    np.testing.assert_array_equal(run(block_sums), BLOCK_SUMS)  # and the next launch is as good as new


@pytest.mark.parametrize(("grid", "block"), [((0,), (32,)), ((1,), (1025,)), ((1, 65536), (32,)), ((1,), (1, 1, 65))])
def test_a_launch_that_no_gpu_takes_is_found(grid: tuple[int, ...], block: tuple[int, ...]) -> None:
    with pytest.raises(KernelError, match="a GPU takes no"):
        kernel("left")(grid, block, ())


def test_what_does_not_compile_is_shown() -> None:
    with pytest.raises(KernelError, match=r"(?s)g\+\+ refuses f.*kernel\.cu:1.*nothing"):
        kernel("f", "__global__ void f() { nothing; }")
