// Dropout: y = x / (1 - p) where a random number is p or more, else 0; and the same after bias and activation.
//
// Mathematics: element i uses the i-th number that NumPy's Philox generator would draw from the same state (philox.cuh), so the
// mask is the CPU's. It is not stored: the backward draws it again, from the state that the forward had.
// Launch: a block of the generator serves 8 neighbours (4 of double), so a thread has as many at a time: 16 bytes of a half
// type, 32 of the others. The kernels with bias and activation go by columns (columns.cuh); where these are not a multiple of
// 8, each element makes its block anew, which is eight times the arithmetic.
// For other draws, philox_words gives the generator's blocks as they are.
// Bytes moved: 2 arrays, forward and backward (a stored mask of bytes would add 1 byte an element to each); with bias and
// activation 2 forward, 3 backward.
#include "activations.cuh"
#include "columns.cuh"
#include "philox.cuh"

// The backward is the same kernel, on the gradient. `scale` is 1 / (1 - p), or 0 for p = 1.
template <class T>
__global__ void __launch_bounds__(256, 3)
dropout(const T* x, T* y, index_t n, const PhiloxState* state, Real<T> p, Real<T> scale) {
    using C = Real<T>;
    constexpr int N = draws<C>;
    const PhiloxState start = *state;
    const bool vectors = aligned(x, y);
    const index_t thread = blockIdx.x * static_cast<index_t>(blockDim.x) + threadIdx.x;
    const auto drop = [=](C value, C u) { return u >= p ? value * scale : C(0); };
#pragma unroll 1
    for (index_t i = thread * N; i < n; i += gridDim.x * static_cast<index_t>(blockDim.x) * N) {
        const Values<C, N> us = uniforms_at<C, N>(start, i);
        if (vectors && i + N <= n) {
            store(y + i, each(drop, load<N>(x + i), us));
        } else {
#pragma unroll
            for (int k = 0; k < N; ++k)
                if (i + k < n) set(y[i + k], drop(to_real(x[i + k]), us.at[k]));
        }
    }
}

template <int N, class F, class T>
__device__ inline void forward(const T* x, const T* bias, T* y, index_t rows, index_t columns, Real<T> a, Real<T> b,
                               const PhiloxState& state, Real<T> p, Real<T> scale) {
    using C = Real<T>;
    for_columns<N>(rows, columns, [&](index_t column) {
        return [=, bias = load<N>(bias + column)](index_t row) {
            const index_t at = row * columns + column;
            const auto value = [=](C v, C shift, C u) {
                return u >= p ? apply<F>(v + shift, a, b) * scale : C(0);
            };
            store(y + at, each(value, load<N>(x + at), bias, uniforms_at<C, N>(state, at)));
        };
    });
}

template <class F, class T>
__global__ void __launch_bounds__(256, 2)
bias_activation_dropout_forward(const T* x, const T* bias, T* y, index_t rows, index_t columns, Real<T> a, Real<T> b,
                                const PhiloxState* state, Real<T> p, Real<T> scale) {
    if (columns % draws<Real<T>> == 0 && aligned(x, bias, y)) forward<draws<Real<T>>, F>(x, bias, y, rows, columns, a, b, *state, p, scale);
    else forward<1, F>(x, bias, y, rows, columns, a, b, *state, p, scale);
}

template <int N, class F, class T>
__device__ inline void backward(const T* gradient, const T* x, const T* bias, T* out, T* bias_gradient, Real<T>* partials,
                                unsigned* counters, index_t rows, index_t columns, Real<T> a, Real<T> b,
                                const PhiloxState& state, Real<T> p, Real<T> scale) {
    using C = Real<T>;
    T* const sums_to[1] = {bias_gradient};
    column_sums<N, 1>(rows, columns, C(1), sums_to, partials, counters, [&](index_t column) {
        return [=, bias = load<N>(bias + column)](index_t row, Values<C, N>& sums) {
            const index_t at = row * columns + column;
            const auto slope = [=](C g, C v, C shift, C u) {
                if (!(u >= p)) return C(0);
                return apply_backward<F>(g * scale, F::from_output ? apply<F>(v + shift, a, b) : v + shift, a, b);
            };
            const auto gz = each(slope, load<N>(gradient + at), load<N>(x + at), bias, uniforms_at<C, N>(state, at));
            store(out + at, gz);
            sums = each([](C sum, C term) { return sum + term; }, sums, gz);
        };
    });
}

// Always from x: the result has lost the exact value of the activation, and at the corner of a hardtanh the last digit decides.
template <class F, class T>
__global__ void __launch_bounds__(256, 2)
bias_activation_dropout_backward(const T* gradient, const T* x, const T* bias, T* out, T* bias_gradient, Real<T>* partials,
                                 unsigned* counters, index_t rows, index_t columns, Real<T> a, Real<T> b,
                                 const PhiloxState* state, Real<T> p, Real<T> scale) {
    if (columns % draws<Real<T>> == 0 && aligned(gradient, x, bias, out))
        backward<draws<Real<T>>, F>(gradient, x, bias, out, bias_gradient, partials, counters, rows, columns, a, b, *state, p, scale);
    else
        backward<1, F>(gradient, x, bias, out, bias_gradient, partials, counters, rows, columns, a, b, *state, p, scale);
}

// The state after `blocks` more blocks of the generator, in place; one thread. So a captured step draws anew when replayed.
__global__ void philox_advance(PhiloxState* state, index_t blocks) {
    const word_t by = blocks;
    state->counter[0] += by;
    if (state->counter[0] < by && ++state->counter[1] == 0 && ++state->counter[2] == 0) ++state->counter[3];
}

// The words of so many blocks after the state, which comes by value.
__global__ void __launch_bounds__(256)
philox_words(word_t* out, index_t blocks, word_t c0, word_t c1, word_t c2, word_t c3, word_t k0, word_t k1) {
    const PhiloxState state = {{c0, c1, c2, c3}, {k0, k1}};
    const index_t thread = blockIdx.x * static_cast<index_t>(blockDim.x) + threadIdx.x;
#pragma unroll 1
    for (index_t i = thread; i < blocks; i += gridDim.x * static_cast<index_t>(blockDim.x)) {
        const Values<word_t, 4> words = philox(state, i);
        Packed<word_t, 4> packed;
        for (int k = 0; k < 4; ++k) packed.at[k] = words.at[k];
        *reinterpret_cast<Packed<word_t, 4>*>(out + 4 * i) = packed;
    }
}
