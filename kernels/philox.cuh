// Random numbers by counter: Philox4x64 with 10 rounds (Salmon et al. 2011), bit for bit NumPy's `numpy.random.Philox`.
//
// A block of 4 words of 64 bits is a function of a counter and a key. Any thread makes any block, so that nothing need be
// kept: a mask that was drawn in the forward is drawn again in the backward.
#pragma once

#include "common.cuh"

using word_t = unsigned long long;

// As NumPy keeps it between blocks: the counter, lowest word first, that of the block drawn last; and the key.
struct PhiloxState {
    word_t counter[4], key[2];
};

// Block number `block` after the state.
__device__ inline Values<word_t, 4> philox(const PhiloxState& state, word_t block) {
    word_t c0 = state.counter[0], c1 = state.counter[1], c2 = state.counter[2], c3 = state.counter[3];
    word_t k0 = state.key[0], k1 = state.key[1];
    c0 += block + 1;
    if (c0 < block + 1 && ++c1 == 0 && ++c2 == 0) ++c3;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        constexpr word_t m0 = 0xD2E7470EE14C6C93, m1 = 0xCA5A826395121157;
        const word_t high0 = __umul64hi(m0, c0), low0 = m0 * c0, high1 = __umul64hi(m1, c2), low1 = m1 * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B97F4A7C15;
        k1 += 0xBB67AE8584CAA73B;
    }
    return {c0, c1, c2, c3};
}

// The numbers in [0, 1) that NumPy makes of a block: 8 of float, by 24 bits of half a word each, the lower half first; or 4 of
// double, by 53 bits of a word.
template <class C> constexpr int draws = sizeof(C) == 8 ? 4 : 8;

__device__ inline Values<float, 8> uniforms(const Values<word_t, 4>& words, float) {
    Values<float, 8> numbers;
#pragma unroll
    for (int k = 0; k < 8; ++k)
        numbers.at[k] = (static_cast<unsigned>(words.at[k / 2] >> 32 * (k % 2)) >> 8) * 5.9604644775390625e-8f;
    return numbers;
}
__device__ inline Values<double, 4> uniforms(const Values<word_t, 4>& words, double) {
    Values<double, 4> numbers;
#pragma unroll
    for (int k = 0; k < 4; ++k) numbers.at[k] = (words.at[k] >> 11) * (1.0 / 9007199254740992.0);
    return numbers;
}

// The numbers for N elements from `index` on: a whole block from a multiple of it, or one from anywhere.
template <class C, int N> __device__ inline Values<C, N> uniforms_at(const PhiloxState& state, index_t index) {
    static_assert(N == draws<C> || N == 1, "all of a block, or one");
    const Values<C, draws<C>> all = uniforms(philox(state, index / draws<C>), C());
    if constexpr (N > 1) {
        return all;
    } else {
        C chosen = all.at[0];
#pragma unroll
        for (int k = 1; k < draws<C>; ++k) chosen = index % draws<C> == k ? all.at[k] : chosen;  // an index would need memory
        return {chosen};
    }
}
