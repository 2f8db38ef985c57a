#include <torch/csrc/stable/library.h>

#include <memory>
#include <tuple>

#include "density.h"
#include "dispatch.h"

namespace flowprior::cpu {

namespace {

constexpr int64_t kComponentChunk = 16;  // components of one task
constexpr int64_t kLeastRows = 16;       // rows that are worth preparing components for

// Rows that have their components in common: those of a condition, or all rows with all components.
struct RowGroup {
  int64_t row_begin, row_end;
  int64_t component_begin, component_end;
  int64_t grad_first;
};

struct Gradients {
  MixtureArgument mixture;
  Tensor x, grad_joint;  // kept alive
  Tensor grad_x, grad_mean, grad_scale;
  std::vector<RowGroup> groups;
  GradJob job;
  int64_t rows, blocks, terms;  // terms: of all sums over rows, components and columns
};

// Checks the arguments. grad_joint is [B, K], or [B, C, K] where every row has every condition's components.
Gradients gradients_of(const Tensor& grad_joint, const Tensor& x, const Tensor& mean, const Tensor& scale,
                       bool every_condition, const char* op) {
  const MixtureArgument mixture = mixture_of(mean, scale, op);
  const auto& parameters = mixture.parameters;
  const ScalarType type = scalar_type_of(mixture.storage);
  expect_dtype(x, type, op, "x");
  expect_sizes(x, {-1, parameters.dim}, op, "x");
  const int64_t rows = x.size(0), components = parameters.components;
  expect_dtype(grad_joint, type, op, "grad_joint");
  if (every_condition) {
    expect_sizes(grad_joint, {rows, parameters.conditions, components}, op, "grad_joint");
  } else {
    expect_sizes(grad_joint, {rows, components}, op, "grad_joint");
  }
  Gradients gradients = {mixture, adjacent_columns(x), torch::stable::contiguous(grad_joint), {}, {}, {}, {}, {}, 0, 0, 0};
  const int64_t row_components = every_condition ? parameters.conditions * components : components;
  gradients.job.mixture = parameters;
  gradients.job.x = rows_of(gradients.x);
  gradients.job.grad_joint = gradients.grad_joint.const_data_ptr();
  gradients.job.grad_stride = row_components;
  gradients.rows = rows;
  gradients.blocks = (parameters.dim + kGradColumns - 1) / kGradColumns;
  gradients.terms = rows * row_components * parameters.dim;
  gradients.grad_x = empty({rows, parameters.dim}, type);
  return gradients;
}

// Parameters of conditions that no row has get gradients of 0.
Tensor parameter_gradient(const Tensor& parameter, bool all_used) {
  return all_used ? torch::stable::empty_like(parameter) : torch::stable::new_zeros(parameter, parameter.sizes());
}

GradJob job_of(const Gradients& gradients, const RowGroup& group) {
  GradJob job = gradients.job;
  job.row_begin = group.row_begin;
  job.row_end = group.row_end;
  job.component_begin = group.component_begin;
  job.component_end = group.component_end;
  job.grad_first = group.grad_first;
  return job;
}

// Units are the rows of all groups once for each part of the columns; columns are parted where rows are few.
void run_grad_x(Gradients& gradients) {
  const int64_t rows = gradients.rows, blocks = gradients.blocks;
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t parts = std::clamp<int64_t>(threads * kLeastRows / std::max<int64_t>(1, rows), 1, blocks);
  const auto kernel = kernels().grad_x[gradients.mixture.storage];
  void* const out = gradients.grad_x.mutable_data_ptr();
  const auto piece = [&](const RowGroup& group, int64_t part, int64_t first, int64_t last) {
    GradXJob job = {job_of(gradients, group), out};
    job.gradient.block_begin = blocks * part / parts;
    job.gradient.block_end = blocks * (part + 1) / parts;
    for (; first < last; first += kGradTaskRows) {
      job.gradient.row_begin = first;
      job.gradient.row_end = std::min(first + kGradTaskRows, last);
      kernel(job);
    }
  };
  const auto work = [&](int64_t begin, int64_t end) {
    for (int64_t part = begin / rows; part * rows < end; ++part) {
      for (const RowGroup& group : gradients.groups) {
        const int64_t first = std::max(group.row_begin, begin - part * rows);
        const int64_t last = std::min(group.row_end, end - part * rows);
        if (first < last) piece(group, part, first, last);
      }
    }
  };
  if (rows > 0) torch::stable::parallel_for(0, parts * rows, grain_of(kTileGrain, gradients.terms / (parts * rows)), work);
}

// One unit is a chunk of components of a group, and a block of columns; blocks come first, so that threads get the
// same share of every group.
void run_grad_parameters(Gradients& gradients, double* spherical) {
  const Mixture& mixture = gradients.mixture.parameters;
  const int64_t groups = static_cast<int64_t>(gradients.groups.size());
  const int64_t row_components = gradients.job.grad_stride;
  const int64_t chunks = (row_components + kComponentChunk - 1) / kComponentChunk;
  const int64_t units = gradients.blocks * groups * chunks;
  const auto kernel = kernels().grad_parameters[gradients.mixture.storage];
  void* const grad_mean = gradients.grad_mean.mutable_data_ptr();
  void* const grad_scale = mixture.spherical ? nullptr : gradients.grad_scale.mutable_data_ptr();
  const auto work = [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const RowGroup& group = gradients.groups[unit / chunks % groups];
      GradParametersJob job = {job_of(gradients, group), grad_mean, grad_scale, spherical};
      GradJob& gradient = job.gradient;
      gradient.component_begin = group.component_begin + unit % chunks * kComponentChunk;
      gradient.component_end = std::min(gradient.component_begin + kComponentChunk, group.component_end);
      gradient.block_begin = unit / (chunks * groups);
      gradient.block_end = gradient.block_begin + 1;
      kernel(job);
    }
  };
  if (units > 0) torch::stable::parallel_for(0, units, grain_of(kTileGrain, gradients.terms / units), work);
}

template <typename T>
void add_blocks(const Gradients& gradients, const double* spherical, void* data) {
  const Mixture& mixture = gradients.mixture.parameters;
  for (const RowGroup& group : gradients.groups) {
    for (int64_t j = group.component_begin; j < group.component_end; ++j) {
      double sum = 0;
      for (int64_t block = 0; block < gradients.blocks; ++block) {
        sum += spherical[block * mixture.conditions * mixture.components + j];
      }
      static_cast<T*>(data)[j] = static_cast<T>(sum);
    }
  }
}

void store_spherical(const Gradients& gradients, const double* spherical) {
  const auto add = gradients.mixture.storage == kFloat64 ? add_blocks<double> : add_blocks<float>;
  add(gradients, spherical, gradients.grad_scale.mutable_data_ptr());
}

std::tuple<Tensor, Tensor, Tensor> run_gradients(Gradients& gradients, bool all_used) {
  const MixtureArgument& mixture = gradients.mixture;
  const Mixture& parameters = mixture.parameters;
  gradients.grad_mean = parameter_gradient(mixture.mean, all_used);
  gradients.grad_scale = parameter_gradient(mixture.scale, all_used);
  std::unique_ptr<double[]> spherical;
  if (parameters.spherical) {
    spherical.reset(new double[gradients.blocks * parameters.conditions * parameters.components]);
  }
  run_grad_x(gradients);
  run_grad_parameters(gradients, spherical.get());
  if (spherical) store_spherical(gradients, spherical.get());
  return {gradients.grad_x, gradients.grad_mean, gradients.grad_scale};
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> gmm_log_prob_backward(const Tensor& grad_joint, const Tensor& x,
                                                         const Tensor& mean, const Tensor& scale,
                                                         const Tensor& cond) {
  constexpr const char* op = "gmm_log_prob_backward";
  Gradients gradients = gradients_of(grad_joint, x, mean, scale, false, op);
  const int64_t conditions = gradients.job.mixture.conditions, components = gradients.job.mixture.components;
  const Labels labels = labels_of(cond, conditions, op);
  expect_sizes(cond, {gradients.rows}, op, "cond");
  const SortedRows sorted = sort_rows(labels, gradients.rows, conditions);
  gradients.job.order = sorted.order.data();
  for (size_t i = 0; i < sorted.used.size(); ++i) {
    const int64_t first = sorted.used[i] * components;
    gradients.groups.push_back({sorted.begin[i], sorted.begin[i + 1], first, first + components, first});
  }
  return run_gradients(gradients, static_cast<int64_t>(sorted.used.size()) == conditions);
}

std::tuple<Tensor, Tensor, Tensor> gmm_log_prob_all_backward(const Tensor& grad_joint, const Tensor& x,
                                                             const Tensor& mean, const Tensor& scale) {
  Gradients gradients = gradients_of(grad_joint, x, mean, scale, true, "gmm_log_prob_all_backward");
  gradients.groups.push_back({0, gradients.rows, 0, gradients.job.grad_stride, 0});
  return run_gradients(gradients, true);
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, CPU, library) {
  library.impl("gmm_log_prob_backward", TORCH_BOX(&gmm_log_prob_backward));
  library.impl("gmm_log_prob_all_backward", TORCH_BOX(&gmm_log_prob_all_backward));
}

}  // namespace flowprior::cpu
