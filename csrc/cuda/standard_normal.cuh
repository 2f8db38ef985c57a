// Rows of standard normal numbers. One call of Philox makes four.
#pragma once

#include "noise.cuh"

namespace flowprior::cuda {

template <typename T, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    standard_normal_kernel(Rows<T> out, int64_t rows, int64_t columns, const int64_t* seed, uint32_t stream) {
  constexpr int kCount = kGroup<T>;
  const auto bits = static_cast<uint64_t>(seed[0]);
  for (int64_t row = first_row(); row < rows; row += row_step()) {
    for (int64_t column = first_group() * kCount; column < columns; column += group_step() * kCount) {
      Compute<T> numbers[kCount];
      normals(bits, stream, row, column, numbers);
      store<kAligned>(out.at(row) + column, columns - column, numbers);
    }
  }
}

template <typename T>
void launch_standard_normal(Rows<T> out, int64_t rows, int64_t columns, const int64_t* seed, uint32_t stream,
                            cudaStream_t queue) {
  if (rows == 0 || columns == 0) return;
  const dim3 block = block_of_rows(groups_of<T>(columns)), grid = grid_of_rows(rows, groups_of<T>(columns), block);
  auto* const kernel = out.aligned() ? standard_normal_kernel<T, true> : standard_normal_kernel<T, false>;
  FLOWPRIOR_LAUNCH(kernel, grid, block, 0, queue, out, rows, columns, seed, stream);
}

}  // namespace flowprior::cuda
