// x0 = μ + σ n with the component's μ and σ: one pass over memory after the components are drawn.
#pragma once

#include "math/normal.h"
#include "math/philox.h"
#include "mixture.cuh"

namespace flowprior::cuda {

// Standard normal numbers of columns column … column + kCount − 1 of a row; column is a multiple of 4.
template <int kCount>
FLOWPRIOR_DEVICE void normals(uint64_t seed, int64_t row, int64_t column, float (&to)[kCount]) {
  static_assert(kCount % 4 == 0, "four numbers a call");
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    const auto group = static_cast<uint32_t>((column + i) / 4);
    const Words words = random_words(seed, kNoise, static_cast<uint64_t>(row), group);
    const FloatPair a = normal_pair(words.w0, words.w1), b = normal_pair(words.w2, words.w3);
    to[i] = a.n0, to[i + 1] = a.n1, to[i + 2] = b.n0, to[i + 3] = b.n1;
  }
}

template <int kCount>
FLOWPRIOR_DEVICE void normals(uint64_t seed, int64_t row, int64_t column, double (&to)[kCount]) {
  static_assert(kCount % 4 == 0, "four numbers a call");
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    const auto group = static_cast<uint32_t>((column + i) / 4);
    const Words words = random_words(seed, kNoise, static_cast<uint64_t>(row), group);
    const DoublePair a = normal_pair_double(words.w0, words.w1), b = normal_pair_double(words.w2, words.w3);
    to[i] = a.n0, to[i + 1] = a.n1, to[i + 2] = b.n0, to[i + 3] = b.n1;
  }
}

// The start of a row's group of columns, in the compute type; `place` < 0 marks an unknown label.
template <bool kAligned, int kCount, typename T>
FLOWPRIOR_DEVICE void draw_start(const Mixture<T>& mixture, int64_t place, uint64_t seed, int64_t row,
                                 int64_t column, Compute<T> (&x0)[kCount]) {
  if (place < 0) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) x0[i] = not_a_number<Compute<T>>();
    return;
  }
  Compute<T> mean[kCount], scale[kCount];
  mixture.template load_mean<kAligned>(place, column, mean);
  mixture.template load_scale<kAligned>(place, column, scale);
  normals(seed, row, column, x0);
#pragma unroll
  for (int i = 0; i < kCount; ++i) x0[i] = fused(scale[i], x0[i], mean[i]);
}

// c·K + k of a row, or -1.
template <typename T>
FLOWPRIOR_DEVICE int64_t place_of(const Mixture<T>& mixture, const int64_t* cond, const int64_t* component,
                                  int64_t row) {
  return component[row] < 0 ? -1 : cond[row] * mixture.components + component[row];
}

template <typename T, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gmm_sample_kernel(Mixture<T> mixture, const int64_t* cond, const int64_t* component, const int64_t* seed,
                      int64_t rows, Rows<T> out) {
  constexpr int kCount = kGroup<T>;
  const auto bits = static_cast<uint64_t>(seed[0]);
  for (int64_t row = first_row(); row < rows; row += row_step()) {
    const int64_t place = place_of(mixture, cond, component, row);
    for (int64_t column = first_group() * kCount; column < mixture.columns; column += group_step() * kCount) {
      Compute<T> x0[kCount];
      draw_start<kAligned>(mixture, place, bits, row, column, x0);
      store<kAligned>(out.at(row) + column, mixture.columns - column, x0);
    }
  }
}

template <typename T>
void launch_gmm_sample(Mixture<T> mixture, const int64_t* cond, const int64_t* seed, int64_t rows, Rows<T> out,
                       int64_t* component, cudaStream_t stream) {
  if (rows == 0) return;
  launch_choose_components(mixture, cond, seed, rows, component, stream);
  if (mixture.columns == 0) return;
  const int64_t groups = groups_of<T>(mixture.columns);
  const dim3 block = block_of_rows(groups), grid = grid_of_rows(rows, groups, block);
  const bool aligned = mixture.aligned() && out.aligned();
  auto* const kernel = aligned ? gmm_sample_kernel<T, true> : gmm_sample_kernel<T, false>;
  FLOWPRIOR_LAUNCH(kernel, grid, block, 0, stream, mixture, cond, component, seed, rows, out);
}

}  // namespace flowprior::cuda
