// y = act(x + bias) for the rows of a matrix, and its backward with the bias gradient summed in the same pass.
//
// Mathematics: with gz = act'(x + bias) g, the gradient of x is gz and that of the bias its sum over the rows.
// Launch: threads along the columns hold their part of the bias, and walk down the rows. Blocks of up to 256 threads; the
// columns of a block are 512 bytes of a row.
// Bytes moved: forward 2 arrays; backward 3 (the gradient, y or x, the result), against 5 for a bias gradient of its own
// launch and 7 unfused.
#include "activations.cuh"
#include "columns.cuh"

template <int N, class F, class T>
__device__ inline void forward(const T* x, const T* bias, T* y, index_t rows, index_t columns, Real<T> a, Real<T> b) {
    using C = Real<T>;
    for_columns<N>(rows, columns, [&](index_t column) {
        return [=, bias = load<N>(bias + column)](index_t row) {
            const index_t at = row * columns + column;
            store(y + at, each([=](C value, C shift) { return apply<F>(value + shift, a, b); }, load<N>(x + at), bias));
        };
    });
}

template <class F, class T>
__global__ void __launch_bounds__(256, 2)
bias_activation_forward(const T* x, const T* bias, T* y, index_t rows, index_t columns, Real<T> a, Real<T> b) {
    if (columns % lanes<T> == 0 && aligned(x, bias, y)) forward<lanes<T>, F>(x, bias, y, rows, columns, a, b);
    else forward<1, F>(x, bias, y, rows, columns, a, b);
}

template <int N, class F, class T>
__device__ inline void backward(const T* gradient, const T* saved, const T* bias, T* out, T* bias_gradient, Real<T>* partials,
                                unsigned* counters, index_t rows, index_t columns, Real<T> a, Real<T> b) {
    using C = Real<T>;
    T* const sums_to[1] = {bias_gradient};
    column_sums<N, 1>(rows, columns, C(1), sums_to, partials, counters, [&](index_t column) {
        Values<C, N> shift = {};
        if constexpr (!F::from_output) shift = load<N>(bias + column);
        return [=](index_t row, Values<C, N>& sums) {
            const index_t at = row * columns + column;
            const auto slope = [=](C g, C s, C by) { return apply_backward<F>(g, s + by, a, b); };
            const auto gz = each(slope, load<N>(gradient + at), load<N>(saved + at), shift);
            store(out + at, gz);
            sums = each([](C sum, C term) { return sum + term; }, sums, gz);
        };
    });
}

// `saved` is y where F::from_output, and `bias` is then not read; else x.
template <class F, class T>
__global__ void __launch_bounds__(256, 2)
bias_activation_backward(const T* gradient, const T* saved, const T* bias, T* out, T* bias_gradient, Real<T>* partials,
                         unsigned* counters, index_t rows, index_t columns, Real<T> a, Real<T> b) {
    if (columns % lanes<T> == 0 && aligned(gradient, saved, bias, out))
        backward<lanes<T>, F>(gradient, saved, bias, out, bias_gradient, partials, counters, rows, columns, a, b);
    else backward<1, F>(gradient, saved, bias, out, bias_gradient, partials, counters, rows, columns, a, b);
}
