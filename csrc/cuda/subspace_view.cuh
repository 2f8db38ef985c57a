// Standardised point, linear velocity, and the deviation that it leaves, of points between source and data.
#pragma once

#include "subspace.cuh"

namespace flowprior::cuda {

template <typename C>
struct ViewInputs {
  Rows<const C> x, times, slope;
  const C* lengths;  // [bases, columns]
  C floor, least;
};

template <typename C>
struct ViewOutputs {
  Rows<C> standard, velocity, scale;
};

// Weights of the axes in shared memory, rank apart: coordinates, which are there, what the linear velocity makes of
// them, and the variances of the state and of what that velocity leaves.
template <typename C>
FLOWPRIOR_DEVICE void weigh_axes(const PathTerms<C>& path, const C* spread, const C* slope, int64_t rank, C* weights) {
  for (int64_t j = threadIdx.x; j < rank; j += blockDim.x) {
    const AxisMoments<C> moments = axis_moments(path, weights[j], spread[j], slope[j]);
    weights[rank + j] = moments.velocity;
    weights[2 * rank + j] = moments.state;
    weights[3 * rank + j] = moments.left;
  }
}

template <typename C>
FLOWPRIOR_DEVICE void view_column(const Subspace<C>& subspace, const ViewInputs<C>& inputs, const PathTerms<C>& path,
                                  const C* basis, const C* weights, int64_t row, int64_t d, const ViewOutputs<C>& out) {
  const int64_t rank = subspace.rank;
  C inside = 0;
  AxisMoments<C> along = {0, 0, 0};
  for (int64_t j = 0; j < rank; ++j) {
    const C axis = basis[j * subspace.width + d], square = axis * axis;
    inside = fused(weights[j], axis, inside);
    along.velocity = fused(weights[rank + j], axis, along.velocity);
    along.state = fused(weights[2 * rank + j], square, along.state);
    along.left = fused(weights[3 * rank + j], square, along.left);
  }
  const C length = inputs.lengths[subspace.cond[row] * subspace.columns + d];
  const Coordinate<C> coordinate = {
      inputs.x.at(row)[d], subspace.loc.at(row)[d], subspace.noise.at(row)[d], length, inside, along};
  const CoordinateView<C> seen = view_of(path, coordinate, inputs.floor, inputs.least);
  out.standard.at(row)[d] = seen.standard;
  out.velocity.at(row)[d] = seen.velocity;
  out.scale.at(row)[d] = seen.scale;
}

// Two blocks a multiprocessor at the least: for more, the compiler would spill registers.
template <typename C>
__global__ void __launch_bounds__(kThreads, 2)
    subspace_view_kernel(Subspace<C> subspace, ViewInputs<C> inputs, int64_t rows, ViewOutputs<C> out) {
  FLOWPRIOR_SHARED(C, chunk);
  C* const weights = chunk + kSubspaceChunk;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const C* const basis = subspace.basis_of(row);
    if (!basis) {
      for (int64_t d = threadIdx.x; d < subspace.columns; d += blockDim.x) {
        out.standard.at(row)[d] = out.velocity.at(row)[d] = out.scale.at(row)[d] = not_a_number<C>();
      }
      continue;
    }
    const PathTerms<C> path = path_terms(inputs.times.at(row));
    const C *const x = inputs.x.at(row), *const loc = subspace.loc.at(row), *const noise = subspace.noise.at(row);
    project(subspace, basis, [&](int64_t d) { return whitened(x[d], path.mean, loc[d], noise[d]); }, chunk, weights);
    weigh_axes(path, subspace.spread.at(row), inputs.slope.at(row), subspace.rank, weights);
    __syncthreads();
    for (int64_t d = threadIdx.x; d < subspace.columns; d += blockDim.x) {
      view_column(subspace, inputs, path, basis, weights, row, d, out);
    }
    __syncthreads();  // the next row writes `weights`
  }
}

template <typename C>
void launch_subspace_view(Subspace<C> subspace, ViewInputs<C> inputs, int64_t rows, ViewOutputs<C> out,
                          cudaStream_t stream) {
  if (rows == 0) return;
  const auto shared = static_cast<unsigned>((kSubspaceChunk + 4 * subspace.rank) * sizeof(C));
  FLOWPRIOR_LAUNCH(subspace_view_kernel<C>, dim3(blocks_x(rows)), dim3(kThreads), shared, stream, subspace, inputs, rows,
                   out);
}

}  // namespace flowprior::cuda
