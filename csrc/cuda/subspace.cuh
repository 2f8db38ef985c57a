// What the kernels of subspace priors share. A block takes a row: threads along its columns, warps along the axes.
#pragma once

#include "math/subspace.h"
#include "rows.cuh"

namespace flowprior::cuda {

// Columns of a row that are in shared memory at once: within 48 KiB in float64, beside four numbers of each axis.
constexpr int64_t kSubspaceChunk = 1024;
static_assert((kSubspaceChunk + 4 * kMostAxes) * sizeof(double) <= 48 * 1024);

// The linear part under the condition of each row; bases are transposed, [bases, rank, width].
template <typename C>
struct Subspace {
  const C* basis;
  int64_t bases, rank, width, columns;
  Rows<const C> loc, noise, spread;
  const int64_t* cond;

  // The row's basis, or null for an unknown condition.
  FLOWPRIOR_DEVICE const C* basis_of(int64_t row) const {
    const int64_t number = cond[row];
    return number >= 0 && number < bases ? basis + number * rank * width : nullptr;
  }
};

template <typename C>
FLOWPRIOR_DEVICE C sum_of_warp(C value) {
  for (unsigned offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, offset);
  return value;
}

// along[j] = Σ_d q_jd number_of(d) for all axes j, by the whole block; `chunk` and `along` are shared memory. What
// was written there before is safe, and `along` can be read afterwards.
template <typename C, typename Number>
FLOWPRIOR_DEVICE void project(const Subspace<C>& subspace, const C* basis, Number number_of, C* chunk, C* along) {
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  for (int64_t start = 0; start < subspace.columns; start += kSubspaceChunk) {
    const int64_t left = subspace.columns - start, count = left < kSubspaceChunk ? left : kSubspaceChunk;
    __syncthreads();
    for (int64_t d = threadIdx.x; d < count; d += blockDim.x) chunk[d] = number_of(start + d);
    __syncthreads();
    for (int64_t j = warp; j < subspace.rank; j += warps) {
      const C* const axis = basis + j * subspace.width + start;
      C sum = 0;
      for (int64_t d = lane; d < count; d += kWarp) sum = fused(chunk[d], axis[d], sum);
      sum = sum_of_warp(sum);
      if (lane == 0) along[j] = start == 0 ? sum : along[j] + sum;
    }
  }
  __syncthreads();
}

}  // namespace flowprior::cuda
