#include <torch/csrc/stable/library.h>

#include <tuple>

#include "arguments.h"
#include "dispatch.h"
#include "parallel.h"

namespace flowprior::cpu {

namespace {

// The two ends of the path, one type and one shape [B, D], and the two outputs.
struct Ends {
  Storage storage;
  int64_t rows, dim;
  Tensor x0, x1, x_t, u_t;
};

Ends ends_of(const Tensor& x0, const Tensor& x1, const char* op) {
  const Storage storage = storage_of(x0, op, "x0");
  check_sizes(x0, {-1, -1}, op, "x0");
  const int64_t rows = x0.size(0), dim = x0.size(1);
  check_sizes(x1, {rows, dim}, op, "x1");
  check_dtype(x1, scalar_type_of(storage), op, "x1");
  const ScalarType type = scalar_type_of(storage);
  return {storage, rows, dim, adjacent_columns(x0), adjacent_columns(x1), empty({rows, dim}, type), empty({rows, dim}, type)};
}

template <typename Job>
std::tuple<Tensor, Tensor> run_path(const Ends& ends, Kernel<Job> kernel, const Job& job) {
  run(kernel, job, ends.rows * row_units(ends.dim), grain_of(kElementGrain, ends.dim));
  return {ends.x_t, ends.u_t};
}

}  // namespace

std::tuple<Tensor, Tensor> interpolate(const Tensor& x0, const Tensor& x1, const Tensor& t, double sigma_min) {
  constexpr const char* op = "interpolate";
  const Ends ends = ends_of(x0, x1, op);
  const InterpolateJob job = {rows_of(ends.x0),
                              rows_of(ends.x1),
                              row_values(t, ends.rows, op, "t"),
                              sigma_min,
                              ends.dim,
                              ends.x_t.mutable_data_ptr(),
                              ends.u_t.mutable_data_ptr()};
  return run_path(ends, kernels().interpolate[ends.storage], job);
}

std::tuple<Tensor, Tensor> affine_path(const Tensor& x0, const Tensor& x1, const Tensor& alpha, const Tensor& sigma,
                                       const Tensor& alpha_dot, const Tensor& sigma_dot) {
  constexpr const char* op = "affine_path";
  const Ends ends = ends_of(x0, x1, op);
  const AffineJob job = {rows_of(ends.x0),
                         rows_of(ends.x1),
                         row_values(alpha, ends.rows, op, "alpha"),
                         row_values(sigma, ends.rows, op, "sigma"),
                         row_values(alpha_dot, ends.rows, op, "alpha_dot"),
                         row_values(sigma_dot, ends.rows, op, "sigma_dot"),
                         ends.dim,
                         ends.x_t.mutable_data_ptr(),
                         ends.u_t.mutable_data_ptr()};
  return run_path(ends, kernels().affine_path[ends.storage], job);
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, CPU, library) {
  library.impl("interpolate", TORCH_BOX(&interpolate));
  library.impl("affine_path", TORCH_BOX(&affine_path));
}

}  // namespace flowprior::cpu
