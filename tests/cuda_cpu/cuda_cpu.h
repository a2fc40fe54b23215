// Runs CUDA kernels on one thread of a CPU, to test them where there is no GPU. Included before the text of a .cu file.
//
// A thread of a block is a fiber: it runs until it has to wait, at a barrier or for the other lanes of its warp, and then
// another one is chosen. The schedule says which: the next one, or always the lowest that can run, and either forward or from
// the last thread down. A kernel whose result depends on the schedule lacks a barrier. Shared memory is filled with nan before
// each block. What would hang, misread or fault on a GPU is an error here that names the thread and the line.
//
// Not modelled: memory order between blocks (they run one after another), races of atomics, inline PTX, cooperative groups.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <link.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <typeinfo>
#include <utility>
#include <vector>

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __forceinline__
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
#define __shared__ static thread_local __attribute__((used))  // in one piece of memory, for `poison`; its values are not foreseen
#define __constant__ static
#define __forceinline__ inline
#define __launch_bounds__(...)

static dim3 gridDim, blockDim;
static uint3 blockIdx, threadIdx;
constexpr int warpSize = 32;

inline float rsqrt(float x) { return 1 / sqrtf(x); }  // what CUDA has and C++ has not
inline double rsqrt(double x) { return 1 / sqrt(x); }

namespace cuda_cpu {

constexpr size_t stack_bytes = 64 << 10, most_threads = 1024, most_shared = 228 << 10;
enum Schedule { round_robin, round_robin_reverse, greedy, greedy_reverse };

struct Fiber {
    jmp_buf context;
    ucontext_t start;
    void* stack = nullptr;
    bool started;
};

struct Thread {
    uint3 index;
    Fiber* fiber = nullptr;
    bool done = false;
    const char* waits = nullptr;  // for what, and in which line
    int line = 0;
};

struct Warp {
    unsigned arrived = 0, mask = 0, phase = 0;
    const char* operation = nullptr;
    int line = 0;
    unsigned long long slots[2][32];
};

struct Engine {
    Schedule schedule;
    int count, live, arrived, line, current;
    uint64_t runnable[most_threads / 64];
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<Fiber*> fibers, idle;
    jmp_buf scheduler, launch;
    void (*invoke)(void*, void**);
    void* kernel;
    void** arguments;
    char message[1000];
};
static Engine engine;
alignas(128) static char dynamic_memory[most_shared];
static thread_local char probe;

// --- errors ---

[[noreturn]] static void fail(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int n = snprintf(engine.message, sizeof engine.message, "thread (%u, %u, %u) of block (%u, %u, %u): ", threadIdx.x,
                           threadIdx.y, threadIdx.z, blockIdx.x, blockIdx.y, blockIdx.z);
    vsnprintf(engine.message + n, sizeof engine.message - n, format, arguments);
    va_end(arguments);
    _longjmp(engine.launch, 1);
}

static void on_signal(int number) {
    fail(number == SIGFPE ? "an integer was divided by 0" : "a read or write outside of all memory");
}

// --- fibers ---

static void set_runnable(int thread) { engine.runnable[thread / 64] |= uint64_t(1) << thread % 64; }

static int lowest_from(int start) {
    for (int word = start / 64; word < int(most_threads / 64); ++word) {
        const uint64_t bits = engine.runnable[word] & (word == start / 64 ? ~uint64_t(0) << start % 64 : ~uint64_t(0));
        if (bits) return word * 64 + __builtin_ctzll(bits);
    }
    return -1;
}

static int highest_below(int end) {
    for (int word = (end - 1) / 64; end > 0 && word >= 0; --word) {
        const int over = (word + 1) * 64 - end;
        const uint64_t bits = engine.runnable[word] & (over > 0 ? ~uint64_t(0) >> over : ~uint64_t(0));
        if (bits) return word * 64 + 63 - __builtin_clzll(bits);
    }
    return -1;
}

static int choose() {
    const int all = most_threads;
    int chosen;
    switch (engine.schedule) {
        case greedy: return lowest_from(0);
        case greedy_reverse: return highest_below(all);
        case round_robin:
            chosen = engine.current + 1 < all ? lowest_from(engine.current + 1) : -1;
            return chosen >= 0 ? chosen : lowest_from(0);
        default:
            chosen = highest_below(engine.current);
            return chosen >= 0 ? chosen : highest_below(all);
    }
}

__attribute__((noinline)) static void to_scheduler(jmp_buf& context) {
    if (_setjmp(context) == 0) _longjmp(engine.scheduler, 1);
}

static void wait_for(const char* what, int line) {
    Thread& thread = engine.threads[engine.current];
    thread.waits = what;
    thread.line = line;
    to_scheduler(thread.fiber->context);
    thread.waits = nullptr;
}

static void release_block() {
    engine.arrived = 0;
    for (int t = 0; t < engine.count; ++t) {
        const Thread& thread = engine.threads[t];
        if (thread.waits && !strcmp(thread.waits, "__syncthreads")) set_runnable(t);
    }
}

static void finish_thread() {
    Thread& thread = engine.threads[engine.current];
    Warp& warp = engine.warps[engine.current / 32];
    if (warp.arrived && warp.mask >> engine.current % 32 & 1)
        fail("returned, while others wait for it at %s in line %d", warp.operation, warp.line);
    thread.done = true;
    engine.idle.push_back(thread.fiber);
    if (--engine.live == engine.arrived && engine.arrived) release_block();
}

static void fiber_main() {
    for (;;) {
        engine.invoke(engine.kernel, engine.arguments);
        finish_thread();
        to_scheduler(engine.threads[engine.current].fiber->context);
    }
}

static void prepare(Fiber& fiber) {
    fiber.started = false;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack;
    fiber.start.uc_stack.ss_size = stack_bytes;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, fiber_main, 0);
}

