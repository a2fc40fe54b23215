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

// Block number `block` after the state, as 8 words of 32 bits in the order in which NumPy hands them out.
__device__ inline Values<unsigned, 8> philox(const PhiloxState& state, word_t block) {
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
    const word_t words[4] = {c0, c1, c2, c3};
    Values<unsigned, 8> halves;
#pragma unroll
    for (int k = 0; k < 8; ++k) halves.at[k] = static_cast<unsigned>(words[k / 2] >> 32 * (k % 2));
    return halves;
}

// The words for N elements from `index` on: 8 from a multiple of 8, or 1 from anywhere.
template <int N> __device__ inline Values<unsigned, N> philox_at(const PhiloxState& state, index_t index) {
    static_assert(N == 8 || N == 1, "a block is 8 words");
    const Values<unsigned, 8> words = philox(state, index / 8);
    if constexpr (N == 8) {
        return words;
    } else {
        unsigned chosen = words.at[0];
#pragma unroll
        for (int k = 1; k < 8; ++k) chosen = index % 8 == k ? words.at[k] : chosen;  // not indexed: that would need memory
        return {chosen};
    }
}

// In [0, 1), by 24 bits of a word, as NumPy's `Generator.random(dtype=float32)`.
__device__ inline float uniform(unsigned word) { return (word >> 8) * 5.9604644775390625e-8f; }
