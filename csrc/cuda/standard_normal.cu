#include "standard_normal.cuh"

#include "tensors.h"

namespace flowprior::cuda {

Tensor standard_normal(const Tensor& like, const Tensor& seed, int64_t n, int64_t dim, int64_t stream) {
  constexpr const char* name = "standard_normal";
  const Operation op(name, "like", like);
  op.check("seed", seed, ScalarType::Long, {1});
  STD_TORCH_CHECK(n >= 0 && dim >= 0 && stream >= 0, name, ": expected n, dim and stream of at least 0, got ", n, ", ",
                  dim, " and ", stream);
  return Operation::dispatch(name, "like", like, [&](auto type) {
    using T = decltype(type);
    Tensor out = torch::stable::new_empty(like, {n, dim});
    launch_standard_normal(Operation::output_rows<T>(out), n, dim, Operation::data<int64_t>(seed),
                           static_cast<uint32_t>(stream), op.stream());
    return out;
  });
}

STABLE_TORCH_LIBRARY_IMPL(flowprior, FLOWPRIOR_DISPATCH_KEY, library) { library.impl("standard_normal", TORCH_BOX(&standard_normal)); }

}  // namespace flowprior::cuda
