// Work along rows: a row is shared by the blockDim.x threads of one threadIdx.y. blockDim.x is a power of 2, and a block is
// made of whole warps, so the threads of a row are a part of a warp or several warps; blockDim.y is 1 for several.
#pragma once

#include "common.cuh"

__device__ inline float swap_lanes(float x, int by) { return __shfl_xor_sync(~0u, x, by); }
__device__ inline double swap_lanes(double x, int by) { return __shfl_xor_sync(~0u, x, by); }
template <class C, int N> __device__ inline Values<C, N> swap_lanes(Values<C, N> x, int by) {
#pragma unroll
    for (int k = 0; k < N; ++k) x.at[k] = swap_lanes(x.at[k], by);
    return x;
}

// What `combine` makes of the values of all threads of a row, the same in each of them, in an order that never changes.
// All threads of the block come here. `combine` is commutative.
template <class V, class Combine> __device__ inline V combine_row(V value, Combine combine) {
    for (int by = (blockDim.x < 32 ? blockDim.x : 32) / 2; by > 0; by /= 2) value = combine(value, swap_lanes(value, by));
    if (blockDim.x > 32) {
        __shared__ V warps[32];
        const int count = blockDim.x / 32;
        if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
        __syncthreads();
        value = warps[threadIdx.x % count];
        for (int by = count / 2; by > 0; by /= 2) value = combine(value, swap_lanes(value, by));
        __syncthreads();  // `warps` may be written again
    }
    return value;
}

template <class C> __device__ inline C sum_row(C value) {
    return combine_row(value, [](C a, C b) { return a + b; });
}

// Two sums at once.
template <class C> __device__ inline Values<C, 2> sum_row(Values<C, 2> value) {
    return combine_row(value, [](Values<C, 2> a, Values<C, 2> b) { return Values<C, 2>{a.at[0] + b.at[0], a.at[1] + b.at[1]}; });
}

// body(row) for the rows of this thread. All threads of a block make the same number of rounds, so that they may meet at
// barriers; beyond the last row, body gets the number of rows and must do nothing but meet.
template <class Body> __device__ inline void for_rows(index_t rows, Body body) {
    for (index_t base = blockIdx.x * static_cast<index_t>(blockDim.y); base < rows;
         base += gridDim.x * static_cast<index_t>(blockDim.y))
        body(base + threadIdx.y < rows ? base + threadIdx.y : rows);
}