static Fiber* take_fiber() {
    if (engine.idle.empty()) {
        engine.fibers.push_back(new Fiber);
        engine.idle.push_back(engine.fibers.back());
        engine.idle.back()->stack =
            mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        prepare(*engine.idle.back());
    }
    Fiber* fiber = engine.idle.back();
    engine.idle.pop_back();
    return fiber;
}

__attribute__((noinline)) static void resume(int t) {
    Thread& thread = engine.threads[t];
    engine.current = t;
    engine.runnable[t / 64] &= ~(uint64_t(1) << t % 64);
    threadIdx = thread.index;
    if (!thread.fiber) thread.fiber = take_fiber();
    if (_setjmp(engine.scheduler)) return;
    if (thread.fiber->started) _longjmp(thread.fiber->context, 1);
    thread.fiber->started = true;
    setcontext(&thread.fiber->start);
}

// --- what kernels call ---

__attribute__((noinline)) static void block_barrier(int line) {
    if (engine.arrived && engine.line != line)
        fail("is at __syncthreads in line %d, while others wait at the one in line %d", line, engine.line);
    engine.line = line;
    engine.threads[engine.current].waits = "__syncthreads";
    if (++engine.arrived == engine.live) release_block();
    wait_for("__syncthreads", line);
}

// Waits until all lanes of `mask` have come, each with its value; where the values then lie.
__attribute__((noinline)) static const unsigned long long* exchange(const char* operation, unsigned mask,
                                                                    unsigned long long value, int line) {
    Warp& warp = engine.warps[engine.current / 32];
    const int lane = engine.current % 32, first = engine.current - lane;
    const int lanes = engine.count - first < 32 ? engine.count - first : 32;
    if (!(mask >> lane & 1)) fail("%s in line %d leaves out the lane that calls it", operation, line);
    if (lanes < 32) mask &= (1u << lanes) - 1;
    if (warp.arrived && (warp.operation != operation || warp.line != line || warp.mask != mask))
        fail("is at %s in line %d, while other lanes of its warp wait at %s in line %d", operation, line, warp.operation,
             warp.line);
    for (int k = 0; k < lanes; ++k)
        if (mask >> k & 1 && engine.threads[first + k].done)
            fail("%s in line %d names lane %d, which has returned", operation, line, k);
    if (!warp.arrived) memset(warp.slots[warp.phase], 0xff, sizeof warp.slots[0]);
    const unsigned long long* slots = warp.slots[warp.phase];
    warp.slots[warp.phase][lane] = value;
    warp.operation = operation;
    warp.line = line;
    warp.mask = mask;
    warp.arrived |= 1u << lane;
    if (warp.arrived == mask) {
        warp.arrived = 0;
        warp.phase ^= 1;  // a lane may come to the next exchange before others have read this one
        for (int k = 0; k < lanes; ++k)
            if (mask >> k & 1) set_runnable(first + k);
    }
    wait_for(operation, line);
    return slots;
}

