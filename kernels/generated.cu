// Chains of elementwise functions, as one kernel forward and one backward. gpugrad/cuda/generated.py writes the kernels, a
// pair for each chain, and puts them after this text; what they have in common is here.
//
// Mathematics: a function of arrays is run once on names of numbers instead of arrays. Every operation in it becomes a
// statement, `const float v2 = Sigmoid::forward(x0);`, and the rules of the operations, run backwards on the same names, write
// the statements of the gradients; what was written before is not written again. Activation functions are those of
// activations.cuh. The backward computes anew what it needs of the forward, from the inputs: nothing else is kept.
// Launch: any grid of blocks of 256 threads; a thread walks the result with the stride of the grid, 16 bytes of the widest dtype
// at a time. An input that is repeated along leading or trailing axes is read where it lies, and its gradient is written for
// each element and summed by reduce.cu afterwards, in a fixed order.
// Bytes moved: forward reads each input and writes the result; backward reads each input and the cotangent, which is one number
// for a sum or a mean, and writes each gradient. sigmoid(x) * tanh(x) + relu(x) moves 2 arrays and 2 (after a sum; else 3), where
// one kernel for each of its operations and rules moves 12 and 21.
#include "common.cuh"
#include "activations.cuh"

// Where element i of n finds its number in an array of `length`, each of which is for `inner` neighbours.
__device__ inline index_t place(index_t i, index_t n, index_t inner, index_t length) {
    if (n <= 0xffffffffll) return static_cast<unsigned>(i) / static_cast<unsigned>(inner) % static_cast<unsigned>(length);
    return i / inner % length;  // five times as long
}

// The numbers for elements i to i + N - 1, where N divides i.
template <int N, class T>
__device__ inline Values<Real<T>, N> load_repeated(const T* from, index_t i, index_t n, index_t inner, index_t length) {
    Values<Real<T>, N> values;
    const bool same = inner % N == 0, neighbours = inner == 1 && length % N == 0;
    const index_t first = place(i, n, inner, length);
#pragma unroll
    for (int k = 0; k < N; ++k)
        values.at[k] = to_real(from[same ? first : neighbours ? first + k : place(i + k, n, inner, length)]);
    return values;
}

// What is left of a number that is stored as T and read again.
template <class T, class C> __device__ inline C rounded(C x) {
    T stored;
    set(stored, static_cast<Real<T>>(x));
    return static_cast<C>(to_real(stored));
}

// Remainder and quotient as Python has them: the remainder has the sign of y.
template <class C> __device__ inline C python_remainder(C x, C y) {
    const C rest = fmod(x, y);
    if (rest == 0) return copysign(C(0), y);
    return (rest < 0) != (y < 0) ? rest + y : rest;
}

template <class C> __device__ inline C python_quotient(C x, C y) {
    if (y == 0) return x / y;
    const C rest = fmod(x, y);
    C quotient = (x - rest) / y;
    if (rest != 0 && (rest < 0) != (y < 0)) quotient -= 1;
    if (quotient == 0) return copysign(C(0), x / y);
    const C whole = floor(quotient);
    return quotient - whole > C(0.5) ? whole + 1 : whole;
}
