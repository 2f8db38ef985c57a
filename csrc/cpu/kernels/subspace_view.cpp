#include "subspace.h"
#include "table.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

// A row's weights of the axes, each of them rank numbers: its coordinates, which are there, what the linear velocity
// makes of them, and the variances of the state and of what that velocity leaves.
template <typename C>
FLOWPRIOR_INLINE void weigh_axes(const PathTerms<C>& path, const C* spread, const C* slope, int64_t rank,
                                 C* __restrict inside) {
  for (int64_t j = 0; j < rank; ++j) {
    const AxisMoments<C> moments = axis_moments(path, inside[j], spread[j], slope[j]);
    inside[rank + j] = moments.velocity;
    inside[2 * rank + j] = moments.state;
    inside[3 * rank + j] = moments.left;
  }
}

// Sums over the axes for some columns of a row.
template <typename C>
struct AlongAxes {
  const C *inside, *velocity, *state, *left;
};

// A piece of a row: its numbers, and those of its condition.
template <typename C>
struct Piece {
  const C *x, *loc, *noise, *lengths;
  int64_t count;
};

template <typename C>
struct View {
  C *standard, *velocity, *scale;
};

template <typename C>
FLOWPRIOR_INLINE void finish(const PathTerms<C>& path, C floor, C least, const Piece<C>& piece,
                             const AlongAxes<C>& along, const View<C>& view) {
  _Pragma("omp simd") for (int64_t d = 0; d < piece.count; ++d) {
    const Coordinate<C> coordinate = {piece.x[d],      piece.loc[d],    piece.noise[d],
                                      piece.lengths[d], along.inside[d], {along.velocity[d], along.state[d], along.left[d]}};
    const CoordinateView<C> seen = view_of(path, coordinate, floor, least);
    view.standard[d] = seen.standard;
    view.velocity[d] = seen.velocity;
    view.scale[d] = seen.scale;
  }
}

// Whitened distances of kRows rows from their means, then their weights of the axes, into scratch memory.
template <int kRows, typename C>
FLOWPRIOR_INLINE void weigh_rows(const SubspaceViewJob& job, const C* basis, int64_t first, PathTerms<C>* paths) {
  const Subspace& subspace = job.subspace;
  const int64_t dim = subspace.dim, rank = subspace.rank, width = subspace.width, stride = subspace.scratch_stride;
  C* const white = static_cast<C*>(subspace.scratch) + first * stride;
  for (int i = 0; i < kRows; ++i) {
    const int64_t row = subspace.order[first + i];
    paths[i] = path_terms(row_of<C>(job.times, row));
    whiten(row_of<C>(job.x, row), paths[i].mean, row_of<C>(subspace.loc, row), row_of<C>(subspace.noise, row), dim,
           width, white + i * stride);
  }
  project<kRows>(basis, rank, width, white, stride, white + width, stride);
  for (int i = 0; i < kRows; ++i) {
    const int64_t row = subspace.order[first + i];
    weigh_axes(paths[i], row_of<C>(subspace.spread, row), row_of<C>(job.slope, row), rank, white + i * stride + width);
  }
}

template <int kRows, typename C>
FLOWPRIOR_INLINE void view_rows(const SubspaceViewJob& job, int64_t number, int64_t first) {
  const Subspace& subspace = job.subspace;
  const int64_t dim = subspace.dim, rank = subspace.rank, width = subspace.width, stride = subspace.scratch_stride;
  const C* const basis = static_cast<const C*>(subspace.basis) + number * rank * width;
  const C* const lengths = static_cast<const C*>(job.lengths) + number * dim;
  const C* const weights = static_cast<const C*>(subspace.scratch) + first * stride + width;
  PathTerms<C> paths[kRows];
  weigh_rows<kRows>(job, basis, first, paths);
  alignas(64) C sums[4][kRows * kSubspaceColumns];
  for (int64_t column = 0; column < dim; column += kSubspaceColumns) {
    const int64_t padded = least_of(width - column, kSubspaceColumns);
    combine<kRows, 2, false>(basis + column, rank, width, padded, weights, stride, sums);
    combine<kRows, 2, true>(basis + column, rank, width, padded, weights + 2 * rank, stride, sums + 2);
    for (int i = 0; i < kRows; ++i) {
      const int64_t row = subspace.order[first + i], at = row * dim + column, own = i * kSubspaceColumns;
      const Piece<C> piece = {row_of<C>(job.x, row) + column,
                              row_of<C>(subspace.loc, row) + column,
                              row_of<C>(subspace.noise, row) + column,
                              lengths + column,
                              least_of(dim - column, kSubspaceColumns)};
      const AlongAxes<C> along = {sums[0] + own, sums[1] + own, sums[2] + own, sums[3] + own};
      const View<C> view = {static_cast<C*>(job.standard) + at, static_cast<C*>(job.velocity) + at,
                            static_cast<C*>(job.scale) + at};
      finish(paths[i], static_cast<C>(job.floor), static_cast<C>(job.least), piece, along, view);
    }
  }
}

template <typename C>
static void subspace_view(const SubspaceViewJob& job, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const SubspaceTask& task = job.subspace.tasks[i];
    for_each_rows(task, [&]<int kRows>(int64_t first) { view_rows<kRows, C>(job, task.basis, first); });
  }
}

void add_subspace_view(Kernels& kernels) {
  kernels.subspace_view[kFloat32] = subspace_view<float>;
  kernels.subspace_view[kFloat64] = subspace_view<double>;
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
