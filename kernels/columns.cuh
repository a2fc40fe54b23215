// Work along columns: threadIdx.x and gridDim.x go along the columns, N neighbours to a thread; threadIdx.y and gridDim.y along
// the rows. blockDim.y is a power of 2, and a block has at most 256 threads.
//
// Sums over rows are made in one launch and in an order that never changes: each thread sums its rows, a block its threads,
// and the last block of a tile of columns to finish sums what the blocks found, from first to last.
#pragma once

#include "common.cuh"

// The sums over threadIdx.y, in the threads with threadIdx.y == 0.
template <class C, int N> __device__ inline Values<C, N> sum_over_y(const Values<C, N>& value) {
    __shared__ C scratch[N][256];
    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    __syncthreads();  // `scratch` may have been used before
#pragma unroll
    for (int k = 0; k < N; ++k) scratch[k][thread] = value.at[k];
    for (int half = blockDim.y / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) {
#pragma unroll
            for (int k = 0; k < N; ++k) scratch[k][thread] += scratch[k][thread + half * blockDim.x];
        }
    }
    Values<C, N> sum;
#pragma unroll
    for (int k = 0; k < N; ++k) sum.at[k] = scratch[k][thread];
    return sum;
}

// start(column) makes the visitor of N columns; visitor(row) is then called for the rows of this thread.
template <int N, class Start> __device__ inline void for_columns(index_t rows, index_t columns, Start start) {
    const index_t step = gridDim.x * static_cast<index_t>(blockDim.x) * N;
    for (index_t column = (blockIdx.x * static_cast<index_t>(blockDim.x) + threadIdx.x) * N; column < columns; column += step) {
        auto visit = start(column);
#pragma unroll 1
        for (index_t row = blockIdx.y * blockDim.y + threadIdx.y; row < rows; row += gridDim.y * blockDim.y) visit(row);
    }
}

// out[k][column] = scale * the sum over all rows, for K sums at once, none where out[k] is null: visitor(row, sums) adds the N columns of sum k to
// sums.at[k * N ...]. `partials` has room for gridDim.y * K * columns numbers, `counters` for the tiles of columns; where
// gridDim.y is 1, neither is used.
template <int N, int K, class T, class Start>
__device__ inline void column_sums(index_t rows, index_t columns, Real<T> scale, T* const (&out)[K], Real<T>* partials,
                                   unsigned* counters, Start start) {
    using Sums = Values<Real<T>, K * N>;
    const index_t width = static_cast<index_t>(blockDim.x) * N;
    for (index_t tile = blockIdx.x; tile * width < columns; tile += gridDim.x) {
        const index_t column = tile * width + threadIdx.x * N;
        const bool inside = column < columns;
        Sums sums = {};
        if (inside) {
            auto visit = start(column);
#pragma unroll 1
            for (index_t row = blockIdx.y * blockDim.y + threadIdx.y; row < rows; row += gridDim.y * blockDim.y) visit(row, sums);
        }
        sums = sum_over_y(sums);
        if (gridDim.y > 1) {
            if (inside && threadIdx.y == 0) {
#pragma unroll
                for (int k = 0; k < K * N; ++k) partials[(blockIdx.y * K + k / N) * columns + column + k % N] = sums.at[k];
            }
            if (!comes_last(&counters[tile], gridDim.y)) continue;
            sums = {};
            for (unsigned part = threadIdx.y; inside && part < gridDim.y; part += blockDim.y) {
#pragma unroll
                for (int k = 0; k < K * N; ++k) sums.at[k] += __ldcg(&partials[(part * K + k / N) * columns + column + k % N]);
            }
            sums = sum_over_y(sums);
        }
        if (inside && threadIdx.y == 0) {
#pragma unroll
            for (int k = 0; k < K * N; ++k)
                if (out[k / N]) set(out[k / N][column + k % N], scale * sums.at[k]);
        }
    }
}
