#include "gmm_path.cuh"

#include "tensors.h"

namespace flowprior::cuda {

std::tuple<Tensor, Tensor, Tensor> gmm_path(const Tensor& logits, const Tensor& mean, const Tensor& scale,
                                            const Tensor& cond, const Tensor& x1, const Tensor& t, const Tensor& seed,
                                            double sigma_min) {
  constexpr const char* name = "gmm_path";
  const Operation op(name, "mean", mean);
  return Operation::dispatch(name, "mean", mean, [&](auto type) -> std::tuple<Tensor, Tensor, Tensor> {
    using T = decltype(type);
    using C = Compute<T>;
    const auto tables = op.tables<T>(&logits, mean, scale);
    const Tensor labels = op.labels(cond);
    op.check("seed", seed, ScalarType::Long, {1});
    const int64_t rows = labels.size(0), columns = mean.size(2);
    const Tensor data = op.rows("x1", x1, kScalarType<T>, rows, columns);
    const Tensor times = op.numbers("t", t, kScalarType<C>, kScalarType<T>, rows);
    Tensor x_t = torch::stable::new_empty(data, {rows, columns});
    Tensor u_t = torch::stable::new_empty(data, {rows, columns});
    Tensor component = torch::stable::new_empty(labels, {rows});
    launch_gmm_path(tables.mixture, Operation::data<int64_t>(labels), Operation::data<int64_t>(seed), rows,
                    Operation::input_rows<T>(data),
                    StraightCoefficients<C>{Operation::data<C>(times), static_cast<C>(1.0 - sigma_min)},
                    Operation::output_rows<T>(x_t), Operation::output_rows<T>(u_t),
                    Operation::output<int64_t>(component), op.stream());
    return {x_t, u_t, component};
  });
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, FLOWPRIOR_DISPATCH_KEY, library) { library.impl("gmm_path", TORCH_BOX(&gmm_path)); }

}  // namespace flowprior::cuda
