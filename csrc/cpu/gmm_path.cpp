#include <torch/csrc/stable/library.h>

#include <tuple>

#include "dispatch.h"
#include "mixture.h"
#include "parallel.h"

namespace flowprior::cpu {

std::tuple<Tensor, Tensor, Tensor> gmm_path(const Tensor& logits, const Tensor& mean, const Tensor& scale,
                                            const Tensor& cond, const Tensor& x1, const Tensor& t,
                                            const Tensor& seed, double sigma_min) {
  constexpr const char* op = "gmm_path";
  const MixtureArgument mixture = mixture_of(logits, mean, scale, op);
  const Labels labels = labels_of(cond, mixture.parameters.conditions, op);
  const int64_t rows = cond.size(0), dim = mixture.parameters.dim;
  const ScalarType type = scalar_type_of(mixture.storage);
  check_dtype(x1, type, op, "x1");
  check_sizes(x1, {rows, dim}, op, "x1");
  const Tensor ends = adjacent_columns(x1);
  Tensor x_t = empty({rows, dim}, type), u_t = empty({rows, dim}, type), component = empty({rows}, ScalarType::Long);
  int64_t* const chosen = static_cast<int64_t*>(component.mutable_data_ptr());
  const SampleJob source = {mixture.parameters, labels, chosen, seed_of(seed, op), nullptr};
  const PathJob job = {source,    rows_of(ends),           row_values(t, rows, op, "t"),
                       sigma_min, x_t.mutable_data_ptr(), u_t.mutable_data_ptr()};
  choose_components(mixture, labels, rows, source.seed, chosen);
  run(kernels().gmm_path[mixture.storage], job, rows * noise_groups(dim), kNoiseGrain);
  return {x_t, u_t, component};
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, CPU, library) { library.impl("gmm_path", TORCH_BOX(&gmm_path)); }

}  // namespace flowprior::cpu
