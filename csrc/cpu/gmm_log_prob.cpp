#include <torch/csrc/stable/library.h>

#include <cmath>
#include <memory>
#include <tuple>

#include "density.h"
#include "dispatch.h"

namespace flowprior::cpu {

namespace {

constexpr double kLog2Pi = 1.8378770664093454836;

// A thread's least share of scales whose logarithms are added, and of joint densities.
constexpr int64_t kDeterminantGrain = 32768;
constexpr int64_t kCombineGrain = 2048;

// Numbers of which only those of conditions in use are written and read.
std::unique_ptr<double[]> uninitialised(int64_t count) { return std::unique_ptr<double[]>(new double[count]); }

// What a component's log joint density has beside −½ distance: log weight − Σ log σ − D/2 log 2π.
std::unique_ptr<double[]> joint_constants(const MixtureArgument& mixture, const std::vector<int64_t>& used) {
  const Mixture& parameters = mixture.parameters;
  const int64_t components = parameters.components;
  const std::vector<int64_t> columns = columns_of(used, components);
  const int64_t all = parameters.conditions * components;
  auto constant = uninitialised(all);
  const auto determinant = uninitialised(all);
  const DeterminantJob job = {parameters, columns.data(), determinant.get()};
  run(kernels().determinant[mixture.storage], job, static_cast<int64_t>(columns.size()),
      grain_of(kDeterminantGrain, parameters.spherical ? 1 : parameters.dim));
  const double volume = 0.5 * static_cast<double>(parameters.dim) * kLog2Pi;
  for (const int64_t condition : used) {
    double* const of_condition = constant.get() + condition * components;
    log_weights(mixture, condition, of_condition);
    for (int64_t k = 0; k < components; ++k) of_condition[k] -= determinant[condition * components + k] + volume;
  }
  return constant;
}

// Turns distances [rows, groups, K] into log_prob and responsibilities.
void combine(const MixtureArgument& mixture, const std::vector<int64_t>& used, CombineJob job, int64_t rows,
             Tensor& log_prob, Tensor& responsibilities) {
  const auto constant = joint_constants(mixture, used);
  job.constant = constant.get();
  job.components = mixture.parameters.components;
  job.log_prob = log_prob.mutable_data_ptr();
  job.responsibilities = responsibilities.mutable_data_ptr();
  const int64_t compute = mixture.storage == kFloat64 ? kFloat64 : kFloat32;
  run(kernels().combine[compute], job, rows, grain_of(kCombineGrain, job.groups * job.components));
}

Tensor rows_argument(const Tensor& x, const MixtureArgument& mixture, const char* op) {
  check_dtype(x, scalar_type_of(mixture.storage), op, "x");
  check_sizes(x, {-1, mixture.parameters.dim}, op, "x");
  return adjacent_columns(x);
}

}  // namespace

std::tuple<Tensor, Tensor> gmm_log_prob(const Tensor& x, const Tensor& logits, const Tensor& mean,
                                        const Tensor& scale, const Tensor& cond) {
  constexpr const char* op = "gmm_log_prob";
  const MixtureArgument mixture = mixture_of(logits, mean, scale, op);
  const Tensor points = rows_argument(x, mixture, op);
  const Labels labels = labels_of(cond, mixture.parameters.conditions, op);
  const int64_t rows = points.size(0), components = mixture.parameters.components;
  check_sizes(cond, {rows}, op, "cond");
  const auto distance = uninitialised(rows * components);
  const SortedRows sorted = sort_rows(labels, rows, mixture.parameters.conditions);
  const Rows x_rows = rows_of(points);
  const JobKernel<DistanceJob> measure = kernels().distance[mixture.storage];
  const auto segments = [&](int64_t begin, int64_t end) {
    for_each_segment(sorted, begin, end, [&](size_t place, int64_t first, int64_t last) {
      const int64_t column = sorted.used[place] * components;
      measure({mixture.parameters, x_rows, sorted.order.data(), first, last, column, column + components,
               distance.get(), components, column});
    });
  };
  torch::stable::parallel_for(0, rows, grain_of(kTileGrain, mixture.parameters.dim * components), segments);
  const ScalarType type = compute_type_of(mixture.storage);
  Tensor log_prob = empty({rows}, type), responsibilities = empty({rows, components}, type);
  const CombineJob job = {distance.get(), nullptr, false, labels, 1, 0, nullptr, nullptr};
  combine(mixture, sorted.used, job, rows, log_prob, responsibilities);
  return {log_prob, responsibilities};
}

std::tuple<Tensor, Tensor> gmm_log_prob_all(const Tensor& x, const Tensor& logits, const Tensor& mean,
                                            const Tensor& scale) {
  constexpr const char* op = "gmm_log_prob_all";
  const MixtureArgument mixture = mixture_of(logits, mean, scale, op);
  const Tensor points = rows_argument(x, mixture, op);
  const int64_t rows = points.size(0), conditions = mixture.parameters.conditions;
  const int64_t components = mixture.parameters.components, columns = conditions * components;
  const auto distance = uninitialised(rows * columns);
  const Rows x_rows = rows_of(points);
  const JobKernel<DistanceJob> measure = kernels().distance[mixture.storage];
  const Grid grid = grid_of(rows, columns, mixture.parameters.dim);
  torch::stable::parallel_for(0, grid.tasks(), grid.grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      measure({mixture.parameters, x_rows, nullptr, grid.row_begin(task), grid.row_end(task),
               grid.column_begin(task), grid.column_end(task), distance.get(), columns, 0});
    }
  });
  const ScalarType type = compute_type_of(mixture.storage);
  Tensor log_prob = empty({rows, conditions}, type);
  Tensor responsibilities = empty({rows, conditions, components}, type);
  const CombineJob job = {distance.get(), nullptr, true, {}, conditions, 0, nullptr, nullptr};
  combine(mixture, all_conditions(conditions), job, rows, log_prob, responsibilities);
  return {log_prob, responsibilities};
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, CPU, library) {
  library.impl("gmm_log_prob", TORCH_BOX(&gmm_log_prob));
  library.impl("gmm_log_prob_all", TORCH_BOX(&gmm_log_prob_all));
}

}  // namespace flowprior::cpu
