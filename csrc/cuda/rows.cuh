// Rows of stored numbers, read and written as groups of computed ones: 16 bytes at a time where the
// addresses allow it, one number at a time elsewhere and in a row's tail.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <initializer_list>
#include <type_traits>

#include "launch.h"

namespace flowprior::cuda {

using BFloat16 = c10::BFloat16;
using Half = c10::Half;

// float32 for float32, bfloat16 and float16; float64 for float64.
template <typename T>
using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;

// Columns that a thread takes at a time: whole groups of four random numbers, and whole 16-byte accesses.
template <typename T>
constexpr int kGroup = sizeof(T) == 2 ? 8 : 4;

template <typename T>
inline int64_t groups_of(int64_t columns) {
  return divide_up(columns, kGroup<T>);
}

template <typename T>
struct Rows {
  T* data;
  int64_t stride;

  FLOWPRIOR_DEVICE T* at(int64_t row) const { return data + row * stride; }

  // Whether every row starts at a multiple of 16 bytes.
  bool aligned() const {
    const auto step = static_cast<uint64_t>(stride) * sizeof(T);
    return (reinterpret_cast<uintptr_t>(data) | step) % 16 == 0;
  }
};

// What is read and written at once: 16 bytes, or one number.
template <typename T>
struct alignas(16) Pack {
  T values[16 / sizeof(T)];
};

template <typename T>
struct One {
  T values[1];
};

// to[i] = from[i], and `fill` from `count` on.
template <bool kAligned, int kCount, typename T, typename C>
FLOWPRIOR_DEVICE void load(const T* from, int64_t count, C (&to)[kCount], C fill = C(0)) {
  constexpr int kEach = kAligned ? 16 / sizeof(T) : 1;
  static_assert(kCount % kEach == 0, "a group is a whole number of 16-byte accesses");
  if (count >= kCount) {
    using Unit = std::conditional_t<kAligned, Pack<T>, One<T>>;
    FLOWPRIOR_EXPECT_ALIGNED(from, alignof(Unit));
#pragma unroll
    for (int i = 0; i < kCount; i += kEach) {
      const Unit unit = *reinterpret_cast<const Unit*>(from + i);
#pragma unroll
      for (int j = 0; j < kEach; ++j) to[i + j] = static_cast<C>(unit.values[j]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i] = i < count ? static_cast<C>(from[i]) : fill;
  }
}

// The first `count` of a group, rounded to storage.
template <bool kAligned, int kCount, typename T, typename C>
FLOWPRIOR_DEVICE void store(T* to, int64_t count, const C (&from)[kCount]) {
  constexpr int kEach = kAligned ? 16 / sizeof(T) : 1;
  static_assert(kCount % kEach == 0, "a group is a whole number of 16-byte accesses");
  if (count >= kCount) {
    using Unit = std::conditional_t<kAligned, Pack<T>, One<T>>;
    FLOWPRIOR_EXPECT_ALIGNED(to, alignof(Unit));
#pragma unroll
    for (int i = 0; i < kCount; i += kEach) {
      Unit unit;
#pragma unroll
      for (int j = 0; j < kEach; ++j) unit.values[j] = static_cast<T>(from[i + j]);
      *reinterpret_cast<Unit*>(to + i) = unit;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i < count) to[i] = static_cast<T>(from[i]);
    }
  }
}

// a·b + c; device code contracts it.
FLOWPRIOR_HD float fused(float a, float b, float c) { return multiply_add(a, b, c); }
FLOWPRIOR_HD double fused(double a, double b, double c) { return a * b + c; }

template <typename C>
FLOWPRIOR_HD C not_a_number() {
  return static_cast<C>(float_of(0x7FC00000u));
}

}  // namespace flowprior::cuda
