#include <torch/csrc/stable/library.h>

#include "arguments.h"
#include "dispatch.h"
#include "parallel.h"

namespace flowprior::cpu {

Tensor standard_normal(const Tensor& like, const Tensor& seed, int64_t n, int64_t dim, int64_t stream) {
  constexpr const char* op = "standard_normal";
  const Storage storage = storage_of(like, op, "like");
  STD_TORCH_CHECK(n >= 0 && dim >= 0, op, ": expected n and dim of at least 0, got ", n, " and ", dim);
  STD_TORCH_CHECK(stream >= 0 && stream <= UINT32_MAX, op, ": expected a stream of 32 bits, got ", stream);
  Tensor out = empty({n, dim}, scalar_type_of(storage));
  const NormalJob job = {out.mutable_data_ptr(), dim, seed_of(seed, op), static_cast<uint32_t>(stream)};
  run(kernels().standard_normal[storage], job, n * noise_groups(dim), kNoiseGrain);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, CPU, library) {
  library.impl("standard_normal", TORCH_BOX(&standard_normal));
}

}  // namespace flowprior::cpu
