// Stored numbers and the numbers computed with: float32 for float32, bfloat16 and float16, float64 for float64.
// Kernels work on blocks of computed numbers; these functions bring them in and out. torch's own 16-bit types
// are not used, since their inline functions could be merged across instruction sets.
#pragma once

#include "../../math/host_device.h"
#include "jobs.h"
#include "vector.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

struct BFloat16 {
  uint16_t bits;
};

struct Float16 {
  uint16_t bits;
};

template <typename T>
struct ComputeType {
  typedef float Type;
};
template <>
struct ComputeType<double> {
  typedef double Type;
};
template <typename T>
constexpr bool kIsFloat16 = false;
template <>
constexpr bool kIsFloat16<Float16> = true;

template <typename T>
using Compute = typename ComputeType<T>::Type;

FLOWPRIOR_INLINE float widen(float value) { return value; }
FLOWPRIOR_INLINE double widen(double value) { return value; }
FLOWPRIOR_INLINE float widen(BFloat16 value) { return float_of(static_cast<uint32_t>(value.bits) << 16); }

FLOWPRIOR_INLINE float widen(Float16 value) {
  const uint32_t magnitude = (value.bits & 0x7FFFu) << 13;
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  // Multiplying by 2¹¹² moves the exponent's bias and makes subnormal numbers normal.
  const uint32_t finite = bits_of(float_of(magnitude) * 0x1p112f);
  return float_of((magnitude >= 0x0F800000u ? magnitude | 0x7F800000u : finite) | sign);
}

FLOWPRIOR_INLINE void narrow(float value, float* to) { *to = value; }
FLOWPRIOR_INLINE void narrow(double value, double* to) { *to = value; }

// Both round to nearest, ties to even, and keep infinities and NaN.
FLOWPRIOR_INLINE void narrow(float value, BFloat16* to) {
  const uint32_t bits = bits_of(value);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  to->bits = static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FC0u : rounded);
}

FLOWPRIOR_INLINE void narrow(float value, Float16* to) {
  const uint32_t bits = bits_of(value);
  const uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
  const uint32_t normal = (magnitude - 0x38000000u + 0x0FFFu + ((magnitude >> 13) & 1u)) >> 13;
  // Below 2⁻¹⁴, adding ½ leaves the rounded multiple of 2⁻²⁴ in the last bits.
  const uint32_t small = bits_of(float_of(magnitude) + 0.5f) - 0x3F000000u;
  uint32_t result = magnitude < 0x38800000u ? small : normal;
  result = magnitude >= 0x477FF000u ? 0x7C00u : result;
  result = magnitude > 0x7F800000u ? 0x7E00u : result;
  to->bits = static_cast<uint16_t>(result | sign);
}

template <typename T>
FLOWPRIOR_INLINE void store_widened(const T* from, int64_t count, Compute<T>* to) {
  int64_t i = 0;
#if defined(__F16C__)
  if constexpr (kIsFloat16<T>) {
    for (; i + 8 <= count; i += 8) {
      const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
      _mm256_storeu_ps(to + i, _mm256_cvtph_ps(half));
    }
  }
#endif
  for (; i < count; ++i) to[i] = widen(from[i]);
}

// `count` stored numbers as computed ones: the stored ones themselves where the types agree.
template <typename T>
FLOWPRIOR_INLINE const Compute<T>* read_block(const T* from, int64_t count, Compute<T>* buffer) {
  if constexpr (sizeof(T) == sizeof(Compute<T>)) {
    return from;
  } else {
    store_widened(from, count, buffer);
    return buffer;
  }
}

// Where to compute a block that write_block then stores at `to`.
template <typename T>
FLOWPRIOR_INLINE Compute<T>* block_for(T* to, Compute<T>* buffer) {
  if constexpr (sizeof(T) == sizeof(Compute<T>)) {
    return to;
  } else {
    return buffer;
  }
}

// Stores a block computed elsewhere.
template <typename T>
FLOWPRIOR_INLINE void store_block(T* to, int64_t count, const Compute<T>* block) {
  int64_t i = 0;
#if defined(__F16C__)
  if constexpr (kIsFloat16<T>) {
    for (; i + 8 <= count; i += 8) {
      const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(block + i), _MM_FROUND_TO_NEAREST_INT);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), half);
    }
  }
#endif
  for (; i < count; ++i) narrow(block[i], to + i);
}

// Stores a block computed where block_for said.
template <typename T>
FLOWPRIOR_INLINE void write_block(T* to, int64_t count, const Compute<T>* block) {
  if constexpr (sizeof(T) != sizeof(Compute<T>)) store_block(to, count, block);
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
