#include "gmm_sample.cuh"

#include "tensors.h"

namespace flowprior::cuda {

std::tuple<Tensor, Tensor> gmm_sample(const Tensor& logits, const Tensor& mean, const Tensor& scale,
                                      const Tensor& cond, const Tensor& seed) {
  constexpr const char* name = "gmm_sample";
  const Operation op(name, "mean", mean);
  return Operation::dispatch(name, "mean", mean, [&](auto type) -> std::tuple<Tensor, Tensor> {
    using T = decltype(type);
    const auto tables = op.tables<T>(&logits, mean, scale);
    const Tensor labels = op.labels(cond);
    op.check("seed", seed, ScalarType::Long, {1});
    const int64_t rows = labels.size(0), columns = mean.size(2);
    Tensor x0 = torch::stable::new_empty(mean, {rows, columns});
    Tensor component = torch::stable::new_empty(labels, {rows});
    launch_gmm_sample(tables.mixture, Operation::data<int64_t>(labels), Operation::data<int64_t>(seed), rows,
                      Operation::output_rows<T>(x0), Operation::output<int64_t>(component), op.stream());
    return {x0, component};
  });
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, FLOWPRIOR_DISPATCH_KEY, library) { library.impl("gmm_sample", TORCH_BOX(&gmm_sample)); }

}  // namespace flowprior::cuda
