#include <torch/csrc/stable/library.h>

#include <optional>
#include <tuple>
#include <vector>

#include "arguments.h"
#include "dispatch.h"
#include "parallel.h"

namespace flowprior::cpu {

namespace {

constexpr const char* op = "flow_matching_loss";

// What the kernel works on, with the tensors that keep its pointers alive.
struct LossArgument {
  Storage storage;
  int64_t rows, dim;
  Tensor v;
  std::vector<Tensor> targets;
  LossJob job;
};

Rows add_target(LossArgument& loss, const Tensor& target, const char* name) {
  expect_sizes(target, {loss.rows, loss.dim}, op, name);
  expect_dtype(target, scalar_type_of(loss.storage), op, name);
  loss.targets.push_back(adjacent_columns(target));
  return rows_of(loss.targets.back());
}

LossArgument loss_of(const Tensor& v, const std::optional<Tensor>& u, const std::optional<Tensor>& x0,
                     const std::optional<Tensor>& x1, const std::optional<Tensor>& weight) {
  const Storage storage = storage_of(v, op, "v");
  expect_sizes(v, {-1, -1}, op, "v");
  LossArgument loss = {storage, v.size(0), v.size(1), adjacent_columns(v), {}, {}};
  STD_TORCH_CHECK(loss.dim > 0, op, ": expected v [B, D] with D of at least 1, got D = 0");
  STD_TORCH_CHECK(u.has_value() != x0.has_value() && x0.has_value() == x1.has_value(), op,
                  ": expected either u, or x0 and x1");
  loss.job.v = rows_of(loss.v);
  loss.job.dim = loss.dim;
  loss.job.has_u = u.has_value();
  if (u) {
    loss.job.u = add_target(loss, *u, "u");
  } else {
    loss.job.x0 = add_target(loss, *x0, "x0");
    loss.job.x1 = add_target(loss, *x1, "x1");
  }
  if (weight) {
    expect_dtype(*weight, scalar_type_of(storage), op, "weight");
    expect_sizes(*weight, {loss.rows}, op, "weight");
    loss.job.weight = weight->const_data_ptr();
    loss.job.weight_stride = weight->stride(0);
  }
  return loss;
}

// Turns the sums of squares into squared_error [B] and loss, [B] or one number. The sums are added in one order,
// whichever thread made them.
template <typename C>
void finish(const LossArgument& argument, const double* partial, bool mean, C* squared_error, C* loss) {
  const int64_t units = row_units(argument.dim);
  const double share = 1.0 / static_cast<double>(argument.dim);
  double total = 0;
  for (int64_t row = 0; row < argument.rows; ++row) {
    double sum = 0;
    for (int64_t unit = 0; unit < units; ++unit) sum += partial[row * units + unit];
    const double error = sum * share;
    const LossJob& job = argument.job;
    const double weight = job.weight ? static_cast<const C*>(job.weight)[row * job.weight_stride] : 1.0;
    const double weighted = weight * error;
    squared_error[row] = static_cast<C>(error);
    if (!mean) loss[row] = static_cast<C>(weighted);
    total += weighted;
  }
  if (mean) *loss = static_cast<C>(total / static_cast<double>(argument.rows));
}

// Where the gradient belongs: d loss / d v = 2 w (v − target)/D, and by B as well for the mean.
Tensor prepare_gradient(LossArgument& argument, bool mean, bool with_gradient) {
  const ScalarType type = scalar_type_of(argument.storage);
  if (!with_gradient) return empty({0}, type);
  const double count = static_cast<double>(argument.dim) * (mean ? static_cast<double>(argument.rows) : 1.0);
  Tensor gradient = empty({argument.rows, argument.dim}, type);
  argument.job.gradient = gradient.mutable_data_ptr();
  argument.job.gradient_scale = 2.0 / count;
  return gradient;
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> flow_matching_loss(const Tensor& v, std::optional<Tensor> u,
                                                      std::optional<Tensor> x0, std::optional<Tensor> x1,
                                                      std::optional<Tensor> weight, bool mean, bool with_gradient) {
  LossArgument argument = loss_of(v, u, x0, x1, weight);
  const Tensor gradient = prepare_gradient(argument, mean, with_gradient);
  const int64_t units = argument.rows * row_units(argument.dim);
  std::vector<double> partial(units);
  argument.job.partial = partial.data();
  run(kernels().loss[argument.storage], argument.job, units, grain_of(kElementGrain, argument.dim));
  const ScalarType type = scalar_type_of(argument.storage);
  Tensor squared_error = empty({argument.rows}, type);
  Tensor loss = mean ? empty({}, type) : empty({argument.rows}, type);
  void* const errors = squared_error.mutable_data_ptr();
  if (argument.storage == kFloat64) {
    finish(argument, partial.data(), mean, static_cast<double*>(errors), static_cast<double*>(loss.mutable_data_ptr()));
  } else {
    finish(argument, partial.data(), mean, static_cast<float*>(errors), static_cast<float*>(loss.mutable_data_ptr()));
  }
  return {loss, squared_error, gradient};
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, CPU, library) {
  library.impl("flow_matching_loss", TORCH_BOX(&flow_matching_loss));
}

}  // namespace flowprior::cpu
