#include "subspace_source.cuh"

#include <optional>

#include "subspace_tensors.h"

namespace flowprior::cuda {

Tensor subspace_source(std::optional<Tensor> x1, const Tensor& latent, const Tensor& epsilon, const Tensor& loc,
                       const Tensor& noise, const Tensor& spread, const Tensor& basis, const Tensor& cond) {
  constexpr const char* name = "subspace_source";
  const Operation op(name, "basis", basis);
  return dispatch_computed(name, basis, [&](auto type) {
    using C = decltype(type);
    const auto subspace = subspace_of<C>(name, op, loc, noise, spread, basis, cond);
    const int64_t rows = subspace.rows, columns = subspace.tables.columns;
    const Tensor latents = op.rows("latent", latent, kScalarType<C>, rows, subspace.tables.rank);
    const Tensor normal = op.rows("epsilon", epsilon, kScalarType<C>, rows, columns);
    const Tensor data = x1 ? op.rows("x1", *x1, kScalarType<C>, rows, columns) : normal;
    Tensor x0 = torch::stable::new_empty(normal, {rows, columns});
    launch_subspace_source(subspace.tables,
                           SourceInputs<C>{x1 ? Operation::input_rows<C>(data) : Rows<const C>{nullptr, 0}, Operation::input_rows<C>(latents),
                                           Operation::input_rows<C>(normal)},
                           rows, Operation::output_rows<C>(x0), op.stream());
    return x0;
  });
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, FLOWPRIOR_DISPATCH_KEY, library) {
  library.impl("subspace_source", TORCH_BOX(&subspace_source));
}

}  // namespace flowprior::cuda