template <class T> unsigned long long bits_of(T value) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    unsigned long long bits = 0;
    memcpy(&bits, &value, sizeof value);
    return bits;
}

// The value of lane `source` of the caller's group of `width` lanes; its own where there is no such lane.
template <class T> T shuffle(const char* name, unsigned mask, T value, int source, int width, int line) {
    const int lane = engine.current % 32, base = lane / width * width;
    const unsigned long long* slots = exchange(name, mask, bits_of(value), line);
    const int from = source < 0 || source >= width ? lane : base + source;
    memcpy(&value, &slots[from], sizeof value);
    return value;
}

static int lane_in(int width) { return engine.current % 32 % width; }

static unsigned ballot(const char* name, unsigned mask, bool value, int line) {
    const unsigned long long* slots = exchange(name, mask, value, line);
    unsigned bits = 0;
    for (int k = 0; k < 32; ++k) bits |= unsigned(slots[k] == 1) << k;
    return bits;
}

// --- launching ---

static int poison(dl_phdr_info* info, size_t, void*) {
    for (int i = 0; info->dlpi_tls_data && i < info->dlpi_phnum; ++i) {
        char* start = static_cast<char*>(info->dlpi_tls_data);
        const size_t size = info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type == PT_TLS && &probe >= start && &probe < start + size) {
            memset(start, 0xff, size);
            return 1;
        }
    }
    return 0;
}

[[noreturn]] static void report_deadlock() {
    for (const Thread& thread : engine.threads)
        if (!thread.done) {
            threadIdx = thread.index;
            fail("deadlock: %d threads wait, this one at %s in line %d", engine.live, thread.waits, thread.line);
        }
    __builtin_unreachable();
}

static void run_block(size_t shared) {
    engine.live = engine.count;
    engine.arrived = 0;
    engine.current = engine.schedule == round_robin_reverse ? int(most_threads) : -1;
    engine.threads.assign(engine.count, Thread());
    engine.warps.assign((engine.count + 31) / 32, Warp());
    for (int t = 0; t < engine.count; ++t) {
        const unsigned x = t % blockDim.x, y = t / blockDim.x % blockDim.y, z = t / blockDim.x / blockDim.y;
        engine.threads[t].index = {x, y, z};
        set_runnable(t);
    }
    dl_iterate_phdr(poison, nullptr);
    memset(dynamic_memory, 0xff, shared);
    for (int t; (t = choose()) >= 0;) resume(t);
    if (engine.live) report_deadlock();
}

static void run_grid(size_t shared) {
    const bool reverse = engine.schedule == round_robin_reverse || engine.schedule == greedy_reverse;
    const uint64_t blocks = uint64_t(gridDim.x) * gridDim.y * gridDim.z;
    for (uint64_t b = 0; b < blocks; ++b) {
        const uint64_t block = reverse ? blocks - 1 - b : b;
        blockIdx = {unsigned(block % gridDim.x), unsigned(block / gridDim.x % gridDim.y),
                    unsigned(block / gridDim.x / gridDim.y)};
        run_block(shared);
    }
}

struct Entry {
    const char* name;
    void* kernel;
    void (*invoke)(void*, void**);
    std::vector<const char*> types;
};

template <class... A, size_t... I> void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(arguments[I])...);
}

template <class... A> Entry entry(const char* name, void (*kernel)(A...)) {
    return {name, reinterpret_cast<void*>(kernel),
            [](void* k, void** arguments) {
                call(reinterpret_cast<void (*)(A...)>(k), arguments, std::index_sequence_for<A...>());
            },
            {typeid(A).name()...}};
}

}  // namespace cuda_cpu

#define __syncthreads() cuda_cpu::block_barrier(__LINE__)
#define __syncwarp(...) ((void)cuda_cpu::exchange("__syncwarp", ~0u, 0, __LINE__))
#define __shfl_sync(mask, value, source) cuda_cpu::shuffle("__shfl_sync", mask, value, source, 32, __LINE__)
#define __shfl_xor_sync(mask, value, other) \
    cuda_cpu::shuffle("__shfl_xor_sync", mask, value, cuda_cpu::lane_in(32) ^ (other), 32, __LINE__)
