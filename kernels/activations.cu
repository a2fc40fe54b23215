// Activation functions and their gradients over arrays of any size.
//
// Mathematics: activations.cuh. Most gradients are functions of the result, as (1 - y) y is for the sigmoid, and then the
// input need not be kept.
// Launch: any grid of blocks of 256 threads; a thread walks the array with the stride of the grid, 16 bytes at a time.
// Bytes moved: forward reads x and writes y, backward reads the gradient and y (or x) and writes: 2 and 3 arrays, which is the
// least there can be. The arithmetic hides behind it: at 4.3 TB/s an H200 has time for about 60 instructions per float.
#include "common.cuh"
#include "activations.cuh"

template <class F, class T>
__global__ void __launch_bounds__(256, 4) activation_forward(const T* x, T* y, index_t n, Real<T> a, Real<T> b) {
    elementwise(y, n, [=](Real<T> value) { return apply<F>(value, a, b); }, x);
}

// `saved` is y where F::from_output, else x.
template <class F, class T>
__global__ void __launch_bounds__(256, 4)
activation_backward(const T* gradient, const T* saved, T* out, index_t n, Real<T> a, Real<T> b) {
    elementwise(out, n, [=](Real<T> g, Real<T> s) { return apply_backward<F>(g, s, a, b); }, gradient, saved);
}
