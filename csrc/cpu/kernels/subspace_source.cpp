#include "subspace.h"
#include "table.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

// Where a row of scratch memory holds what: ψ^(−1/2) (x1 − m), ε, and the coordinates of both.
struct SourceScratch {
  int64_t white, epsilon, along, inside;
};

FLOWPRIOR_INLINE SourceScratch scratch_of(const Subspace& subspace) {
  return {0, subspace.width, 2 * subspace.width, 2 * subspace.width + subspace.rank};
}

// What stands along the axes in place of ε: √λ h0 − Qᵀ ε, from the datum's coordinates √λ h1, in their place, or from
// the latents h0 themselves.
template <typename C>
FLOWPRIOR_INLINE void exchange(bool infers, const C* spread, const C* latent, int64_t rank, const C* inside,
                               C* __restrict along) {
  for (int64_t j = 0; j < rank; ++j) {
    const C coordinate = infers ? inferred(along[j], spread[j], latent[j]) : square_root(spread[j]) * latent[j];
    along[j] = coordinate - inside[j];
  }
}

template <typename C>
FLOWPRIOR_INLINE void store_source(const C* loc, const C* noise, const C* epsilon, const C* along, int64_t count,
                                   C* __restrict x0) {
  _Pragma("omp simd") for (int64_t d = 0; d < count; ++d) {
    x0[d] = loc[d] + square_root(noise[d]) * (epsilon[d] + along[d]);
  }
}

template <int kRows, typename C>
FLOWPRIOR_INLINE void weigh_rows(const SubspaceSourceJob& job, const C* basis, int64_t first, C* scratch) {
  const Subspace& subspace = job.subspace;
  const int64_t dim = subspace.dim, rank = subspace.rank, width = subspace.width, stride = subspace.scratch_stride;
  const SourceScratch at = scratch_of(subspace);
  for (int i = 0; i < kRows; ++i) {
    const int64_t row = subspace.order[first + i];
    C* const own = scratch + i * stride;
    if (job.x1.data) {
      whiten(row_of<C>(job.x1, row), C(1), row_of<C>(subspace.loc, row), row_of<C>(subspace.noise, row), dim, width,
             own + at.white);
    }
    const C* const epsilon = row_of<C>(job.epsilon, row);
    for (int64_t d = 0; d < width; ++d) own[at.epsilon + d] = d < dim ? epsilon[d] : C(0);
  }
  if (job.x1.data) project<kRows>(basis, rank, width, scratch + at.white, stride, scratch + at.along, stride);
  project<kRows>(basis, rank, width, scratch + at.epsilon, stride, scratch + at.inside, stride);
  for (int i = 0; i < kRows; ++i) {
    const int64_t row = subspace.order[first + i];
    C* const own = scratch + i * stride;
    exchange(job.x1.data, row_of<C>(subspace.spread, row), row_of<C>(job.latent, row), rank, own + at.inside,
             own + at.along);
  }
}

template <int kRows, typename C>
FLOWPRIOR_INLINE void source_rows(const SubspaceSourceJob& job, int64_t number, int64_t first) {
  const Subspace& subspace = job.subspace;
  const int64_t dim = subspace.dim, rank = subspace.rank, width = subspace.width, stride = subspace.scratch_stride;
  const C* const basis = static_cast<const C*>(subspace.basis) + number * rank * width;
  C* const scratch = static_cast<C*>(subspace.scratch) + first * stride;
  const SourceScratch at = scratch_of(subspace);
  weigh_rows<kRows>(job, basis, first, scratch);
  alignas(64) C sums[kRows * kSubspaceColumns];
  for (int64_t column = 0; column < dim; column += kSubspaceColumns) {
    const int64_t padded = least_of(width - column, kSubspaceColumns);
    combine<kRows, 1, false>(basis + column, rank, width, padded, scratch + at.along, stride, &sums);
    for (int i = 0; i < kRows; ++i) {
      const int64_t row = subspace.order[first + i];
      store_source(row_of<C>(subspace.loc, row) + column, row_of<C>(subspace.noise, row) + column,
                   scratch + i * stride + at.epsilon + column, sums + i * kSubspaceColumns,
                   least_of(dim - column, kSubspaceColumns), static_cast<C*>(job.x0) + row * dim + column);
    }
  }
}

template <typename C>
static void subspace_source(const SubspaceSourceJob& job, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const SubspaceTask& task = job.subspace.tasks[i];
    for_each_rows(task, [&]<int kRows>(int64_t first) { source_rows<kRows, C>(job, task.basis, first); });
  }
}

void add_subspace_source(Kernels& kernels) {
  kernels.subspace_source[kFloat32] = subspace_source<float>;
  kernels.subspace_source[kFloat64] = subspace_source<double>;
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
