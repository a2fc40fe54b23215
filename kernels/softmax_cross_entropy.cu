// Softmax, log-softmax, and cross-entropy with its gradient, over the rows of a matrix.
//
// Mathematics: with m the largest logit of a row and s = sum of exp(x - m), the softmax is exp(x - m) / s. Both are found in
// one pass ("online softmax", Milakov and Gimelshein 2018): when a larger logit comes, what was summed is scaled down. For
// target weights q with sum Q, which are (1 - smoothing) times the class or the probabilities, plus smoothing / classes,
//     loss = sum of q (log s - (x - m)),    its gradient = Q softmax - q.
// Launch: as rows.cuh says, about two vectors of 16 bytes of a row to a thread, several narrow rows to a block.
// Bytes moved: a row is read from memory once, and again from the cache when its results are written: 2 arrays for the
// softmax, 2 for the loss with its gradient (3 with probabilities), where separate forward and backward launches move 3.
// Holding the row in registers would spare the second read; not tried.
#include "rows.cuh"

// `most` starts at the lowest finite number, so that a logit of -inf weighs 0 and a row of nothing else becomes nan.
template <class C> struct Online {
    C most, sum;
};
__device__ inline float lowest(float) { return -3.40282346638528859812e38f; }
__device__ inline double lowest(double) { return -1.79769313486231570815e308; }

template <class C> __device__ inline Online<C> swap_lanes(Online<C> x, int by) {
    return {swap_lanes(x.most, by), swap_lanes(x.sum, by)};
}

// The same bits in whichever order the two come.
template <class C> __device__ inline Online<C> join(Online<C> a, Online<C> b) {
    return a.most >= b.most ? Online<C>{a.most, a.sum + b.sum * exp(b.most - a.most)}
                            : Online<C>{b.most, b.sum + a.sum * exp(a.most - b.most)};
}

// The largest of a row and the sum of exp(x - largest), in all of its threads.
template <class T> __device__ inline Online<Real<T>> online(const T* x, index_t columns) {
    using C = Real<T>;
    Online<C> all = {lowest(C()), 0};
    for_range<T>(columns, threadIdx.x, blockDim.x, aligned(x), [&](index_t, auto values) {
        C most = all.most;
        for (C value : values.at) most = value > most ? value : most;
        C sum = 0;
        for (C value : values.at) sum += exp(value - most);
        all = {most, all.sum * exp(all.most - most) + sum};
    }, x);
    return combine_row(all, [](Online<C> a, Online<C> b) { return join(a, b); });
}

template <bool logarithm, class T>
__global__ void __launch_bounds__(256, 3) softmax_forward(const T* x, T* y, index_t rows, index_t columns) {
    using C = Real<T>;
    for_rows(rows, [&](index_t row) {
        const T* from = x + row * columns;
        T* to = y + row * columns;
        const index_t width = row < rows ? columns : 0;
        const Online<C> all = online(from, width);
        const C shift = logarithm ? log(all.sum) : 1 / all.sum;
        for_range<T>(width, threadIdx.x, blockDim.x, aligned(from, to), [&](index_t i, auto values) {
            store(to + i, each([=](C v) { return logarithm ? v - all.most - shift : exp(v - all.most) * shift; }, values));
        }, from);
    });
}

// From the result y: y (g - sum of g y) for the softmax, g - exp(y) (sum of g) for its logarithm.
template <bool logarithm, class T>
__global__ void __launch_bounds__(256, 3)
softmax_backward(const T* gradient, const T* y, T* out, index_t rows, index_t columns) {
    using C = Real<T>;
    for_rows(rows, [&](index_t row) {
        const T *g = gradient + row * columns, *from = y + row * columns;
        T* to = out + row * columns;
        const index_t width = row < rows ? columns : 0;
        C sum = 0;
        for_range<T>(width, threadIdx.x, blockDim.x, aligned(g, from), [&](index_t, auto gs, auto ys) {
            const auto terms = each([](C a, C b) { return logarithm ? a : a * b; }, gs, ys);
            for (C term : terms.at) sum += term;
        }, g, from);
        sum = sum_row(sum);
        for_range<T>(width, threadIdx.x, blockDim.x, aligned(g, from, to), [&](index_t i, auto gs, auto ys) {
            store(to + i, each([=](C a, C b) { return logarithm ? a - exp(b) * sum : b * (a - sum); }, gs, ys));
        }, g, from);
    });
}

// --- cross-entropy ------------------------------------------------------------------------------------------------------

template <class A, class B> constexpr bool same = false;
template <class A> constexpr bool same<A, A> = true;

