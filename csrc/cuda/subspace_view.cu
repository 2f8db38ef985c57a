#include "subspace_view.cuh"

#include "subspace_tensors.h"

namespace flowprior::cuda {

std::tuple<Tensor, Tensor, Tensor> subspace_view(const Tensor& x, const Tensor& times, const Tensor& loc,
                                                 const Tensor& noise, const Tensor& spread, const Tensor& slope,
                                                 const Tensor& basis, const Tensor& lengths, const Tensor& cond,
                                                 double floor, double least) {
  constexpr const char* name = "subspace_view";
  const Operation op(name, "basis", basis);
  return dispatch_computed(name, basis, [&](auto type) -> std::tuple<Tensor, Tensor, Tensor> {
    using C = decltype(type);
    const auto subspace = subspace_of<C>(name, op, loc, noise, spread, basis, cond);
    const int64_t rows = subspace.rows, columns = subspace.tables.columns;
    const Tensor points = op.rows("x", x, kScalarType<C>, rows, columns);
    const Tensor coefficients = op.rows("times", times, kScalarType<C>, rows, 4);
    const Tensor slopes = op.rows("slope", slope, kScalarType<C>, rows, subspace.tables.rank);
    op.check("lengths", lengths, kScalarType<C>, {basis.size(0), loc.size(1)});
    const Tensor squares = torch::stable::contiguous(lengths);
    Tensor standard = torch::stable::new_empty(points, {rows, columns});
    Tensor velocity = torch::stable::new_empty(points, {rows, columns});
    Tensor scale = torch::stable::new_empty(points, {rows, columns});
    launch_subspace_view(
        subspace.tables,
        ViewInputs<C>{Operation::input_rows<C>(points), Operation::input_rows<C>(coefficients),
                      Operation::input_rows<C>(slopes), Operation::data<C>(squares), static_cast<C>(floor),
                      static_cast<C>(least)},
        rows,
        ViewOutputs<C>{Operation::output_rows<C>(standard), Operation::output_rows<C>(velocity),
                       Operation::output_rows<C>(scale)},
        op.stream());
    return {standard, velocity, scale};
  });
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, FLOWPRIOR_DISPATCH_KEY, library) {
  library.impl("subspace_view", TORCH_BOX(&subspace_view));
}

}  // namespace flowprior::cuda
