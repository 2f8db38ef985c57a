#include "gmm_log_prob.cuh"

#include "gmm_log_prob_all.cuh"
#include "tensors.h"

namespace flowprior::cuda {

std::tuple<Tensor, Tensor> gmm_log_prob(const Tensor& x, const Tensor& logits, const Tensor& mean, const Tensor& scale,
                                        const Tensor& cond) {
  constexpr const char* name = "gmm_log_prob";
  const Operation op(name, "x", x);
  return Operation::dispatch(name, "x", x, [&](auto type) -> std::tuple<Tensor, Tensor> {
    using T = decltype(type);
    using C = Compute<T>;
    const auto tables = op.tables<T>(&logits, mean, scale);
    const int64_t components = mean.size(1), columns = mean.size(2);
    op.check("x", x, kScalarType<T>, {-1, columns});
    const int64_t rows = x.size(0);
    const Tensor data = op.rows("x", x, kScalarType<T>, rows, columns);
    const Tensor labels = op.labels(cond, rows);
    Tensor log_prob = torch::stable::new_empty(x, {rows}, kScalarType<C>);
    Tensor responsibilities = torch::stable::new_empty(x, {rows, components}, kScalarType<C>);
    const LogProbPlan plan = LogProbPlan::of(rows, tables.mixture);
    const Tensor constant = Operation::doubles(x, plan.constants_size(components));
    const Tensor squares = Operation::doubles(x, plan.squares_size(rows, components));
    launch_gmm_log_prob(tables.mixture, Operation::input_rows<T>(data), Operation::data<int64_t>(labels), rows,
                        Operation::output<double>(constant), Operation::output<double>(squares),
                        Operation::output<C>(log_prob), Operation::output<C>(responsibilities), op.stream());
    return {log_prob, responsibilities};
  });
}

std::tuple<Tensor, Tensor> gmm_log_prob_all(const Tensor& x, const Tensor& logits, const Tensor& mean,
                                            const Tensor& scale) {
  constexpr const char* name = "gmm_log_prob_all";
  const Operation op(name, "x", x);
  return Operation::dispatch(name, "x", x, [&](auto type) -> std::tuple<Tensor, Tensor> {
    using T = decltype(type);
    using C = Compute<T>;
    const auto tables = op.tables<T>(&logits, mean, scale);
    const int64_t conditions = mean.size(0), components = mean.size(1), columns = mean.size(2);
    op.check("x", x, kScalarType<T>, {-1, columns});
    const int64_t rows = x.size(0);
    const Tensor data = op.rows("x", x, kScalarType<T>, rows, columns);
    Tensor log_prob = torch::stable::new_empty(x, {rows, conditions}, kScalarType<C>);
    Tensor responsibilities = torch::stable::new_empty(x, {rows, conditions, components}, kScalarType<C>);
    const LogProbAllPlan plan = LogProbAllPlan::of(rows, tables.mixture);
    const Tensor constant = Operation::doubles(x, conditions * components);
    const Tensor squares = Operation::doubles(x, plan.squares_size(rows, conditions * components));
    launch_gmm_log_prob_all(tables.mixture, Operation::input_rows<T>(data), rows, Operation::output<double>(constant),
                            Operation::output<double>(squares), Operation::output<C>(log_prob),
                            Operation::output<C>(responsibilities), op.stream());
    return {log_prob, responsibilities};
  });
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, FLOWPRIOR_DISPATCH_KEY, library) {
  library.impl("gmm_log_prob", TORCH_BOX(&gmm_log_prob));
  library.impl("gmm_log_prob_all", TORCH_BOX(&gmm_log_prob_all));
}

}  // namespace flowprior::cuda
