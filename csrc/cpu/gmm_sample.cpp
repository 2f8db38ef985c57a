#include <torch/csrc/stable/library.h>

#include <tuple>

#include "dispatch.h"
#include "mixture.h"
#include "parallel.h"

namespace flowprior::cpu {

std::tuple<Tensor, Tensor> gmm_sample(const Tensor& logits, const Tensor& mean, const Tensor& scale,
                                      const Tensor& cond, const Tensor& seed) {
  constexpr const char* op = "gmm_sample";
  const MixtureArgument mixture = mixture_of(logits, mean, scale, op);
  const Labels labels = labels_of(cond, mixture.parameters.conditions, op);
  const int64_t rows = cond.size(0), dim = mixture.parameters.dim;
  Tensor x0 = empty({rows, dim}, scalar_type_of(mixture.storage));
  Tensor component = empty({rows}, ScalarType::Long);
  int64_t* const chosen = static_cast<int64_t*>(component.mutable_data_ptr());
  const SampleJob job = {mixture.parameters, labels, chosen, seed_of(seed, op), x0.mutable_data_ptr()};
  choose_components(mixture, labels, rows, job.seed, chosen);
  run(kernels().gmm_sample[mixture.storage], job, rows * noise_groups(dim), kNoiseGrain);
  return {x0, component};
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, CPU, library) { library.impl("gmm_sample", TORCH_BOX(&gmm_sample)); }

}  // namespace flowprior::cpu
