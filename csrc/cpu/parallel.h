// How a kernel's units are shared among torch's threads.
#pragma once

#include <torch/csrc/stable/ops.h>

#include "kernels/table.h"

namespace flowprior::cpu {

// A thread should have some ten microseconds of work: starting and joining threads costs about two.
constexpr int64_t kNoiseGrain = 2048;   // groups of four normal numbers, 5 ns each without vectors
constexpr int64_t kElementGrain = 32768;  // numbers read and written once
constexpr int64_t kTileGrain = 131072;  // terms of a sum of squares, three operations each

inline int64_t noise_groups(int64_t dim) { return (dim + 3) / 4; }

// Units of up to kColumns columns in a row.
inline int64_t row_units(int64_t dim) { return (dim + kColumns - 1) / kColumns; }

// How many units of `size` steps make a thread's least share of `steps`.
inline int64_t grain_of(int64_t steps, int64_t size) { return size >= steps ? 1 : steps / (size > 0 ? size : 1); }

template <typename Job>
void run(Kernel<Job> kernel, const Job& job, int64_t units, int64_t grain) {
  if (units == 0) return;
  torch::stable::parallel_for(0, units, grain, [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
}

}  // namespace flowprior::cpu
