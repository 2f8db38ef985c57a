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

#if defined(__AVX2__)
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
typedef Vector<uint64_t>::Type Bits;

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

template <typename C>
constexpr C kSmallestNormal = C{0x1p-126f};
template <>
constexpr double kSmallestNormal<double> = 0x1p-1022;
template <typename C>
constexpr C kLargest = C{0x1.fffffep127f};
template <>
constexpr double kLargest<double> = 0x1.fffffffffffffp1023;

// (V{} + value would add the zero, since −0 + 0 is not −0.)
FLOWPRIOR_INLINE Floats all_lanes_of(float value) {
#if defined(__AVX2__)
  return _mm256_set1_ps(value);
#else
  return Floats{value, value, value, value};
#endif
}

FLOWPRIOR_INLINE Doubles all_lanes_of(double value) {
#if defined(__AVX2__)
  return _mm256_set1_pd(value);
#else
  return Doubles{value, value};
#endif
}

// A register of float64 from as many stored numbers.
FLOWPRIOR_INLINE Doubles load_doubles(const double* from) { return load_vector(from); }
FLOWPRIOR_INLINE Doubles load_doubles(const float* from) {
  typedef float HalfFloats __attribute__((vector_size(kVectorBytes / 2)));
  HalfFloats value;
  std::memcpy(&value, from, sizeof value);
  return __builtin_convertvector(value, Doubles);
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
#if defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

FLOWPRIOR_INLINE Doubles fused(Doubles a, Doubles b, Doubles c) {
#if defined(__FMA__)
  return _mm256_fmadd_pd(a, b, c);
#else
  return a * b + c;
#endif
}

// The sum of the lanes, neighbours with neighbours: sum_lanes and sum_lanes4 must round alike.
FLOWPRIOR_INLINE float sum_lanes(Floats value) {
  constexpr int lanes = Vector<float>::kLanes;
  float sums[2] = {};
  for (int lane = 0; lane < lanes; lane += 4) {
    sums[lane / 4] = (value[lane] + value[lane + 1]) + (value[lane + 2] + value[lane + 3]);
  }
  return lanes == 4 ? sums[0] : sums[0] + sums[1];
}

FLOWPRIOR_INLINE double sum_lanes(Doubles value) {
  constexpr int lanes = Vector<double>::kLanes;
  double sum = value[0] + value[1];
  for (int lane = 2; lane < lanes; lane += 2) sum += value[lane] + value[lane + 1];
  return sum;
}

// The sums of four registers' lanes.
FLOWPRIOR_INLINE void sum_lanes4(Doubles a, Doubles b, Doubles c, Doubles d, double* sums) {
  sums[0] = sum_lanes(a);
  sums[1] = sum_lanes(b);
  sums[2] = sum_lanes(c);
  sums[3] = sum_lanes(d);
}

FLOWPRIOR_INLINE void sum_lanes4(Floats a, Floats b, Floats c, Floats d, float* sums) {
#if defined(__AVX2__)
  const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  _mm_storeu_ps(sums, _mm256_castps256_ps128(pairs) + _mm256_extractf128_ps(pairs, 1));
#else
  sums[0] = sum_lanes(a);
  sums[1] = sum_lanes(b);
  sums[2] = sum_lanes(c);
  sums[3] = sum_lanes(d);
#endif
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
