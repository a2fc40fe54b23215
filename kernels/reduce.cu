// Sums of a matrix over its rows and over its columns, in one launch each, and with the same bits every time.
//
// Sums are made in float (double for double), first by each thread, then by blocks, in a fixed order; the result is rounded
// once. With scale = 1 / n they are means.
// Launch: sum_rows has blockDim.x threads to a row and gridDim.y blocks to a long row; sum_columns is as columns.cuh says. The
// blocks that share a row or column leave partial sums, and the last of them adds these up.
// Bytes moved: the matrix once.
#include "columns.cuh"
#include "rows.cuh"

template <class T>
__global__ void __launch_bounds__(256, 3)
sum_columns(const T* x, T* out, Real<T>* partials, unsigned* counters, index_t rows, index_t columns, Real<T> scale) {
    using C = Real<T>;
    T* const sums_to[1] = {out};
    const auto with = [&](auto width) {
        constexpr int N = sizeof(width.at) / sizeof(C);
        column_sums<N, 1>(rows, columns, scale, sums_to, partials, counters, [&](index_t column) {
            return [=](index_t row, Values<C, N>& sums) {
                sums = each([](C sum, C term) { return sum + term; }, sums, load<N>(x + row * columns + column));
            };
        });
    };
    if (columns % lanes<T> == 0 && aligned(x)) with(Values<C, lanes<T>>());
    else with(Values<C, 1>());
}

template <class T>
__global__ void __launch_bounds__(256, 3)
sum_rows(const T* x, T* out, Real<T>* partials, unsigned* counters, index_t rows, index_t columns, Real<T> scale) {
    using C = Real<T>;
    for_rows(rows, [&](index_t row) {
        C sum = 0;
        const T* from = x + row * columns;
        const index_t step = gridDim.y * static_cast<index_t>(blockDim.x);
        for_range<T>(row < rows ? columns : 0, blockIdx.y * blockDim.x + threadIdx.x, step, aligned(from), [&](index_t, auto values) {
            for (C value : values.at) sum += value;
        }, from);
        sum = sum_row(sum);
        if (gridDim.y > 1) {  // then blockDim.y is 1
            if (threadIdx.x == 0) partials[row * gridDim.y + blockIdx.y] = sum;
            if (!comes_last(&counters[row], gridDim.y)) return;
            sum = 0;
            for (unsigned part = threadIdx.x; part < gridDim.y; part += blockDim.x) sum += __ldcg(&partials[row * gridDim.y + part]);
            sum = sum_row(sum);
        }
        if (row < rows && threadIdx.x == 0) set(out[row], scale * sum);
    });
}
