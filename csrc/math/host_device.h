// What lets one text serve nvcc, the host compiler, and the host emulation of the CUDA kernels.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define FLOWPRIOR_HD __host__ __device__ __forceinline__
#else
#define FLOWPRIOR_HD static inline __attribute__((always_inline))
#endif

namespace flowprior {

// a·b + c, rounded once where the hardware does that as fast as twice.
FLOWPRIOR_HD float multiply_add(float a, float b, float c) {
#if defined(__CUDA_ARCH__) || defined(__FMA__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

FLOWPRIOR_HD uint32_t bits_of(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(value);
#else
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

FLOWPRIOR_HD float float_of(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

}  // namespace flowprior
