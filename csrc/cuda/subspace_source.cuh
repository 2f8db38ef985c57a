// x0 = m + ψ^½ (Q λ^½ h0 + (I − QQᵀ) ε), the latents h0 inferred from x1, or given.
#pragma once

#include "subspace.cuh"

namespace flowprior::cuda {

template <typename C>
struct SourceInputs {
  Rows<const C> x1, latent, epsilon;  // x1 may be null
};

template <typename C>
__global__ void __launch_bounds__(kThreads)
    subspace_source_kernel(Subspace<C> subspace, SourceInputs<C> inputs, int64_t rows, Rows<C> out) {
  FLOWPRIOR_SHARED(C, chunk);
  C* const along = chunk + kSubspaceChunk;
  C* const inside = along + subspace.rank;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const C* const basis = subspace.basis_of(row);
    C* const to = out.at(row);
    if (!basis) {
      for (int64_t d = threadIdx.x; d < subspace.columns; d += blockDim.x) to[d] = not_a_number<C>();
      continue;
    }
    const bool infers = inputs.x1.data;
    const C *const x1 = inputs.x1.at(row), *const epsilon = inputs.epsilon.at(row);
    const C *const latent = inputs.latent.at(row), *const spread = subspace.spread.at(row);
    const C *const loc = subspace.loc.at(row), *const noise = subspace.noise.at(row);
    if (infers) {
      project(subspace, basis, [&](int64_t d) { return whitened(x1[d], C(1), loc[d], noise[d]); }, chunk, along);
    }
    project(subspace, basis, [&](int64_t d) { return epsilon[d]; }, chunk, inside);
    for (int64_t j = threadIdx.x; j < subspace.rank; j += blockDim.x) {
      const C coordinate = infers ? inferred(along[j], spread[j], latent[j]) : square_root(spread[j]) * latent[j];
      along[j] = coordinate - inside[j];
    }
    __syncthreads();
    for (int64_t d = threadIdx.x; d < subspace.columns; d += blockDim.x) {
      C sum = 0;
      for (int64_t j = 0; j < subspace.rank; ++j) sum = fused(along[j], basis[j * subspace.width + d], sum);
      to[d] = loc[d] + square_root(noise[d]) * (epsilon[d] + sum);
    }
    __syncthreads();  // the next row writes `along`
  }
}

template <typename C>
void launch_subspace_source(Subspace<C> subspace, SourceInputs<C> inputs, int64_t rows, Rows<C> out,
                            cudaStream_t stream) {
  if (rows == 0) return;
  const auto shared = static_cast<unsigned>((kSubspaceChunk + 2 * subspace.rank) * sizeof(C));
  FLOWPRIOR_LAUNCH(subspace_source_kernel<C>, dim3(blocks_x(rows)), dim3(kThreads), shared, stream, subspace, inputs,
                   rows, out);
}

}  // namespace flowprior::cuda
