// x_t = α x1 + σ x0 and u_t = α' x1 + σ' x0: both inputs read once, both outputs written once.
#pragma once

#include "rows.cuh"

namespace flowprior::cuda {

template <typename C>
struct PathCoefficients {
  C alpha, sigma, alpha_dot, sigma_dot;
};

// Each coefficient given for each row.
template <typename C>
struct GivenCoefficients {
  const C *alpha, *sigma, *alpha_dot, *sigma_dot;

  FLOWPRIOR_DEVICE PathCoefficients<C> at(int64_t row) const {
    return {alpha[row], sigma[row], alpha_dot[row], sigma_dot[row]};
  }
};

// α = t, σ = 1 − (1 − σ_min) t; slope = 1 − σ_min.
template <typename C>
struct StraightCoefficients {
  const C* t;
  C slope;

  FLOWPRIOR_DEVICE PathCoefficients<C> at(int64_t row) const {
    return {t[row], fused(-slope, t[row], C(1)), C(1), -slope};
  }
};

template <bool kAligned, int kCount, typename T, typename C>
FLOWPRIOR_DEVICE void store_path(const PathCoefficients<C>& path, const C (&x0)[kCount], const C (&x1)[kCount],
                                 int64_t count, T* x_t, T* u_t) {
  C value[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) value[i] = fused(path.alpha, x1[i], path.sigma * x0[i]);
  store<kAligned>(x_t, count, value);
#pragma unroll
  for (int i = 0; i < kCount; ++i) value[i] = fused(path.alpha_dot, x1[i], path.sigma_dot * x0[i]);
  store<kAligned>(u_t, count, value);
}

template <typename T, typename Coefficients, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    affine_path_kernel(Rows<const T> x0, Rows<const T> x1, Coefficients coefficients, int64_t rows, int64_t columns,
                       Rows<T> x_t, Rows<T> u_t) {
  constexpr int kCount = kGroup<T>;
  for (int64_t row = first_row(); row < rows; row += row_step()) {
    const auto path = coefficients.at(row);
    for (int64_t column = first_group() * kCount; column < columns; column += group_step() * kCount) {
      Compute<T> start[kCount], datum[kCount];
      load<kAligned>(x0.at(row) + column, columns - column, start);
      load<kAligned>(x1.at(row) + column, columns - column, datum);
      store_path<kAligned>(path, start, datum, columns - column, x_t.at(row) + column, u_t.at(row) + column);
    }
  }
}

template <typename T, typename Coefficients>
void launch_affine_path(Rows<const T> x0, Rows<const T> x1, Coefficients coefficients, int64_t rows, int64_t columns,
                        Rows<T> x_t, Rows<T> u_t, cudaStream_t stream) {
  if (rows == 0 || columns == 0) return;
  const dim3 block = block_of_rows(groups_of<T>(columns)), grid = grid_of_rows(rows, groups_of<T>(columns), block);
  const bool aligned = x0.aligned() && x1.aligned() && x_t.aligned() && u_t.aligned();
  auto* const kernel =
      aligned ? affine_path_kernel<T, Coefficients, true> : affine_path_kernel<T, Coefficients, false>;
  FLOWPRIOR_LAUNCH(kernel, grid, block, 0, stream, x0, x1, coefficients, rows, columns, x_t, u_t);
}

}  // namespace flowprior::cuda
