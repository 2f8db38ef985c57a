// Products of the rows of a batch with the basis that they share, transposed: along its rows, and back.
//
// Rows are taken kSubspaceRows at a time, so that a basis is read once for as many. Each row's sums are taken in one
// order, whatever rows stand beside it.
#pragma once

#include "../../math/subspace.h"
#include "jobs.h"
#include "vector.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

#if defined(__aarch64__)
constexpr int kSubspaceRows = 8;  // 16 sums and what they are made of: of 32 registers
#else
constexpr int kSubspaceRows = 4;  // 8 sums: of 16 registers
#endif
// Columns whose sums stay in the first-level cache.
constexpr int64_t kSubspaceColumns = 64;
static_assert(kSubspaceColumns % kBasisColumns == 0);

#define FLOWPRIOR_EACH_OF(i, n) _Pragma("GCC unroll 16") for (int i = 0; i < (n); ++i)

template <int kRows, int kAxes, typename C>
FLOWPRIOR_INLINE void project_onto(const C* basis, int64_t width, const C* white, int64_t stride, C* along,
                                   int64_t along_stride) {
  typedef typename Vector<C>::Type V;
  V sums[kRows][kAxes] = {};
  for (int64_t d = 0; d < width; d += Vector<C>::kLanes) {
    V axes[kAxes];
    FLOWPRIOR_EACH_OF(j, kAxes) axes[j] = load_vector(basis + j * width + d);
    FLOWPRIOR_EACH_OF(row, kRows) {
      const V value = load_vector(white + row * stride + d);
      FLOWPRIOR_EACH_OF(j, kAxes) sums[row][j] = fused(value, axes[j], sums[row][j]);
    }
  }
  FLOWPRIOR_EACH_OF(row, kRows) {
    FLOWPRIOR_EACH_OF(j, kAxes) along[row * along_stride + j] = sum_lanes(sums[row][j]);
  }
}

// along_j = Σ_d q_jd y_d of kRows rows y, `stride` apart, filled up with 0 to the basis's width.
template <int kRows, typename C>
FLOWPRIOR_INLINE void project(const C* basis, int64_t rank, int64_t width, const C* white, int64_t stride, C* along,
                              int64_t along_stride) {
  int64_t j = 0;
  for (; j + 2 <= rank; j += 2) {
    project_onto<kRows, 2>(basis + j * width, width, white, stride, along + j, along_stride);
  }
  if (j < rank) project_onto<kRows, 1>(basis + j * width, width, white, stride, along + j, along_stride);
}

// Σ_j w_j q_jd, or with kSquared Σ_j w_j q_jd², for columns 0 … columns − 1 of kRows rows and kWeights weights each,
// which stand rank numbers apart. A row's sums are kSubspaceColumns apart, those of the next weights in the next array.
template <int kRows, int kWeights, bool kSquared, typename C>
FLOWPRIOR_INLINE void combine(const C* basis, int64_t rank, int64_t width, int64_t columns, const C* weights,
                              int64_t stride, C (*sums)[kRows * kSubspaceColumns]) {
  typedef typename Vector<C>::Type V;
  for (int64_t d = 0; d < columns; d += Vector<C>::kLanes) {
    V found[kWeights][kRows] = {};
    for (int64_t j = 0; j < rank; ++j) {
      V axis = load_vector(basis + j * width + d);
      if constexpr (kSquared) axis = axis * axis;
      FLOWPRIOR_EACH_OF(row, kRows) {
        FLOWPRIOR_EACH_OF(k, kWeights) {
          found[k][row] = fused(all_lanes_of(weights[row * stride + k * rank + j]), axis, found[k][row]);
        }
      }
    }
    FLOWPRIOR_EACH_OF(row, kRows) {
      FLOWPRIOR_EACH_OF(k, kWeights) store_vector(sums[k] + row * kSubspaceColumns + d, found[k][row]);
    }
  }
}

// Calls work.operator()<kRows>(first row's place in the order) for the rows of a task, as many at a time as can be.
template <int kRows = kSubspaceRows, typename Work>
FLOWPRIOR_INLINE void for_each_rows(const SubspaceTask& task, Work work) {
  int64_t done = 0;
  const auto take = [&]<int kCount>() __attribute__((always_inline)) {
    for (; task.count - done >= kCount; done += kCount) work.template operator()<kCount>(task.begin + done);
  };
  if constexpr (kRows >= 8) take.template operator()<8>();
  if constexpr (kRows >= 8) take.template operator()<6>();
  take.template operator()<4>();
  take.template operator()<2>();
  take.template operator()<1>();
}

FLOWPRIOR_INLINE int64_t least_of(int64_t a, int64_t b) { return a < b ? a : b; }

template <typename T>
FLOWPRIOR_INLINE const T* row_of(const Rows& rows, int64_t row) {
  return static_cast<const T*>(rows.data) + row * rows.stride;
}

// ψ^(−1/2) (x − by · m), and 0 from column dim to width.
template <typename C>
FLOWPRIOR_INLINE void whiten(const C* x, C by, const C* loc, const C* noise, int64_t dim, int64_t width,
                             C* __restrict white) {
  _Pragma("omp simd") for (int64_t d = 0; d < dim; ++d) white[d] = whitened(x[d], by, loc[d], noise[d]);
  for (int64_t d = dim; d < width; ++d) white[d] = 0;
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
