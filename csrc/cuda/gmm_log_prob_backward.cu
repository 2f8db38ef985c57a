#include "gmm_log_prob_backward.cuh"

#include <array>

#include "tensors.h"

namespace flowprior::cuda {

namespace {

// Labels in ascending order, and the rows they came from; equal labels keep the order of their rows.
std::tuple<Tensor, Tensor> sort_rows(const Tensor& labels) {
  std::array<StableIValue, 4> stack = {torch::stable::detail::from(labels),
                                       torch::stable::detail::from(std::optional<bool>(true)),
                                       torch::stable::detail::from(int64_t{0}), torch::stable::detail::from(false)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  return {torch::stable::detail::to<Tensor>(stack[0]), torch::stable::detail::to<Tensor>(stack[1])};
}

// cond is null where every row has every component.
std::tuple<Tensor, Tensor, Tensor> backward_of(const char* name, const Tensor& grad_joint, const Tensor& x,
                                               const Tensor& mean, const Tensor& scale, const Tensor* cond) {
  const Operation op(name, "x", x);
  return Operation::dispatch(name, "x", x, [&](auto type) -> std::tuple<Tensor, Tensor, Tensor> {
    using T = decltype(type);
    using C = Compute<T>;
    const auto tables = op.tables<T>(nullptr, mean, scale);
    const Mixture<T>& mixture = tables.mixture;
    const int64_t conditions = mean.size(0), components = mean.size(1), columns = mean.size(2);
    op.check("x", x, kScalarType<T>, {-1, columns});
    const int64_t rows = x.size(0);
    const Tensor data = op.rows("x", x, kScalarType<T>, rows, columns);
    if (cond) {
      op.check("grad_joint", grad_joint, kScalarType<C>, {rows, components});
    } else {
      op.check("grad_joint", grad_joint, kScalarType<C>, {rows, conditions, components});
    }
    const Tensor grad = torch::stable::contiguous(grad_joint);
    const int64_t width = cond ? components : conditions * components;
    const LogProbGradient<T> inputs = {mixture, Operation::input_rows<T>(data), Operation::data<C>(grad), rows, width};

    Tensor grad_x = torch::stable::new_empty(x, {rows, columns});
    Tensor grad_mean = torch::stable::new_empty(mean, {conditions, components, columns});
    Tensor grad_scale = torch::stable::new_empty(mean, {conditions, components, scale.size(2)});
    const Tensor partial = Operation::doubles(x, GradTablePlan::of(rows, mixture).partial_size(mixture));
    const Tensor labels = cond ? op.labels(*cond, rows) : x;
    const auto [sorted, order] = cond ? sort_rows(labels) : std::tuple<Tensor, Tensor>(x, x);
    const int64_t* const of_rows = cond ? Operation::data<int64_t>(labels) : nullptr;
    const RowOrder by_label = cond ? RowOrder{Operation::data<int64_t>(sorted), Operation::data<int64_t>(order)}
                                   : RowOrder{nullptr, nullptr};
    launch_gmm_log_prob_backward(inputs, of_rows, by_label, Operation::output<double>(partial),
                                 Operation::output_rows<T>(grad_x), Operation::output<T>(grad_mean),
                                 Operation::output<T>(grad_scale), op.stream());
    return {grad_x, grad_mean, grad_scale};
  });
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> gmm_log_prob_backward(const Tensor& grad_joint, const Tensor& x, const Tensor& mean,
                                                         const Tensor& scale, const Tensor& cond) {
  return backward_of("gmm_log_prob_backward", grad_joint, x, mean, scale, &cond);
}

std::tuple<Tensor, Tensor, Tensor> gmm_log_prob_all_backward(const Tensor& grad_joint, const Tensor& x,
                                                             const Tensor& mean, const Tensor& scale) {
  return backward_of("gmm_log_prob_all_backward", grad_joint, x, mean, scale, nullptr);
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, FLOWPRIOR_DISPATCH_KEY, library) {
  library.impl("gmm_log_prob_backward", TORCH_BOX(&gmm_log_prob_backward));
  library.impl("gmm_log_prob_all_backward", TORCH_BOX(&gmm_log_prob_all_backward));
}

}  // namespace flowprior::cuda
