// Sums and maxima over a block's x, for each of its rows y, in a fixed order.
#pragma once

#include "launch.h"

namespace flowprior::cuda {

struct Sum {
  FLOWPRIOR_DEVICE double operator()(double a, double b) const { return a + b; }
};

// Skips NaN, as fmax does.
struct Maximum {
  FLOWPRIOR_DEVICE double operator()(double a, double b) const { return fmax(a, b); }
};

// Bytes of shared memory that reduce_over_x<kCount> needs.
template <int kCount>
constexpr unsigned kReduceBytes = kThreads / kWarp * kCount * sizeof(double);

// Leaves in every thread the result over its row of threads. All threads of the block must call it; blockDim.x
// is a power of two and the block a whole number of warps.
template <int kCount, typename Operation>
FLOWPRIOR_DEVICE void reduce_over_x(double (&values)[kCount], double* shared, Operation operation) {
  for (unsigned offset = (blockDim.x < kWarp ? blockDim.x : kWarp) / 2; offset > 0; offset /= 2) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      values[i] = operation(values[i], __shfl_xor_sync(0xFFFFFFFFu, values[i], offset));
    }
  }
  if (blockDim.x <= kWarp) return;
  const unsigned warps = blockDim.x / kWarp;
  double* const row = shared + threadIdx.y * warps * kCount;
  __syncthreads();  // an earlier call's results may still be in reading
  if (threadIdx.x % kWarp == 0) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) row[threadIdx.x / kWarp * kCount + i] = values[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    values[i] = row[i];
    for (unsigned warp = 1; warp < warps; ++warp) values[i] = operation(values[i], row[warp * kCount + i]);
  }
}

template <typename Operation>
FLOWPRIOR_DEVICE double reduce_over_x(double value, double* shared, Operation operation) {
  double values[1] = {value};
  reduce_over_x(values, shared, operation);
  return values[0];
}

}  // namespace flowprior::cuda
