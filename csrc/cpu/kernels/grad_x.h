// d/dx of row b is Σ_j g_bj (μ_j − x_b)/σ_j².
#pragma once

#include "tiles.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

// Components whose terms their own type adds; float64 adds these sums.
constexpr int64_t kGradComponents = 16;
// Rows and registers of columns whose sums the registers hold.
#if defined(__aarch64__)
constexpr int kGradRows = 4, kGradVectors = 2;
#else
constexpr int kGradRows = 2, kGradVectors = 2;
#endif

// Means and 1/σ² of a block, register after register, and behind one another the components.
template <typename C>
struct GradTable {
  alignas(64) C packed[kGradComponents * 2 * kGradColumns];
};

template <typename C>
FLOWPRIOR_INLINE int64_t padded_columns(int64_t count) {
  constexpr int64_t step = kGradVectors * Vector<C>::kLanes;
  return (count + step - 1) / step * step;
}

template <typename T>
FLOWPRIOR_INLINE void fill_table(const Mixture& mixture, int64_t component, int64_t end, int64_t begin, int64_t count,
                                 GradTable<T>& table) {
  const int64_t padded = padded_columns<T>(count);
  T* to = table.packed;
  for (; component < end; ++component, to += 2 * kGradColumns) {
    const T* const scales = static_cast<const T*>(mixture.scale);
    read_filled(static_cast<const T*>(mixture.mean) + component * mixture.dim + begin, count, padded, T{0}, to);
    T* const weight = to + kGradColumns;
    if (mixture.spherical) {
      for (int64_t i = 0; i < padded; ++i) weight[i] = scales[component];
    } else {
      read_filled(scales + component * mixture.dim + begin, count, padded, T{1}, weight);
    }
    for (int64_t i = 0; i < padded; ++i) weight[i] = T{1} / weight[i];
    for (int64_t i = 0; i < padded; ++i) weight[i] *= weight[i];
  }
}

// Adds the terms of `components` components to total, for kGradVectors registers of columns of kRows rows.
template <int kRows, typename C>
FLOWPRIOR_INLINE void grad_x_tile(const C* const* x, const C* const* grad, const C* table, int64_t components,
                                  double* const* total) {
  typedef typename Vector<C>::Type V;
  constexpr int lanes = Vector<C>::kLanes;
  V row[kRows * kGradVectors], sum[kRows * kGradVectors] = {};
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kGradVectors; ++v) row[r * kGradVectors + v] = load_vector(x[r] + v * lanes);
  }
  for (int64_t j = 0; j < components; ++j, table += 2 * kGradColumns) {
    for (int v = 0; v < kGradVectors; ++v) {
      const V mean = load_vector(table + v * lanes), weight = load_vector(table + kGradColumns + v * lanes);
      for (int r = 0; r < kRows; ++r) {
        const int at = r * kGradVectors + v;
        sum[at] = fused(all_lanes_of(grad[r][j]), (mean - row[at]) * weight, sum[at]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kGradVectors; ++v) {
      C parts[lanes];
      store_vector(parts, sum[r * kGradVectors + v]);
      for (int lane = 0; lane < lanes; ++lane) total[r][v * lanes + lane] += static_cast<double>(parts[lane]);
    }
  }
}

template <typename T>
struct GradXBlock {
  int64_t begin, count, component, component_end;
  double* total;   // [rows, kGradColumns]
  const GradTable<T>* table;
};

// kRows rows of the list from row i on, against the components of a table.
template <int kRows, typename T>
FLOWPRIOR_INLINE void grad_x_rows(const GradXJob& job, const GradXBlock<T>& block, int64_t i) {
  const GradJob& gradient = job.gradient;
  alignas(64) T buffer[kRows][kGradColumns];
  const T* grad[kRows];
  double* total[kRows];
  const int64_t padded = padded_columns<T>(block.count);
  for (int r = 0; r < kRows; ++r) {
    const int64_t row = gradient.order ? gradient.order[i + r] : i + r;
    const T* const x = static_cast<const T*>(gradient.x.data) + row * gradient.x.stride + block.begin;
    read_filled(x, block.count, padded, T{0}, buffer[r]);
    grad[r] = static_cast<const T*>(gradient.grad_joint) + row * gradient.grad_stride + block.component -
              gradient.grad_first;
    total[r] = block.total + (i + r - gradient.row_begin) * kGradColumns;
  }
  constexpr int64_t step = kGradVectors * Vector<T>::kLanes;
  for (int64_t d = 0; d < padded; d += step) {
    const T* x[kRows];
    double* to[kRows];
    for (int r = 0; r < kRows; ++r) x[r] = buffer[r] + d;
    for (int r = 0; r < kRows; ++r) to[r] = total[r] + d;
    grad_x_tile<kRows>(x, grad, block.table->packed + d, block.component_end - block.component, to);
  }
}

template <typename T>
FLOWPRIOR_INLINE void store_grad_x(const GradXJob& job, int64_t begin, int64_t count, const double* total) {
  const GradJob& gradient = job.gradient;
  for (int64_t i = gradient.row_begin; i < gradient.row_end; ++i, total += kGradColumns) {
    const int64_t row = gradient.order ? gradient.order[i] : i;
    T* const to = static_cast<T*>(job.grad_x) + row * gradient.mixture.dim + begin;
    for (int64_t d = 0; d < count; ++d) to[d] = static_cast<T>(total[d]);
  }
}

template <typename T>
static void grad_x(const GradXJob& job) {
  const GradJob& gradient = job.gradient;
  GradTable<T> table;
  double total[kGradTaskRows * kGradColumns];
  for (int64_t number = gradient.block_begin; number < gradient.block_end; ++number) {
    const int64_t begin = number * kGradColumns, left = gradient.mixture.dim - begin;
    const int64_t count = left < kGradColumns ? left : kGradColumns;
    std::memset(total, 0, sizeof(double) * (gradient.row_end - gradient.row_begin) * kGradColumns);
    for (int64_t j = gradient.component_begin; j < gradient.component_end; j += kGradComponents) {
      const int64_t end = j + kGradComponents < gradient.component_end ? j + kGradComponents : gradient.component_end;
      fill_table<T>(gradient.mixture, j, end, begin, count, table);
      const GradXBlock<T> block = {begin, count, j, end, total, &table};
      int64_t i = gradient.row_begin;
      for (; i + kGradRows <= gradient.row_end; i += kGradRows) grad_x_rows<kGradRows, T>(job, block, i);
      for (; i < gradient.row_end; ++i) grad_x_rows<1, T>(job, block, i);
    }
    store_grad_x<T>(job, begin, count, total);
  }
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
