// math/normal.h for AVX2, eight pairs a register: the same formula, and the same bits.
//
// Compilers vectorise the formula as it stands, but one register after the other: its steps depend on each other, and
// the processor waits. Here kLockstep registers take every step together. The factor −2 of the radius is in the
// logarithm's coefficients, which changes no rounding.
#pragma once

#include "../../math/normal.h"
#include "vector.h"

#if defined(__AVX2__)

namespace flowprior::cpu::FLOWPRIOR_ISA {

constexpr int kLockstep = 4;

template <int n>
struct WordRegisters {
  __m256i at[n];
};
template <int n>
struct FloatRegisters {
  Floats at[n];
};

#define FLOWPRIOR_EACH _Pragma("GCC unroll 8") for (int i = 0; i < n; ++i)

// Lane by lane, b where the sign bit of `chooser` is set, else a.
FLOWPRIOR_INLINE Floats choose(Floats a, Floats b, __m256i chooser) {
  return _mm256_blendv_ps(a, b, _mm256_castsi256_ps(chooser));
}
FLOWPRIOR_INLINE Floats flip(Floats a, __m256i signs) {
  return _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_and_si256(signs, _mm256_set1_epi32(INT32_MIN))));
}
FLOWPRIOR_INLINE Floats fused(Floats a, Floats b, float c) { return fused(a, b, all_lanes_of(c)); }

// √(−2 log u) with u = (word + ½) 2⁻³².
template <int n>
FLOWPRIOR_INLINE void radii(const WordRegisters<n>& word, FloatRegisters<n>& radius) {
  FloatRegisters<n> x, f, p;
  WordRegisters<n> exponent;
  FLOWPRIOR_EACH {  // u, or 1 − u above ½
    const __m256i nearest = _mm256_xor_si256(word.at[i], _mm256_srai_epi32(word.at[i], 31));
    x.at[i] = fused(_mm256_cvtepi32_ps(nearest), all_lanes_of(0x1p-32f), 0x1p-33f);
  }
  FLOWPRIOR_EACH {
    const __m256i bits = _mm256_castps_si256(choose(x.at[i], 1.0f - x.at[i], word.at[i]));
    exponent.at[i] = _mm256_srai_epi32(_mm256_sub_epi32(bits, _mm256_set1_epi32(0x3F3504F3)), 23);
    const Floats z = _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32(exponent.at[i], 23)));
    f.at[i] = choose(z - 1.0f, -x.at[i], _mm256_andnot_si256(exponent.at[i], word.at[i]));
  }
  constexpr float coefficients[] = {2 * 1.1514610310e-1f, -2 * 1.1676998740e-1f, 2 * 1.2420140846e-1f,
                                    -2 * 1.4249322787e-1f, 2 * 1.6668057665e-1f, -2 * 2.0000714765e-1f,
                                    2 * 2.4999993993e-1f, -2 * 3.3333331174e-1f};
  FLOWPRIOR_EACH p.at[i] = all_lanes_of(-2 * 7.0376836292e-2f);
  _Pragma("GCC unroll 8") for (const float coefficient : coefficients) {
    FLOWPRIOR_EACH p.at[i] = fused(p.at[i], f.at[i], coefficient);
  }
  FLOWPRIOR_EACH {
    const Floats f2 = f.at[i] * f.at[i], e = _mm256_cvtepi32_ps(exponent.at[i]);
    p.at[i] = fused(e, all_lanes_of(2 * 2.12194440e-4f), fused(p.at[i] * f2, f.at[i], f2));
    p.at[i] = fused(f.at[i], all_lanes_of(-2.0f), p.at[i]);
    radius.at[i] = _mm256_sqrt_ps(fused(e, all_lanes_of(-2 * 0.693359375f), p.at[i]));
  }
}

