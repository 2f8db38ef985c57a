#include <torch/csrc/stable/library.h>

#include <tuple>

#include "dispatch.h"
#include "subspace.h"

namespace flowprior::cpu {

std::tuple<Tensor, Tensor, Tensor> subspace_view(const Tensor& x, const Tensor& times, const Tensor& loc,
                                                 const Tensor& noise, const Tensor& spread, const Tensor& slope,
                                                 const Tensor& basis, const Tensor& lengths, const Tensor& cond,
                                                 double floor, double least) {
  constexpr const char* op = "subspace_view";
  const SubspaceArgument subspace = subspace_of(loc, noise, spread, basis, cond, 1, 4, op);
  const int64_t dim = subspace.parameters.dim, rank = subspace.parameters.rank;
  const ScalarType type = scalar_type_of(subspace.storage);
  const Tensor points = matrix(x, subspace, dim, op, "x"), slopes = matrix(slope, subspace, rank, op, "slope");
  const Tensor coefficients = matrix(times, subspace, 4, op, "times");
  expect_dtype(lengths, type, op, "lengths");
  expect_sizes(lengths, {basis.size(0), dim}, op, "lengths");
  const Tensor squares = torch::stable::contiguous(lengths);
  Tensor standard = empty({subspace.rows, dim}, type), velocity = empty({subspace.rows, dim}, type);
  Tensor scale = empty({subspace.rows, dim}, type);
  const SubspaceViewJob job = {subspace.parameters,
                               rows_of(points),
                               rows_of(coefficients),
                               rows_of(slopes),
                               squares.const_data_ptr(),
                               floor,
                               least,
                               standard.mutable_data_ptr(),
                               velocity.mutable_data_ptr(),
                               scale.mutable_data_ptr()};
  run(kernels().subspace_view[subspace.storage], job, static_cast<int64_t>(subspace.tasks.size()), subspace.grain());
  return {standard, velocity, scale};
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, CPU, library) { library.impl("subspace_view", TORCH_BOX(&subspace_view)); }

}  // namespace flowprior::cpu
