#include <torch/csrc/stable/library.h>

#include <optional>

#include "dispatch.h"
#include "subspace.h"

namespace flowprior::cpu {

Tensor subspace_source(std::optional<Tensor> x1, const Tensor& latent, const Tensor& epsilon, const Tensor& loc,
                       const Tensor& noise, const Tensor& spread, const Tensor& basis, const Tensor& cond) {
  constexpr const char* op = "subspace_source";
  const SubspaceArgument subspace = subspace_of(loc, noise, spread, basis, cond, 2, 2, op);
  const int64_t dim = subspace.parameters.dim, rank = subspace.parameters.rank;
  const Tensor normal = matrix(epsilon, subspace, dim, op, "epsilon");
  const Tensor data = x1 ? matrix(*x1, subspace, dim, op, "x1") : normal;
  const Tensor latents = matrix(latent, subspace, rank, op, "latent");
  Tensor x0 = empty({subspace.rows, dim}, scalar_type_of(subspace.storage));
  const SubspaceSourceJob job = {subspace.parameters, x1 ? rows_of(data) : Rows{}, rows_of(latents), rows_of(normal),
                                 x0.mutable_data_ptr()};
  run(kernels().subspace_source[subspace.storage], job, static_cast<int64_t>(subspace.tasks.size()), subspace.grain());
  return x0;
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, CPU, library) { library.impl("subspace_source", TORCH_BOX(&subspace_source)); }

}  // namespace flowprior::cpu