// radius · cos and radius · sin of the angles 2π word 2⁻³².
template <int n>
FLOWPRIOR_INLINE void turn(const WordRegisters<n>& word, const FloatRegisters<n>& radius, FloatRegisters<n>& n0,
                           FloatRegisters<n>& n1) {
  FloatRegisters<n> a, a2, s, c;
  WordRegisters<n> turned;  // whose two upper bits are the quarter
  FLOWPRIOR_EACH {
    turned.at[i] = _mm256_add_epi32(word.at[i], _mm256_set1_epi32(0x20000000));
    const __m256i rest = _mm256_sub_epi32(_mm256_and_si256(turned.at[i], _mm256_set1_epi32(0x3FFFFFFF)),
                                          _mm256_set1_epi32(0x20000000));
    a.at[i] = _mm256_cvtepi32_ps(rest) * all_lanes_of(1.46291807926715968e-9f);
    a2.at[i] = a.at[i] * a.at[i];
  }
  FLOWPRIOR_EACH s.at[i] = fused(a2.at[i], all_lanes_of(-1.9515295891e-4f), 8.3321608736e-3f);
  FLOWPRIOR_EACH c.at[i] = fused(a2.at[i], all_lanes_of(2.443315711809948e-5f), -1.388731625493765e-3f);
  FLOWPRIOR_EACH s.at[i] = fused(a2.at[i], s.at[i], -1.6666654611e-1f);
  FLOWPRIOR_EACH c.at[i] = fused(a2.at[i], c.at[i], 4.166664568298827e-2f);
  FLOWPRIOR_EACH s.at[i] = fused(a2.at[i] * a.at[i], s.at[i], a.at[i]);
  FLOWPRIOR_EACH c.at[i] = fused(a2.at[i] * a2.at[i], c.at[i], fused(a2.at[i], all_lanes_of(-0.5f), 1.0f));
  FLOWPRIOR_EACH {
    const __m256i odd = _mm256_slli_epi32(turned.at[i], 1);
    const Floats cosine = choose(c.at[i], s.at[i], odd), sine = choose(s.at[i], c.at[i], odd);
    n0.at[i] = radius.at[i] * flip(cosine, _mm256_xor_si256(turned.at[i], odd));
    n1.at[i] = radius.at[i] * flip(sine, turned.at[i]);
  }
}

// Eight groups of four numbers, one group a lane, as rows of four.
FLOWPRIOR_INLINE void store_groups(Floats a, Floats b, Floats c, Floats d, float* out) {
  const __m256d low_ab = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)), low_cd = _mm256_castps_pd(_mm256_unpacklo_ps(c, d));
  const __m256d high_ab = _mm256_castps_pd(_mm256_unpackhi_ps(a, b)), high_cd = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
  const __m256d rows[] = {_mm256_unpacklo_pd(low_ab, low_cd), _mm256_unpackhi_pd(low_ab, low_cd),
                          _mm256_unpacklo_pd(high_ab, high_cd), _mm256_unpackhi_pd(high_ab, high_cd)};
  for (int group = 0; group < 4; ++group) {
    const __m256 row = _mm256_castpd_ps(rows[group]);
    _mm_storeu_ps(out + 4 * group, _mm256_castps256_ps128(row));
    _mm_storeu_ps(out + 4 * (group + 4), _mm256_extractf128_ps(row, 1));
  }
}

template <int n>
FLOWPRIOR_INLINE WordRegisters<n> load_words(const uint32_t* words, int64_t step) {
  WordRegisters<n> loaded;
  FLOWPRIOR_EACH loaded.at[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + i * step));
  return loaded;
}

template <int n>
FLOWPRIOR_INLINE void store_radii(const uint32_t* words, float* out) {
  FloatRegisters<n> radius;
  radii<n>(load_words<n>(words, 8), radius);
  FLOWPRIOR_EACH store_vector(out + 8 * i, radius.at[i]);
}

// Four numbers from each of `count` sets of words, which stand word after word of kStride numbers each. Works on
// kLockstep registers at a time, which words and out must have room for.
template <int64_t kStride>
FLOWPRIOR_INLINE void normals_in_lockstep(const uint32_t* words, int64_t count, float* out) {
  constexpr int n = 2;
  alignas(32) float radius[2][kStride];
  for (int64_t at = 0; at < count; at += 8 * kLockstep) {
    store_radii<kLockstep>(words + at, radius[0] + at);
    store_radii<kLockstep>(words + 2 * kStride + at, radius[1] + at);
  }
  for (int64_t at = 0; at < count; at += 8) {
    const FloatRegisters<n> lengths = {{load_vector(radius[0] + at), load_vector(radius[1] + at)}};
    FloatRegisters<n> n0, n1;
    turn<n>(load_words<n>(words + kStride + at, 2 * kStride), lengths, n0, n1);
    store_groups(n0.at[0], n1.at[0], n0.at[1], n1.at[1], out + 4 * at);
  }
}

#undef FLOWPRIOR_EACH

}  // namespace flowprior::cpu::FLOWPRIOR_ISA

#endif
