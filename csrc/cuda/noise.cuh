// Standard normal numbers of a group of columns.
#pragma once

#include "math/normal.h"
#include "math/philox.h"
#include "rows.cuh"

namespace flowprior::cuda {

// Columns column … column + kCount − 1 of a row; column is a multiple of 4.
template <int kCount>
FLOWPRIOR_DEVICE void normals(uint64_t seed, uint32_t stream, int64_t row, int64_t column, float (&to)[kCount]) {
  static_assert(kCount % 4 == 0, "four numbers a call");
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    const auto group = static_cast<uint32_t>((column + i) / 4);
    const Words words = random_words(seed, stream, static_cast<uint64_t>(row), group);
    const FloatPair a = normal_pair(words.w0, words.w1), b = normal_pair(words.w2, words.w3);
    to[i] = a.n0, to[i + 1] = a.n1, to[i + 2] = b.n0, to[i + 3] = b.n1;
  }
}

template <int kCount>
FLOWPRIOR_DEVICE void normals(uint64_t seed, uint32_t stream, int64_t row, int64_t column, double (&to)[kCount]) {
  static_assert(kCount % 4 == 0, "four numbers a call");
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    const auto group = static_cast<uint32_t>((column + i) / 4);
    const Words words = random_words(seed, stream, static_cast<uint64_t>(row), group);
    const DoublePair a = normal_pair_double(words.w0, words.w1), b = normal_pair_double(words.w2, words.w3);
    to[i] = a.n0, to[i + 1] = a.n1, to[i + 2] = b.n0, to[i + 3] = b.n1;
  }
}

}  // namespace flowprior::cuda
