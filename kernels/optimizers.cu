// One step of gradient descent, with or without momentum, and of Adam, AdamW and AMSGrad, over a list of tensors in one launch.
//
// Mathematics: as PyTorch's, written where it is computed. The learning rate and the number of steps done are read from device
// memory, so that a captured launch uses those of the day.
// Launch: a table in device memory says where the tensors are. Each is cut into chunks, a block of 256 threads to a chunk; the
// block finds its tensor by bisection. Any number of tensors of any sizes is one launch.
// Bytes moved: each array once in, each changed array once out: 3 for descent, 5 with momentum, 7 for Adam, 9 for AMSGrad.
#include "common.cuh"

constexpr index_t chunk = 4096;  // elements to a block; 16 vectors of float to a thread

// A row of the table. Addresses are 0 where an array is not used.
struct Tensor {
    index_t first_chunk, size;
    index_t parameter, gradient, first_state, second_state, largest;
};

// update(p, g, s...) changes its arguments, but for g, in place. States are named by members of Tensor.
template <class T, class Update, class... States>
__device__ inline void for_tensors(const Tensor* table, index_t count, Update update, States... states) {
    index_t low = 0, high = count - 1;
    while (low < high) {  // the last tensor that starts at this chunk or before
        const index_t middle = (low + high + 1) / 2;
        if (table[middle].first_chunk <= blockIdx.x) low = middle;
        else high = middle - 1;
    }
    const Tensor tensor = table[low];
    const index_t start = (blockIdx.x - tensor.first_chunk) * chunk;
    const index_t n = tensor.size - start < chunk ? tensor.size - start : chunk;
    const auto at = [=](index_t address) { return reinterpret_cast<T*>(address) + start; };
    T* p = at(tensor.parameter);
    const T* g = at(tensor.gradient);
    const auto visit = [&](index_t i, auto ps, auto gs, auto... ss) {
        for (int k = 0; k < static_cast<int>(sizeof ps / sizeof ps.at[0]); ++k) update(ps.at[k], gs.at[k], ss.at[k]...);
        store(p + i, ps);
        (store(at(tensor.*states) + i, ss), ...);
    };
    for_range<T>(n, threadIdx.x, blockDim.x, aligned(p, g, at(tensor.*states)...), visit, p, g, at(tensor.*states)...);
}

// g, with the sign and the decay that all of them know.
template <class C> __device__ inline C with_decay(C g, C p, C decay, bool maximize) {
    return (maximize ? -g : g) + decay * p;
}

template <class T>
__global__ void __launch_bounds__(256, 2) sgd(const Tensor* table, index_t count, const double* rate, Real<T> decay, bool maximize) {
    using C = Real<T>;
    const C lr = *rate;
    for_tensors<T>(table, count, [=](C& p, C g) { p -= lr * with_decay(g, p, decay, maximize); });
}

// The buffer is set to the first gradient, undampened.
template <class T>
__global__ void __launch_bounds__(256, 2)
sgd_momentum(const Tensor* table, index_t count, const double* rate, const double* step, Real<T> momentum, Real<T> dampening,
             Real<T> decay, bool nesterov, bool maximize) {
    using C = Real<T>;
    const C lr = *rate;
    const bool first = *step == 0;
    for_tensors<T>(table, count, [=](C& p, C g, C& buffer) {
        g = with_decay(g, p, decay, maximize);
        buffer = first ? g : momentum * buffer + (1 - dampening) * g;
        p -= lr * (nesterov ? g + momentum * buffer : buffer);
    }, &Tensor::first_state);
}

// Rates that depend on the number of steps; made in double by one thread of a block.
template <class C> struct AdamRates {
    C lr, step, root;  // step = lr / (1 - beta1^t), root = 1 / sqrt(1 - beta2^t)
};
template <class C> __device__ inline AdamRates<C> adam_rates(const double* rate, const double* step, double beta1, double beta2) {
    __shared__ AdamRates<C> rates;
    if (threadIdx.x == 0) {
        const double t = *step + 1;
        rates = {static_cast<C>(*rate), static_cast<C>(*rate / (1 - pow(beta1, t))), static_cast<C>(1 / sqrt(1 - pow(beta2, t)))};
    }
    __syncthreads();
    return rates;
}

// Adam (Kingma and Ba 2015); AdamW if `decoupled` (Loshchilov and Hutter 2019); AMSGrad if `amsgrad` (Reddi et al. 2018).
template <class T, bool amsgrad>
__global__ void __launch_bounds__(256, 2)
adam(const Tensor* table, index_t count, const double* rate, const double* step, double beta1, double beta2, Real<T> eps,
     Real<T> decay, bool decoupled, bool maximize) {
    using C = Real<T>;
    const AdamRates<C> rates = adam_rates<C>(rate, step, beta1, beta2);
    const C keep1 = beta1, take1 = 1 - beta1, keep2 = beta2, take2 = 1 - beta2;
    const auto update = [=](C& p, C g, C& m, C& v, C& largest) {
        if (decoupled) p -= rates.lr * decay * p;
        g = with_decay(g, p, decoupled ? C(0) : decay, maximize);
        m = keep1 * m + take1 * g;
        v = keep2 * v + take2 * g * g;
        largest = amsgrad && largest > v ? largest : v;
        p -= rates.step * m / (sqrt(largest) * rates.root + eps);
    };
    if constexpr (amsgrad) {
        for_tensors<T>(table, count, update, &Tensor::first_state, &Tensor::second_state, &Tensor::largest);
    } else {
        const auto plain = [=](C& p, C g, C& m, C& v) {
            C largest;
            update(p, g, m, v, largest);
        };
        for_tensors<T>(table, count, plain, &Tensor::first_state, &Tensor::second_state);
    }
}
