// The start drawn, interpolated and differentiated in one pass: x0 stays in registers.
#pragma once

#include "affine_path.cuh"
#include "gmm_sample.cuh"

namespace flowprior::cuda {

template <typename T, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    gmm_path_kernel(Mixture<T> mixture, const int64_t* cond, const int64_t* component, const int64_t* seed,
                    int64_t rows, Rows<const T> x1, StraightCoefficients<Compute<T>> coefficients, Rows<T> x_t,
                    Rows<T> u_t) {
  constexpr int kCount = kGroup<T>;
  const auto bits = static_cast<uint64_t>(seed[0]);
  for (int64_t row = first_row(); row < rows; row += row_step()) {
    const int64_t place = place_of(mixture, cond, component, row);
    const auto path = coefficients.at(row);
    for (int64_t column = first_group() * kCount; column < mixture.columns; column += group_step() * kCount) {
      const int64_t count = mixture.columns - column;
      Compute<T> x0[kCount], datum[kCount];
      load<kAligned>(x1.at(row) + column, count, datum);
      draw_start<kAligned>(mixture, place, bits, row, column, x0);
      store_path<kAligned>(path, x0, datum, count, x_t.at(row) + column, u_t.at(row) + column);
    }
  }
}

template <typename T>
void launch_gmm_path(Mixture<T> mixture, const int64_t* cond, const int64_t* seed, int64_t rows, Rows<const T> x1,
                     StraightCoefficients<Compute<T>> coefficients, Rows<T> x_t, Rows<T> u_t, int64_t* component,
                     cudaStream_t stream) {
  if (rows == 0) return;
  launch_choose_components(mixture, cond, seed, rows, component, stream);
  if (mixture.columns == 0) return;
  const int64_t groups = groups_of<T>(mixture.columns);
  const dim3 block = block_of_rows(groups), grid = grid_of_rows(rows, groups, block);
  const bool aligned = mixture.aligned() && x1.aligned() && x_t.aligned() && u_t.aligned();
  auto* const kernel = aligned ? gmm_path_kernel<T, true> : gmm_path_kernel<T, false>;
  FLOWPRIOR_LAUNCH(kernel, grid, block, 0, stream, mixture, cond, component, seed, rows, x1, coefficients, x_t, u_t);
}

}  // namespace flowprior::cuda
