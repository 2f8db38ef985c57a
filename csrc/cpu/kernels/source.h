// Rows of a mixture's samples, as gmm_sample stores them and gmm_path uses them at once.
#pragma once

#include "noise.h"
#include "storage.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

// x0 = mean + scale · noise for `count` columns of one row. noise and x0 may be the same.
template <typename T>
FLOWPRIOR_INLINE void place_source(const SampleJob& job, int64_t row, int64_t column, int64_t count,
                                   const Compute<T>* noise, Compute<T>* x0) {
  typedef Compute<T> C;
  alignas(64) C mean_buffer[4 * kGroups], scale_buffer[4 * kGroups];
  const Mixture& mixture = job.mixture;
  const int64_t index = job.cond[row] * mixture.components + job.component[row];
  const T* const means = static_cast<const T*>(mixture.mean) + index * mixture.dim + column;
  const C* const mean = read_block(means, count, mean_buffer);
  if (mixture.spherical) {
    const C scale = widen(static_cast<const T*>(mixture.scale)[index]);
    for (int64_t i = 0; i < count; ++i) x0[i] = fused(scale, noise[i], mean[i]);
  } else {
    const T* const scales = static_cast<const T*>(mixture.scale) + index * mixture.dim + column;
    const C* const scale = read_block(scales, count, scale_buffer);
    for (int64_t i = 0; i < count; ++i) x0[i] = fused(scale[i], noise[i], mean[i]);
  }
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
