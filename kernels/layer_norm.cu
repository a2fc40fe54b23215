// Layer normalisation of the rows of a matrix, and RMS normalisation (not centered): forward and backward.
//
// Mathematics: y = h w + b with h = (x - mean) r, r = 1 / sqrt(var + eps); without centering the mean is 0, and b is left out.
// With k = g w, whose mean over a row is written <k>, the gradient of x is r (k - <k> - h <k h>), without <k> if not centered;
// that of w is the sum of g h over the rows, and that of b the sum of g.
// Launch: rows as rows.cuh says; the gradients of w and b by columns, as columns.cuh says.
// The variance is that of the differences from the mean, in a second sweep: sums of squares alone would lose all digits of a
// row whose mean is large. A row of up to some 10,000 numbers is read again from the cache.
// Bytes moved: forward 2 arrays; backward 3 for x, and 2 more for w and b, which one launch for all three would spare
// (not tried).
#include "columns.cuh"
#include "rows.cuh"

// `weight` and `bias` may be null. `means` (if centered) and `scales` keep mean and r of each row for the backward.
template <bool centered, class T>
__global__ void __launch_bounds__(256, 3)
norm_forward(const T* x, const T* weight, const T* bias, T* y, Real<T>* means, Real<T>* scales, index_t rows, index_t columns,
             Real<T> eps) {
    using C = Real<T>;
    for_rows(rows, [&](index_t row) {
        const T* from = x + row * columns;
        T* to = y + row * columns;
        const index_t width = row < rows ? columns : 0;
        C mean = 0;
        if constexpr (centered) {
            for_range<T>(width, threadIdx.x, blockDim.x, aligned(from), [&](index_t, auto values) {
                for (C value : values.at) mean += value;
            }, from);
            mean = sum_row(mean) / columns;
        }
        C squares = 0;
        for_range<T>(width, threadIdx.x, blockDim.x, aligned(from), [&](index_t, auto values) {
            for (C value : values.at) squares += (value - mean) * (value - mean);
        }, from);
        const C scale = 1 / sqrt(sum_row(squares) / columns + eps);
        if (row < rows && threadIdx.x == 0) {
            if constexpr (centered) means[row] = mean;
            scales[row] = scale;
        }
        const T *w = weight ? weight : from, *b = bias ? bias : from;  // what is missing is read and not used
        for_range<T>(width, threadIdx.x, blockDim.x, aligned(from, to, w, b), [&](index_t i, auto values, auto ws, auto bs) {
            const auto normal = [=](C v, C by, C shift) {
                return (v - mean) * scale * (weight ? by : C(1)) + (bias ? shift : C(0));
            };
            store(to + i, each(normal, values, ws, bs));
        }, from, w, b);
    });
}

template <bool centered, class T>
__global__ void __launch_bounds__(256, 3)
norm_backward(const T* gradient, const T* x, const T* weight, const Real<T>* means, const Real<T>* scales, T* out, index_t rows,
              index_t columns) {
    using C = Real<T>;
    for_rows(rows, [&](index_t row) {
        const T *from = x + row * columns, *g = gradient + row * columns, *w = weight ? weight : from;
        T* to = out + row * columns;
        const index_t width = row < rows ? columns : 0;
        const C mean = centered && row < rows ? means[row] : C(0), scale = row < rows ? scales[row] : C(0);
        Values<C, 2> sums = {};
        for_range<T>(width, threadIdx.x, blockDim.x, aligned(from, g, w), [&](index_t, auto values, auto gs, auto ws) {
            for (int i = 0; i < static_cast<int>(sizeof gs / sizeof(C)); ++i) {
                const C k = weight ? gs.at[i] * ws.at[i] : gs.at[i];
                sums.at[0] += k;
                sums.at[1] += k * (values.at[i] - mean);
            }
        }, from, g, w);
        sums = sum_row(sums);
        const C mean_k = centered ? sums.at[0] / columns : C(0), mean_kh = sums.at[1] * scale / columns;
        for_range<T>(width, threadIdx.x, blockDim.x, aligned(from, g, w, to), [&](index_t i, auto values, auto gs, auto ws) {
            const auto slope = [=](C v, C g_, C w_) {
                return scale * ((weight ? g_ * w_ : g_) - mean_k - (v - mean) * scale * mean_kh);
            };
            store(to + i, each(slope, values, gs, ws));
        }, from, g, w);
    });
}

template <bool centered, int N, class T>
__device__ inline void parameters(const T* gradient, const T* x, const Real<T>* means, const Real<T>* scales, T* weight_gradient,
                                  T* bias_gradient, Real<T>* partials, unsigned* counters, index_t rows, index_t columns) {
    using C = Real<T>;
    T* const sums_to[2] = {weight_gradient, bias_gradient};
    column_sums<N, 2>(rows, columns, C(1), sums_to, partials, counters, [&](index_t column) {
        return [=](index_t row, Values<C, 2 * N>& sums) {
            const index_t at = row * columns + column;
            const C mean = centered ? means[row] : C(0), scale = scales[row];
            const Values<C, N> g = load<N>(gradient + at), v = load<N>(x + at);
#pragma unroll
            for (int k = 0; k < N; ++k) {
                sums.at[k] += g.at[k] * ((v.at[k] - mean) * scale);
                sums.at[N + k] += g.at[k];
            }
        };
    });
}

// The gradients of weight and bias; either may be null.
template <bool centered, class T>
__global__ void __launch_bounds__(256, 2)
norm_backward_parameters(const T* gradient, const T* x, const Real<T>* means, const Real<T>* scales, T* weight_gradient,
                         T* bias_gradient, Real<T>* partials, unsigned* counters, index_t rows, index_t columns) {
    const auto with = [&](auto width) {
        parameters<centered, sizeof width.at / sizeof width.at[0]>(gradient, x, means, scales, weight_gradient, bias_gradient,
                                                                   partials, counters, rows, columns);
    };
    if (columns % lanes<T> == 0 && aligned(gradient, x)) with(Values<char, lanes<T>>());
    else with(Values<char, 1>());
}