// For every row r: its loss, if `losses`; w (Q softmax - q), if `gradient`; and the sum of w * loss over all rows, if `total`.
// w is scale * weights[r * step], or scale without weights. So `gradient` is that of the total, found in the same pass; and with
// the cotangents as weights this is the backward of the losses too.
// Target is an integer type for class ids, T for probabilities. Rows whose id is `ignored` count for nothing.
// With class ids and `mean`, the total is divided by the number of rows that count, and *mean becomes 1 / that number; a launch
// without a total, the backward of that mean, takes *mean as another factor of w.
// An id that is no class makes the loss and the gradient of its row nan, and the id and the number of the call are left in
// `report`, in memory of the host: nobody need wait for the GPU to look at the ids first.
template <class T, class Target>
__global__ void __launch_bounds__(256, 3)
cross_entropy(const T* x, const Target* targets, Real<T>* losses, T* gradient, Real<T>* total, const Real<T>* weights, index_t step,
              Real<T>* mean, Real<T>* partials, unsigned* counter, index_t rows, index_t columns, index_t ignored,
              Real<T> smoothing, Real<T> scale, volatile index_t* report, index_t call) {
    using C = Real<T>;
    constexpr bool by_class = !same<Target, T>;
    const C on = 1 - smoothing, off = smoothing / columns;
    C sum = 0, count = 0;  // of this thread's rows
    const bool averages = by_class && mean;
    if (averages && !total) scale *= *mean;
    for_rows(rows, [&](index_t row) {
        const T* from = x + row * columns;
        const index_t width = row < rows ? columns : 0;
        const Online<C> all = online(from, width);

        index_t id = -1;
        const T* probabilities = nullptr;
        C mass = 1;
        if constexpr (by_class) {
            if (row < rows) id = targets[row];
        } else {
            probabilities = targets + row * columns;
            C found = 0;
            for_range<T>(width, threadIdx.x, blockDim.x, aligned(probabilities), [&](index_t, auto values) {
                for (C value : values.at) found += value;
            }, probabilities);
            mass = on * sum_row(found) + smoothing;
        }
        const bool counts = !by_class || id != ignored;
        const bool fits = !by_class || (id >= 0 && id < columns);
        const C log_sum = log(all.sum), w = row < rows ? scale * (weights ? weights[row * step] : C(1)) : C(0);
        const C per_exp = (fits ? mass : C(nan(""))) / all.sum;

        C loss = 0;
        T* to = gradient + row * columns;
        const auto visit = [&](index_t i, auto xs, auto qs) {
            auto slopes = xs;
            for (int k = 0; k < static_cast<int>(sizeof xs / sizeof(C)); ++k) {
                const C below = xs.at[k] - all.most, q = qs.at[k];
                if (q != 0) loss += q * (log_sum - below);  // a logit of -inf is no loss where no weight is on it
                if (gradient) slopes.at[k] = counts ? w * (per_exp * exp(below) - q) : C(0);
            }
            if (gradient) store(to + i, slopes);
        };
        const bool vectors = aligned(from) && (!gradient || aligned(to));
        if constexpr (by_class) {
            if (gradient || smoothing != 0) {
                for_range<T>(width, threadIdx.x, blockDim.x, vectors, [&](index_t i, auto xs) {
                    auto qs = xs;
                    for (int k = 0; k < static_cast<int>(sizeof xs / sizeof(C)); ++k) qs.at[k] = i + k == id ? on + off : off;
                    visit(i, xs, qs);
                }, from);
            } else if (threadIdx.x == 0 && fits && row < rows) {
                loss = log_sum - (to_real(from[id]) - all.most);
            }
        } else {
            for_range<T>(width, threadIdx.x, blockDim.x, vectors && aligned(probabilities), [&](index_t i, auto xs, auto ps) {
                visit(i, xs, each([=](C p) { return on * p + off; }, ps));
            }, from, probabilities);
        }
        loss = sum_row(loss);
        if (row < rows && threadIdx.x == 0) {
            loss = !counts ? C(0) : fits ? loss : C(nan(""));
            if (losses) losses[row] = loss;
            if (counts) {
                sum += w * loss;
                count += 1;
            }
            if (by_class && counts && !fits && report && report[1] == 0) {
                report[0] = id;
                __threadfence_system();
                report[1] = call;
            }
        }
    });
    if (!total) return;
    const auto over_block = [&] {
        sum = sum_block(sum);
        if (!averages) return;
        __syncthreads();
        count = sum_block(count);
    };
    over_block();
    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    if (thread == 0) {
        partials[blockIdx.x] = sum;
        if (averages) partials[gridDim.x + blockIdx.x] = count;
    }
    if (!comes_last(counter, gridDim.x)) return;
    sum = count = 0;
    for (unsigned part = thread; part < gridDim.x; part += blockDim.x * blockDim.y) {
        sum += __ldcg(&partials[part]);
        if (averages) count += __ldcg(&partials[gridDim.x + part]);
    }
    over_block();
    if (thread == 0) *total = averages ? sum / count : sum;
    if (thread == 0 && averages) *mean = 1 / count;
}

// weight = 1 / the number of ids that are not `ignored`, by one block: what makes a mean of a sum of losses, where their gradient
// is to be found in the same pass.
template <class C, class Id>
__global__ void __launch_bounds__(256, 3) mean_weight(const Id* ids, C* weight, index_t rows, index_t ignored) {
    index_t count = 0;
    for (index_t i = threadIdx.x; i < rows; i += blockDim.x) count += ids[i] != ignored;
    const C all = sum_block(static_cast<C>(count));
    if (threadIdx.x == 0) *weight = 1 / all;
}
