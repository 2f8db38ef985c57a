#include <torch/csrc/stable/library.h>

#include <memory>
#include <tuple>

#include "density.h"
#include "dispatch.h"

namespace flowprior::cpu {

namespace {

// What all tasks of a call share.
struct Densities {
  MixtureArgument mixture;
  Tensor x;
  Tensor log_prob, responsibilities;
  DensityJob job;
};

// Checks x and makes outputs for every condition, or for one a row.
Densities densities_of(const Tensor& x, const MixtureArgument& mixture, bool every_condition, const char* op) {
  const ScalarType type = scalar_type_of(mixture.storage);
  expect_dtype(x, type, op, "x");
  expect_sizes(x, {-1, mixture.parameters.dim}, op, "x");
  const int64_t rows = x.size(0), components = mixture.parameters.components;
  const int64_t groups = every_condition ? mixture.parameters.conditions : 1;
  Densities densities = {mixture, adjacent_columns(x), {}, {}, {}};
  densities.log_prob = every_condition ? empty({rows, groups}, type) : empty({rows}, type);
  densities.responsibilities =
      every_condition ? empty({rows, groups, components}, type) : empty({rows, components}, type);
  densities.job.mixture = mixture.parameters;
  densities.job.x = rows_of(densities.x);
  densities.job.log_prob = densities.log_prob.mutable_data_ptr();
  densities.job.responsibilities = densities.responsibilities.mutable_data_ptr();
  densities.job.groups = groups;
  return densities;
}

// A thread's scratch.
struct Scratch {
  std::vector<double> constant;
  std::unique_ptr<double[]> joint;
  int64_t size = 0;

  double* joint_of(int64_t wanted) {
    if (wanted > size) joint.reset(new double[wanted]);
    size = std::max(size, wanted);
    return joint.get();
  }
};

void run_task(const Densities& densities, DensityJob job, Scratch& scratch) {
  const int64_t components = job.mixture.components, conditions = job.condition_end - job.condition_begin;
  if (job.row_begin == job.row_end || conditions == 0) return;
  scratch.constant.resize(conditions * components);
  for (int64_t c = 0; c < conditions; ++c) {
    log_weights(densities.mixture, job.condition_begin + c, scratch.constant.data() + c * components);
  }
  job.constant = scratch.constant.data();
  job.joint_stride = (job.row_end - job.row_begin + 15) / 16 * 16;
  job.joint = scratch.joint_of(conditions * components * job.joint_stride);
  kernels().density[densities.mixture.storage](job);
}

}  // namespace

std::tuple<Tensor, Tensor> gmm_log_prob(const Tensor& x, const Tensor& logits, const Tensor& mean,
                                        const Tensor& scale, const Tensor& cond) {
  constexpr const char* op = "gmm_log_prob";
  const MixtureArgument mixture = mixture_of(logits, mean, scale, op);
  const Labels labels = labels_of(cond, mixture.parameters.conditions, op);
  const Densities densities = densities_of(x, mixture, false, op);
  const int64_t rows = x.size(0);
  expect_sizes(cond, {rows}, op, "cond");
  const SortedRows sorted = sort_rows(labels, rows, mixture.parameters.conditions);
  const int64_t grain = grain_of(kTileGrain, mixture.parameters.dim * mixture.parameters.components);
  torch::stable::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    Scratch scratch;
    for_each_segment(sorted, begin, end, kTaskRows, [&](size_t place, int64_t first, int64_t last) {
      DensityJob job = densities.job;
      job.order = sorted.order.data();
      job.row_begin = first;
      job.row_end = last;
      job.condition_begin = job.first_condition = sorted.used[place];
      job.condition_end = job.condition_begin + 1;
      run_task(densities, job, scratch);
    });
  });
  return {densities.log_prob, densities.responsibilities};
}

std::tuple<Tensor, Tensor> gmm_log_prob_all(const Tensor& x, const Tensor& logits, const Tensor& mean,
                                            const Tensor& scale) {
  constexpr const char* op = "gmm_log_prob_all";
  const MixtureArgument mixture = mixture_of(logits, mean, scale, op);
  const Densities densities = densities_of(x, mixture, true, op);
  const Grid grid = grid_of(x.size(0), mixture.parameters);
  torch::stable::parallel_for(0, grid.tasks(), grid.grain, [&](int64_t begin, int64_t end) {
    Scratch scratch;
    for (int64_t task = begin; task < end; ++task) {
      DensityJob job = densities.job;
      job.row_begin = grid.row_begin(task);
      job.row_end = grid.row_end(task);
      job.condition_begin = grid.condition_begin(task);
      job.condition_end = grid.condition_end(task);
      run_task(densities, job, scratch);
    }
  });
  return {densities.log_prob, densities.responsibilities};
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, CPU, library) {
  library.impl("gmm_log_prob", TORCH_BOX(&gmm_log_prob));
  library.impl("gmm_log_prob_all", TORCH_BOX(&gmm_log_prob_all));
}

}  // namespace flowprior::cpu
