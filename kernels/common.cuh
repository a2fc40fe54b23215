// What every kernel shares: dtypes, 16-byte vectors, and the launcher of elementwise functions.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

using index_t = long long;  // arrays may have more than 2^31 elements

// --- dtypes -------------------------------------------------------------------------------------------------------------
// Arrays hold T; arithmetic is done in Real<T>, which is float for the half types.

template <class T> struct Arithmetic { using type = T; };
template <> struct Arithmetic<__half> { using type = float; };
template <> struct Arithmetic<__nv_bfloat16> { using type = float; };
template <class T> using Real = typename Arithmetic<T>::type;

template <class T> __device__ inline T to_real(T x) { return x; }
__device__ inline float to_real(__half x) { return __half2float(x); }
__device__ inline float to_real(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T> __device__ inline void set(T& out, Real<T> x) { out = x; }
__device__ inline void set(__half& out, float x) { out = __float2half_rn(x); }
__device__ inline void set(__nv_bfloat16& out, float x) { out = __float2bfloat16_rn(x); }

// --- vectors ------------------------------------------------------------------------------------------------------------
// A thread moves 16 bytes at a time where it can: N neighbours of an array, as numbers of type Real<T>.

template <class T> constexpr int lanes = 16 / sizeof(T);

template <class C, int N> struct Values {
    C at[N];
};

template <class T, int N> struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Packed {
    T at[N];
};

template <int N, class T> __device__ inline Values<Real<T>, N> load(const T* from) {
    Packed<T, N> packed = *reinterpret_cast<const Packed<T, N>*>(from);
    Values<Real<T>, N> values;
#pragma unroll
    for (int k = 0; k < N; ++k) values.at[k] = to_real(packed.at[k]);
    return values;
}

template <class T, int N> __device__ inline void store(T* to, const Values<Real<T>, N>& values) {
    Packed<T, N> packed;
#pragma unroll
    for (int k = 0; k < N; ++k) set(packed.at[k], values.at[k]);
    *reinterpret_cast<Packed<T, N>*>(to) = packed;
}

// function(x[k]...) for each of N numbers.
template <class Function, class C, int N, class... More>
__device__ inline Values<C, N> each(Function function, const Values<C, N>& x, const More&... more) {
    Values<C, N> y;
#pragma unroll
    for (int k = 0; k < N; ++k) y.at[k] = function(x.at[k], more.at[k]...);
    return y;
}

// Whether 16 bytes may be moved at once through every one of these pointers.
template <class... Pointers> __device__ inline bool aligned(Pointers... pointers) {
    return ((reinterpret_cast<size_t>(pointers) | ...) & 15) == 0;
}

// --- loops --------------------------------------------------------------------------------------------------------------

// The elements i < n that fall to worker `first` of `step`: body(i, x...) with the values of each input from i on, 16 bytes at
// a time if `vectors`, and what is left one by one. Not unrolled: many threads hide the latency, and fewer registers are used.
template <class T, class Body, class... In>
__device__ inline void for_range(index_t n, index_t first, index_t step, bool vectors, Body body, const In*... in) {
    constexpr int N = lanes<T>;
    const index_t whole = vectors ? n / N * N : 0;
#pragma unroll 1
    for (index_t i = first * N; i < whole; i += step * N) body(i, load<N>(in + i)...);
#pragma unroll 1
    for (index_t i = whole + first; i < n; i += step) body(i, load<1>(in + i)...);
}

// out[i] = function(in[i]...) for all i < n, over the whole grid. `out` may be one of the inputs.
template <class T, class Function, class... In>
__device__ inline void elementwise(T* out, index_t n, Function function, const In*... in) {
    const index_t thread = blockIdx.x * static_cast<index_t>(blockDim.x) + threadIdx.x;
    const index_t threads = gridDim.x * static_cast<index_t>(blockDim.x);
    for_range<T>(n, thread, threads, aligned(out, in...), [&](index_t i, auto... x) { store(out + i, each(function, x...)); }, in...);
}

// --- blocks -------------------------------------------------------------------------------------------------------------

// True in the block that comes last of `blocks`; it then sees what the others wrote. The counter is 0 before and after.
__device__ inline bool comes_last(unsigned* counter, unsigned blocks) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) last = atomicInc(counter, blocks - 1) == blocks - 1;
    __syncthreads();
    return last;
}

// The sum over all threads of a block, whose number is a power of 2, in the first of them. Between two calls in one kernel
// there must be a barrier.
template <class C> __device__ inline C sum_block(C value) {
    __shared__ C scratch[1024];
    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    scratch[thread] = value;
    for (int half = blockDim.x * blockDim.y / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread < half) scratch[thread] += scratch[thread + half];
    }
    return scratch[thread];
}
