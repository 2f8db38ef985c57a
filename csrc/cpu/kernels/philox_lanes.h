// Philox on many counters at once: the same integers as math/philox.h, which is its definition.
//
// A 32-bit word lives in the lower half of a 64-bit lane, where the machine multiplies 32 × 32 → 64 bits. The
// upper halves hold rubbish that no step looks at, so that a round needs no masks and no shuffles: two
// products, two shifts, two three-way exclusive ors. Compilers find 4 shuffles a round more.
#pragma once

#include "../../math/philox.h"
#include "vector.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

#if defined(__AVX2__)
typedef __m256i Register;
FLOWPRIOR_INLINE Register multiply_low(Register a, Register b) { return _mm256_mul_epu32(a, b); }
FLOWPRIOR_INLINE Register upper_half(Register a) { return _mm256_srli_epi64(a, 32); }
// a comes last, and the compiler may not reorder: b and c are there before a is.
FLOWPRIOR_INLINE Register xor3(Register a, Register b, Register c) {
  Register early = b ^ c;
  __asm__("" : "+x"(early));
  return a ^ early;
}
FLOWPRIOR_INLINE Register all_lanes(uint64_t a) { return _mm256_set1_epi64x(static_cast<long long>(a)); }
FLOWPRIOR_INLINE Register interleave(Register even, Register odd) {
  return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
}
#elif defined(__SSE2__)
typedef __m128i Register;
FLOWPRIOR_INLINE Register multiply_low(Register a, Register b) { return _mm_mul_epu32(a, b); }
FLOWPRIOR_INLINE Register upper_half(Register a) { return _mm_srli_epi64(a, 32); }
FLOWPRIOR_INLINE Register xor3(Register a, Register b, Register c) { return a ^ b ^ c; }
FLOWPRIOR_INLINE Register all_lanes(uint64_t a) { return _mm_set1_epi64x(static_cast<long long>(a)); }
FLOWPRIOR_INLINE Register interleave(Register even, Register odd) {
  return _mm_or_si128(_mm_and_si128(even, all_lanes(0xFFFFFFFFu)), _mm_slli_epi64(odd, 32));
}
#else
typedef uint64_t Register;
FLOWPRIOR_INLINE Register multiply_low(Register a, Register b) { return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu); }
FLOWPRIOR_INLINE Register upper_half(Register a) { return a >> 32; }
FLOWPRIOR_INLINE Register xor3(Register a, Register b, Register c) { return a ^ b ^ c; }
FLOWPRIOR_INLINE Register all_lanes(uint64_t a) { return a; }
FLOWPRIOR_INLINE Register interleave(Register even, Register odd) { return (even & 0xFFFFFFFFu) | (odd << 32); }
#endif

// Even and odd 32-bit lanes of four words.
struct WordLanes {
  Register even[4], odd[4];
};

// The keys of all rounds, one in all lanes.
struct RoundKeys {
  Register key0[10], key1[10];
};

FLOWPRIOR_INLINE RoundKeys round_keys(uint64_t seed) {
  RoundKeys keys;
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    keys.key0[round] = all_lanes(key0);
    keys.key1[round] = all_lanes(key1);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return keys;
}

FLOWPRIOR_INLINE void philox_lanes(WordLanes& words, const RoundKeys& keys) {
  const Register multiplier0 = all_lanes(0xD2511F53u), multiplier2 = all_lanes(0xCD9E8D57u);
  const auto one_round = [&](Register(&w)[4], Register k0, Register k1) __attribute__((always_inline)) {
    const Register product0 = multiply_low(w[0], multiplier0), product2 = multiply_low(w[2], multiplier2);
    w[0] = xor3(upper_half(product2), w[1], k0);
    w[1] = product2;
    w[2] = xor3(upper_half(product0), w[3], k1);
    w[3] = product0;
  };
  for (int round = 0; round < 10; ++round) {
    one_round(words.even, keys.key0[round], keys.key1[round]);
    one_round(words.odd, keys.key0[round], keys.key1[round]);
  }
}

constexpr int kCounters = sizeof(Register) / sizeof(uint32_t);

// The four words of each of `count` counters (group[i], row[i], row_high, stream), word after word of `stride`
// numbers. Works in whole registers: group, row and words must have room for count rounded up to 16.
FLOWPRIOR_INLINE void draw_words(const uint32_t* group, const uint32_t* row, uint32_t row_high, uint32_t stream,
                                 uint64_t seed, int64_t count, int64_t stride, uint32_t* words) {
  const RoundKeys keys = round_keys(seed);
  for (int64_t i = 0; i < count; i += kCounters) {
    WordLanes lanes;
    std::memcpy(&lanes.even[0], group + i, sizeof(Register));
    std::memcpy(&lanes.even[1], row + i, sizeof(Register));
    lanes.odd[0] = upper_half(lanes.even[0]);
    lanes.odd[1] = upper_half(lanes.even[1]);
    lanes.even[2] = lanes.odd[2] = all_lanes(row_high);
    lanes.even[3] = lanes.odd[3] = all_lanes(stream);
    philox_lanes(lanes, keys);
    for (int word = 0; word < 4; ++word) {
      const Register mixed = interleave(lanes.even[word], lanes.odd[word]);
      std::memcpy(words + word * stride + i, &mixed, sizeof mixed);
    }
  }
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
