#include "mixture.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../math/weight.h"
#include "density.h"
#include "dispatch.h"

namespace flowprior::cpu {

namespace {

// A thread's least share of exponentials.
constexpr int64_t kWeightGrain = 2048;
constexpr int64_t kRowGrain = 1024;

template <typename T>
void copy_logits(const void* data, int64_t begin, int64_t count, double* out) {
  const T* const logits = static_cast<const T*>(data) + begin;
  for (int64_t k = 0; k < count; ++k) out[k] = static_cast<double>(logits[k]);
}

// The logits of one condition, and their greatest.
double read_logits(const MixtureArgument& mixture, int64_t condition, double* out) {
  const int64_t components = mixture.parameters.components;
  const auto copy = mixture.storage == kFloat64 ? copy_logits<double> : copy_logits<float>;
  copy(mixture.logits.const_data_ptr(), condition * components, components, out);
  double greatest = -std::numeric_limits<double>::infinity();
  for (int64_t k = 0; k < components; ++k) greatest = greater_logit(greatest, out[k]);
  return greatest;
}

// Cumulative sums of the weights, and the last component that can be drawn.
int64_t accumulate_weights(const MixtureArgument& mixture, int64_t condition, double* cumulative) {
  const double greatest = read_logits(mixture, condition, cumulative);
  double sum = 0;
  int64_t last = 0;
  for (int64_t k = 0; k < mixture.parameters.components; ++k) {
    const double weight = weight_of(cumulative[k], greatest);
    sum += weight;
    cumulative[k] = sum;
    if (weight > 0) last = k;
  }
  return last;
}

}  // namespace

MixtureArgument mixture_of(const Tensor& mean, const Tensor& scale, const char* op) {
  const Storage storage = storage_of(mean, op, "mean");
  expect_sizes(mean, {-1, -1, -1}, op, "mean");
  const int64_t conditions = mean.size(0), components = mean.size(1), dim = mean.size(2);
  STD_TORCH_CHECK(components > 0 && dim > 0, op, ": expected mean [C, K, D] with K and D of at least 1, got K = ",
                  components, " and D = ", dim);
  expect_dtype(scale, scalar_type_of(storage), op, "scale");
  const bool spherical = scale.dim() == 3 && scale.size(2) == 1 && dim > 1;
  expect_sizes(scale, {conditions, components, spherical ? 1 : dim}, op, "scale");
  MixtureArgument argument = {{}, torch::stable::contiguous(mean), torch::stable::contiguous(scale), storage, {}};
  argument.parameters = {argument.mean.const_data_ptr(), argument.scale.const_data_ptr(), spherical, conditions,
                         components, dim};
  return argument;
}

MixtureArgument mixture_of(const Tensor& logits, const Tensor& mean, const Tensor& scale, const char* op) {
  MixtureArgument argument = mixture_of(mean, scale, op);
  expect_dtype(logits, scalar_type_of(argument.storage), op, "logits");
  expect_sizes(logits, {mean.size(0), mean.size(1)}, op, "logits");
  argument.logits = torch::stable::contiguous(logits);
  return argument;
}

void log_weights(const MixtureArgument& mixture, int64_t condition, double* out) {
  const int64_t components = mixture.parameters.components;
  const double greatest = read_logits(mixture, condition, out);
  for (int64_t k = 0; k < components; ++k) out[k] -= greatest;
  double sum = 0;
  for (int64_t k = 0; k < components; ++k) sum += std::exp(out[k]);
  const double log_sum = std::log(sum);
  for (int64_t k = 0; k < components; ++k) out[k] -= log_sum;
}

void choose_components(const MixtureArgument& mixture, Labels cond, int64_t rows, uint64_t seed, int64_t* component) {
  const int64_t components = mixture.parameters.components;
  if (components == 1) return void(std::fill_n(component, rows, int64_t{0}));
  const std::vector<int64_t> used = sort_rows(cond, rows, mixture.parameters.conditions).used;
  const int64_t slots = static_cast<int64_t>(used.size());
  std::vector<int32_t> slot(mixture.parameters.conditions);
  std::vector<int64_t> last(slots);
  std::vector<double> cumulative(slots * components);
  torch::stable::parallel_for(0, slots, grain_of(kWeightGrain, components), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      slot[used[i]] = static_cast<int32_t>(i);
      last[i] = accumulate_weights(mixture, used[i], cumulative.data() + i * components);
    }
  });
  const ComponentJob job = {cumulative.data(), last.data(), slot.data(), cond, components, seed, component};
  run(kernels().choose_component, job, rows, kRowGrain);
}

}  // namespace flowprior::cpu
