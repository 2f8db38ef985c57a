// One hardware register of numbers of the set this file is compiled for, in GCC's and clang's vector syntax.
// Everything is static: two instruction sets must never share a function that the linker may merge.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define FLOWPRIOR_INLINE static inline __attribute__((always_inline))

namespace flowprior::cpu::FLOWPRIOR_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <typename C>
struct Vector {
  typedef C Type __attribute__((vector_size(kVectorBytes)));
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(C));
};

typedef Vector<float>::Type Floats;
typedef Vector<double>::Type Doubles;

template <typename C>
FLOWPRIOR_INLINE typename Vector<C>::Type load_vector(const C* from) {
  typename Vector<C>::Type value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename C>
FLOWPRIOR_INLINE void store_vector(C* to, typename Vector<C>::Type value) {
  std::memcpy(to, &value, sizeof value);
}

// a·b + c, rounded once where the set has that instruction.
FLOWPRIOR_INLINE float fused(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

FLOWPRIOR_INLINE double fused(double a, double b, double c) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

FLOWPRIOR_INLINE Floats fused(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

FLOWPRIOR_INLINE Doubles fused(Doubles a, Doubles b, Doubles c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_pd(a, b, c);
#elif defined(__FMA__)
  return _mm256_fmadd_pd(a, b, c);
#else
  return a * b + c;
#endif
}

// The sum of the lanes, halves first.
FLOWPRIOR_INLINE float sum_lanes(Floats value) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(value);
#else
  float parts[Vector<float>::kLanes];
  std::memcpy(parts, &value, sizeof parts);
  for (int half = Vector<float>::kLanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) parts[lane] += parts[lane + half];
  }
  return parts[0];
#endif
}

FLOWPRIOR_INLINE double sum_lanes(Doubles value) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_pd(value);
#else
  double parts[Vector<double>::kLanes];
  std::memcpy(parts, &value, sizeof parts);
  for (int half = Vector<double>::kLanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) parts[lane] += parts[lane + half];
  }
  return parts[0];
#endif
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
