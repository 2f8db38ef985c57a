// With d = x − μ: d/dμ_j = Σ_b g_bj d/σ_j² and d/dσ_j = Σ_b g_bj (d²/σ_j² − 1)/σ_j. The scales, which all terms of a
// sum share, come in at its end and in float64: each rounding of a term counts where large terms cancel.
#pragma once

#include "grad_x.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

// Rows whose terms their own type adds; float64 adds these sums.
constexpr int64_t kSumRows = 8;
// Components that share the rows brought into the cache.
constexpr int64_t kSumComponents = 16;

template <typename C>
struct SumBlock {
  int64_t begin, count, padded;  // columns
  int64_t component, components;
  alignas(64) C x[kSumRows * kGradColumns];
  alignas(64) C grad[kSumComponents * kSumRows];
  alignas(64) C mean[kSumComponents * kGradColumns], scale[kSumComponents * kGradColumns];
  alignas(64) double first[kSumComponents * kGradColumns], second[kSumComponents * kGradColumns];
  double grad_sum[kSumComponents];
};

template <typename T>
FLOWPRIOR_INLINE void start_block(const Mixture& mixture, SumBlock<T>& block) {
  const T* const scales = static_cast<const T*>(mixture.scale);
  for (int64_t j = 0; j < block.components; ++j) {
    const int64_t component = block.component + j;
    T* const mean = block.mean + j * kGradColumns;
    T* const scale = block.scale + j * kGradColumns;
    const int64_t at = component * mixture.dim + block.begin;
    read_filled(static_cast<const T*>(mixture.mean) + at, block.count, block.padded, T{0}, mean);
    if (mixture.spherical) {
      for (int64_t d = 0; d < block.padded; ++d) scale[d] = scales[component];
    } else {
      read_filled(scales + at, block.count, block.padded, T{1}, scale);
    }
    block.grad_sum[j] = 0;
  }
  std::memset(block.first, 0, sizeof block.first);
  std::memset(block.second, 0, sizeof block.second);
}

// Brings in rows i … i + rows − 1 of the list and their gradients.
template <typename T>
FLOWPRIOR_INLINE void read_rows(const GradJob& job, int64_t i, int64_t rows, SumBlock<T>& block) {
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = job.order ? job.order[i + r] : i + r;
    const T* const x = static_cast<const T*>(job.x.data) + row * job.x.stride + block.begin;
    read_filled(x, block.count, block.padded, T{0}, block.x + r * kGradColumns);
    const T* const grad = static_cast<const T*>(job.grad_joint) + row * job.grad_stride + block.component - job.grad_first;
    for (int64_t j = 0; j < block.components; ++j) block.grad[j * kSumRows + r] = grad[j];
    for (int64_t j = 0; j < block.components; ++j) block.grad_sum[j] += static_cast<double>(grad[j]);
  }
}

// Adds Σ g d and Σ g d² over the rows brought in, for kWidth components from the j-th on and one register of columns.
template <int kWidth, typename C>
FLOWPRIOR_INLINE void sum_tile(SumBlock<C>& block, int64_t j, int64_t d, int64_t rows) {
  typedef typename Vector<C>::Type V;
  constexpr int lanes = Vector<C>::kLanes;
  V mean[kWidth], first[kWidth] = {}, second[kWidth] = {};
  for (int t = 0; t < kWidth; ++t) {
    mean[t] = load_vector(block.mean + (j + t) * kGradColumns + d);
  }
  const C* const grad = block.grad + j * kSumRows;
  for (int64_t r = 0; r < rows; ++r) {
    const V x = load_vector(block.x + r * kGradColumns + d);
    for (int t = 0; t < kWidth; ++t) {
      const V difference = x - mean[t], product = difference * grad[t * kSumRows + r];
      first[t] += product;
      second[t] = fused(product, difference, second[t]);
    }
  }
  for (int t = 0; t < kWidth; ++t) {
    C parts[2][lanes];
    store_vector(parts[0], first[t]);
    store_vector(parts[1], second[t]);
    const int64_t at = (j + t) * kGradColumns + d;
    for (int lane = 0; lane < lanes; ++lane) block.first[at + lane] += static_cast<double>(parts[0][lane]);
    for (int lane = 0; lane < lanes; ++lane) block.second[at + lane] += static_cast<double>(parts[1][lane]);
  }
}

template <typename C>
FLOWPRIOR_INLINE void sum_rows(SumBlock<C>& block, int64_t rows) {
  for (int64_t d = 0; d < block.padded; d += Vector<C>::kLanes) {
    int64_t j = 0;
    for (; j + kTileColumns <= block.components; j += kTileColumns) sum_tile<kTileColumns>(block, j, d, rows);
    for (; j < block.components; ++j) sum_tile<1>(block, j, d, rows);
  }
}

template <typename T>
FLOWPRIOR_INLINE void store_gradients(const GradParametersJob& job, int64_t number, const SumBlock<T>& block) {
  const Mixture& mixture = job.gradient.mixture;
  for (int64_t j = 0; j < block.components; ++j) {
    const int64_t component = block.component + j, at = component * mixture.dim + block.begin;
    double inverse[kGradColumns];
    for (int64_t d = 0; d < block.count; ++d) inverse[d] = 1.0 / static_cast<double>(block.scale[j * kGradColumns + d]);
    const double* const first = block.first + j * kGradColumns;
    const double* const second = block.second + j * kGradColumns;
    T* const grad_mean = static_cast<T*>(job.grad_mean) + at;
    for (int64_t d = 0; d < block.count; ++d) {
      grad_mean[d] = static_cast<T>(first[d] * inverse[d] * inverse[d]);
    }
    if (mixture.spherical) {
      double sum = 0;
      for (int64_t d = 0; d < block.count; ++d) {
        sum += second[d] * inverse[d] * inverse[d] - block.grad_sum[j];
      }
      job.spherical[number * mixture.conditions * mixture.components + component] = sum * inverse[0];
    } else {
      T* const grad_scale = static_cast<T*>(job.grad_scale) + at;
      for (int64_t d = 0; d < block.count; ++d) {
        const double squares = second[d] * inverse[d] * inverse[d];
        grad_scale[d] = static_cast<T>((squares - block.grad_sum[j]) * inverse[d]);
      }
    }
  }
}

template <typename T>
static void grad_parameters(const GradParametersJob& job) {
  const GradJob& gradient = job.gradient;
  SumBlock<T> block;
  for (int64_t number = gradient.block_begin; number < gradient.block_end; ++number) {
    block.begin = number * kGradColumns;
    const int64_t left = gradient.mixture.dim - block.begin;
    block.count = left < kGradColumns ? left : kGradColumns;
    block.padded = padded_columns<T>(block.count);
    for (int64_t j = gradient.component_begin; j < gradient.component_end; j += kSumComponents) {
      const int64_t components = gradient.component_end - j;
      block.component = j;
      block.components = components < kSumComponents ? components : kSumComponents;
      start_block<T>(gradient.mixture, block);
      for (int64_t i = gradient.row_begin; i < gradient.row_end; i += kSumRows) {
        const int64_t rows = gradient.row_end - i < kSumRows ? gradient.row_end - i : kSumRows;
        read_rows<T>(gradient, i, rows, block);
        sum_rows(block, rows);
      }
      store_gradients<T>(job, number, block);
    }
  }
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
