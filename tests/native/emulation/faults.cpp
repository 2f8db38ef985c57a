// Kernels with one fault each, to show that the emulation notices it.
#include "launch.h"

namespace flowprior::cuda {

// out[t] = in of the thread after this one, through shared memory.
__global__ void rotate(const float* in, float* out, bool barrier, unsigned neighbour) {
  FLOWPRIOR_SHARED(float, shared);
  shared[threadIdx.x] = in[threadIdx.x];
  if (barrier) __syncthreads();
  out[threadIdx.x] = shared[(threadIdx.x + neighbour) % blockDim.x];
}

__global__ void write_beyond(const float* in, float* out) {
  FLOWPRIOR_SHARED(float, shared);
  shared[threadIdx.x + 1] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = shared[threadIdx.x + 1];
}

__global__ void read_unwritten(float* out) {
  FLOWPRIOR_SHARED(float, shared);
  if (threadIdx.x > 0) shared[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = shared[threadIdx.x];
}

__global__ void miss_barrier(float* out) {
  if (threadIdx.x != 5) __syncthreads();
  out[threadIdx.x] = 1;
}

__global__ void shuffle_part(float* out) {
  if (threadIdx.x < 20) out[threadIdx.x] = __shfl_xor_sync(0xFFFFFFFFu, 1.0f, 1);
}

__global__ void misalign(const float* in, float* out) {
  FLOWPRIOR_EXPECT_ALIGNED(in + 1, 16);
  out[threadIdx.x] = in[threadIdx.x + 1];
}

__global__ void sum_warp(const float* in, float* out) {
  float sum = in[threadIdx.x];
  for (unsigned lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, lanes);
  out[threadIdx.x] = sum;
}

}  // namespace flowprior::cuda

// Runs fault `name` with 64 threads.
void run_fault(const std::string& name, const float* in, float* out) {
  using namespace flowprior::cuda;
  const dim3 grid(1), block(64);
  const unsigned bytes = 64 * sizeof(float);
  if (name == "none") FLOWPRIOR_LAUNCH(rotate, grid, block, bytes, nullptr, in, out, true, 1u);
  if (name == "no barrier, later") FLOWPRIOR_LAUNCH(rotate, grid, block, bytes, nullptr, in, out, false, 1u);
  if (name == "no barrier, earlier") FLOWPRIOR_LAUNCH(rotate, grid, block, bytes, nullptr, in, out, false, 63u);
  if (name == "write beyond") FLOWPRIOR_LAUNCH(write_beyond, grid, block, bytes, nullptr, in, out);
  if (name == "read unwritten") FLOWPRIOR_LAUNCH(read_unwritten, grid, block, bytes, nullptr, out);
  if (name == "missed barrier") FLOWPRIOR_LAUNCH(miss_barrier, grid, block, 0, nullptr, out);
  if (name == "part of a warp") FLOWPRIOR_LAUNCH(shuffle_part, grid, block, 0, nullptr, out);
  if (name == "misaligned") FLOWPRIOR_LAUNCH(misalign, grid, dim3(32), 0, nullptr, in, out);
  if (name == "too large") FLOWPRIOR_LAUNCH(sum_warp, dim3(1, 65536), block, 0, nullptr, in, out);
  if (name == "warp sum") FLOWPRIOR_LAUNCH(sum_warp, grid, block, 0, nullptr, in, out);
}
