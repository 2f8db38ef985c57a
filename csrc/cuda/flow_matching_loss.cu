#include "flow_matching_loss.cuh"

#include "tensors.h"

namespace flowprior::cuda {

namespace {

struct LossArguments {
  const Tensor& v;
  const std::optional<Tensor>&u, &x0, &x1, &weight;
  bool mean, with_gradient;
};

// T is the type of v, S that of the target's tensors.
template <typename T, typename S>
std::tuple<Tensor, Tensor, Tensor> loss_of(const Operation& op, const LossArguments& arguments) {
  using C = Compute<T>;
  const int64_t rows = arguments.v.size(0), columns = arguments.v.size(1);
  const Tensor v = op.rows("v", arguments.v, kScalarType<T>, rows, columns);
  // The copies stay alive until the launch; the stream orders their release behind it.
  std::optional<Tensor> u, x0, x1, weight;
  Target<S> target = {};
  if (arguments.u) {
    u = op.rows("u", *arguments.u, kScalarType<S>, rows, columns);
    target.u = Operation::input_rows<S>(*u);
  } else {
    x0 = op.rows("x0", *arguments.x0, kScalarType<S>, rows, columns);
    x1 = op.rows("x1", *arguments.x1, kScalarType<S>, rows, columns);
    target.x0 = Operation::input_rows<S>(*x0);
    target.x1 = Operation::input_rows<S>(*x1);
  }
  if (arguments.weight) weight = op.numbers("weight", *arguments.weight, kScalarType<C>, kScalarType<T>, rows);

  constexpr ScalarType compute = kScalarType<C>;
  Tensor squared_error = torch::stable::new_empty(v, {rows}, compute);
  Tensor loss = arguments.mean ? torch::stable::new_empty(v, {}, compute) : torch::stable::new_empty(v, {rows}, compute);
  Tensor gradient =
      arguments.with_gradient ? torch::stable::new_empty(v, {rows, columns}) : torch::stable::new_empty(v, {0});
  const Tensor partial = Operation::doubles(v, LossPlan::of<T>(rows, columns).partial_size(rows));
  const double scale = static_cast<double>(columns) * (arguments.mean ? static_cast<double>(rows) : 1.0);
  const LossInputs<T, S> inputs = {
      Operation::input_rows<T>(v),
      target,
      weight ? Operation::data<C>(*weight) : nullptr,
      rows,
      columns,
      arguments.with_gradient ? Operation::output_rows<T>(gradient) : Rows<T>{nullptr, 0},
      2.0 / scale};
  launch_flow_matching_loss(inputs, arguments.mean, Operation::output<double>(partial),
                            Operation::output<C>(squared_error), Operation::output<C>(loss), op.stream());
  return {loss, squared_error, gradient};
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> flow_matching_loss(const Tensor& v, const std::optional<Tensor>& u,
                                                      const std::optional<Tensor>& x0, const std::optional<Tensor>& x1,
                                                      const std::optional<Tensor>& weight, bool mean,
                                                      bool with_gradient) {
  constexpr const char* name = "flow_matching_loss";
  const Operation op(name, "v", v);
  STD_TORCH_CHECK(u ? !x0 && !x1 : x0 && x1, name, ": expected either u, or x0 and x1");
  const Tensor& given = u ? *u : *x1;
  const LossArguments arguments = {v, u, x0, x1, weight, mean, with_gradient};
  return Operation::dispatch(name, "v", v, [&](auto type) -> std::tuple<Tensor, Tensor, Tensor> {
    using T = decltype(type);
    op.check("v", v, kScalarType<T>, {-1, -1});
    if constexpr (!std::is_same_v<T, float>) {
      if (given.scalar_type() == ScalarType::Float) return loss_of<T, float>(op, arguments);
    }
    return loss_of<T, T>(op, arguments);
  });
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, FLOWPRIOR_DISPATCH_KEY, library) {
  library.impl("flow_matching_loss", TORCH_BOX(&flow_matching_loss));
}

}  // namespace flowprior::cuda