#define __shfl_down_sync(mask, value, by) \
    cuda_cpu::shuffle("__shfl_down_sync", mask, value, cuda_cpu::lane_in(32) + int(by), 32, __LINE__)
#define __shfl_up_sync(mask, value, by) \
    cuda_cpu::shuffle("__shfl_up_sync", mask, value, cuda_cpu::lane_in(32) - int(by), 32, __LINE__)
#define __ballot_sync(mask, value) cuda_cpu::ballot("__ballot_sync", mask, value, __LINE__)
#define __any_sync(mask, value) (cuda_cpu::ballot("__any_sync", mask, value, __LINE__) != 0)
#define __all_sync(mask, value) (cuda_cpu::ballot("__all_sync", mask, !(value), __LINE__) == 0)

inline void __threadfence() {}
inline void __threadfence_system() {}
template <class T> T __ldg(const T* from) { return *from; }
template <class T> T __ldcg(const T* from) { return *from; }
template <class T> T atomicAdd(T* at, T value) {
    const T old = *at;
    *at = old + value;
    return old;
}
inline unsigned atomicInc(unsigned* at, unsigned limit) {
    const unsigned old = *at;
    *at = old >= limit ? 0 : old + 1;
    return old;
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}

// --- g++ calls these where `-fsanitize=alignment,bounds` finds a fault; here they name it ---

extern "C" {
struct SourcePlace {
    const char* file;
    unsigned line, column;
};
struct AnyPlace {
    SourcePlace place;
};
[[gnu::used, noreturn]] void __ubsan_handle_type_mismatch_v1(AnyPlace* data, size_t pointer) {
    cuda_cpu::fail("misaligned address %#zx in %s, line %u", pointer, data->place.file, data->place.line);
}
[[gnu::used, noreturn]] void __ubsan_handle_out_of_bounds(AnyPlace* data, size_t index) {
    cuda_cpu::fail("index %zd outside of an array in %s, line %u", ssize_t(index), data->place.file, data->place.line);
}
}

// --- what Python calls; CUDA_CPU_TABLE is defined after the kernels ---

#define CUDA_CPU_EXPORT extern "C" __attribute__((visibility("default")))
#define CUDA_CPU_TABLE(...)                                                                                                 \
    static const std::vector<cuda_cpu::Entry> cuda_cpu_table = {__VA_ARGS__};                                               \
    CUDA_CPU_EXPORT const char* cuda_cpu_type(int kernel, int argument) {                                                   \
        const auto& types = cuda_cpu_table[kernel].types;                                                                   \
        return argument < int(types.size()) ? types[argument] : nullptr;                                                    \
    }                                                                                                                       \
    CUDA_CPU_EXPORT const char* cuda_cpu_launch(int kernel, const unsigned* grid, const unsigned* block, size_t shared,     \
                                                void** arguments, int schedule) {                                           \
        return cuda_cpu::launch(cuda_cpu_table[kernel], grid, block, shared, arguments, schedule);                          \
    }

namespace cuda_cpu {

static const char* launch(const Entry& entry, const unsigned* grid, const unsigned* block, size_t shared, void** arguments,
                          int schedule) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    engine.count = int(block[0] * block[1] * block[2]);
    engine.schedule = Schedule(schedule);
    engine.kernel = entry.kernel;
    engine.invoke = entry.invoke;
    engine.arguments = arguments;
    engine.message[0] = 0;
    struct sigaction act = {}, old[3];
    act.sa_handler = on_signal;
    act.sa_flags = SA_NODEFER;
    const int numbers[3] = {SIGSEGV, SIGBUS, SIGFPE};
    for (int i = 0; i < 3; ++i) sigaction(numbers[i], &act, &old[i]);
    if (_setjmp(engine.launch) == 0) {
        run_grid(shared);
    } else {  // given up: the fibers start anew
        memset(engine.runnable, 0, sizeof engine.runnable);
        for (Fiber* fiber : engine.fibers) prepare(*fiber);
        engine.idle = engine.fibers;
    }
    for (int i = 0; i < 3; ++i) sigaction(numbers[i], &old[i], nullptr);
    return engine.message[0] ? engine.message : nullptr;
}

}  // namespace cuda_cpu
