#include "affine_path.cuh"

#include "tensors.h"

namespace flowprior::cuda {

namespace {

// make_coefficients(C{}) gives the kernel's coefficients.
template <typename MakeCoefficients>
std::tuple<Tensor, Tensor> path_of(const char* name, const Operation& op, const Tensor& x0, const Tensor& x1,
                                   MakeCoefficients make_coefficients) {
  return Operation::dispatch(name, "x1", x1, [&](auto type) -> std::tuple<Tensor, Tensor> {
    using T = decltype(type);
    op.check("x1", x1, kScalarType<T>, {-1, -1});
    const int64_t rows = x1.size(0), columns = x1.size(1);
    const Tensor start = op.rows("x0", x0, kScalarType<T>, rows, columns);
    const Tensor datum = op.rows("x1", x1, kScalarType<T>, rows, columns);
    Tensor x_t = torch::stable::new_empty(x1, {rows, columns});
    Tensor u_t = torch::stable::new_empty(x1, {rows, columns});
    launch_affine_path(Operation::input_rows<T>(start), Operation::input_rows<T>(datum),
                       make_coefficients(Compute<T>{}), rows, columns, Operation::output_rows<T>(x_t),
                       Operation::output_rows<T>(u_t), op.stream());
    return {x_t, u_t};
  });
}

}  // namespace

std::tuple<Tensor, Tensor> affine_path(const Tensor& x0, const Tensor& x1, const Tensor& alpha, const Tensor& sigma,
                                       const Tensor& alpha_dot, const Tensor& sigma_dot) {
  constexpr const char* name = "affine_path";
  const Operation op(name, "x1", x1);
  const ScalarType stored = x1.scalar_type(), computed = compute_type(x1);
  const auto numbers = [&](const char* argument, const Tensor& tensor) {
    return op.numbers(argument, tensor, computed, stored, x1.dim() > 0 ? x1.size(0) : -1);
  };
  const Tensor a = numbers("alpha", alpha), s = numbers("sigma", sigma);
  const Tensor a_dot = numbers("alpha_dot", alpha_dot), s_dot = numbers("sigma_dot", sigma_dot);
  return path_of(name, op, x0, x1, [&](auto type) {
    using C = decltype(type);
    return GivenCoefficients<C>{Operation::data<C>(a), Operation::data<C>(s), Operation::data<C>(a_dot),
                                Operation::data<C>(s_dot)};
  });
}

std::tuple<Tensor, Tensor> interpolate(const Tensor& x0, const Tensor& x1, const Tensor& t, double sigma_min) {
  constexpr const char* name = "interpolate";
  const Operation op(name, "x1", x1);
  const int64_t rows = x1.dim() > 0 ? x1.size(0) : -1;
  const Tensor times = op.numbers("t", t, compute_type(x1), x1.scalar_type(), rows);
  return path_of(name, op, x0, x1, [&](auto type) {
    using C = decltype(type);
    return StraightCoefficients<C>{Operation::data<C>(times), static_cast<C>(1.0 - sigma_min)};
  });
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, FLOWPRIOR_DISPATCH_KEY, library) {
  library.impl("affine_path", TORCH_BOX(&affine_path));
  library.impl("interpolate", TORCH_BOX(&interpolate));
}

}  // namespace flowprior::cuda
