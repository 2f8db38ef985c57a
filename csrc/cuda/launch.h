// What the kernels need of whoever runs them: nvcc, or (for g++) the emulation in tests/native/emulation.
#pragma once

#include <algorithm>
#include <cstdint>

#include "math/host_device.h"

#if defined(__CUDACC__)

#include <cuda_runtime.h>
#include <torch/csrc/stable/macros.h>

#define FLOWPRIOR_DEVICE __device__ __forceinline__

// All shared memory is dynamic: its size stands beside the launch, where the emulation can guard it.
#define FLOWPRIOR_SHARED(type, name)                                    \
  extern __shared__ __align__(16) unsigned char flowprior_shared[];     \
  type* const name = reinterpret_cast<type*>(flowprior_shared)

#define FLOWPRIOR_LAUNCH(kernel, grid, block, shared, stream, ...)      \
  do {                                                                  \
    kernel<<<grid, block, shared, stream>>>(__VA_ARGS__);               \
    STD_CUDA_KERNEL_LAUNCH_CHECK();                                     \
  } while (0)

// A promise about an address that the emulation checks; on a device a broken one is a fault anyway.
#define FLOWPRIOR_EXPECT_ALIGNED(address, bytes)

namespace flowprior::cuda {
constexpr int64_t kMostBlocksX = 0x7FFFFFFF;
constexpr int64_t kMostBlocksYZ = 65535;
// Blocks that fill today's largest device a few times. A constant, so that sums do not depend on the device.
constexpr int64_t kWantedBlocks = 1024;
}  // namespace flowprior::cuda

#else
#include "cuda_on_host.h"
#endif

namespace flowprior::cuda {

constexpr int kThreads = 256;
constexpr unsigned kWarp = 32;

FLOWPRIOR_HD int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline unsigned blocks_x(int64_t count) {
  return static_cast<unsigned>(std::clamp<int64_t>(count, 1, kMostBlocksX));
}

inline unsigned blocks_yz(int64_t count) {
  return static_cast<unsigned>(std::clamp<int64_t>(count, 1, kMostBlocksYZ));
}

// Parts to cut a range of `most` pieces into, where `blocks` blocks run without cutting.
inline int64_t parts(int64_t blocks, int64_t most) {
  const int64_t wanted = divide_up(kWantedBlocks, std::max<int64_t>(blocks, 1));
  return std::clamp<int64_t>(wanted, 1, std::clamp<int64_t>(most, 1, kMostBlocksYZ));
}

// A block whose x runs along a row, as far as `width` reaches, and whose y runs across rows.
inline dim3 block_of_rows(int64_t width, unsigned widest = kThreads) {
  unsigned x = 1;
  while (x < widest && x < width) x *= 2;
  return dim3(x, kThreads / x);
}

// The grid of such blocks; loops over rows and columns take what a grid cannot hold.
inline dim3 grid_of_rows(int64_t rows, int64_t width, dim3 block) {
  return dim3(blocks_x(divide_up(rows, block.y)), blocks_yz(divide_up(width, block.x)));
}

FLOWPRIOR_DEVICE int64_t first_row() { return int64_t{blockIdx.x} * blockDim.y + threadIdx.y; }
FLOWPRIOR_DEVICE int64_t row_step() { return int64_t{gridDim.x} * blockDim.y; }
FLOWPRIOR_DEVICE int64_t first_group() { return int64_t{blockIdx.y} * blockDim.x + threadIdx.x; }
FLOWPRIOR_DEVICE int64_t group_step() { return int64_t{gridDim.y} * blockDim.x; }

}  // namespace flowprior::cuda
