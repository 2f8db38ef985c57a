#include "noise.h"
#include "storage.h"
#include "table.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

template <typename T>
static void standard_normal(const NormalJob& job, int64_t begin, int64_t end) {
  T* const out = static_cast<T*>(job.out);
  const auto store = [&](int64_t row, int64_t column, int64_t count, const Compute<T>* numbers) {
    store_block(out + row * job.dim + column, count, numbers);
  };
  for_each_noise<Compute<T>>(job.seed, job.stream, job.dim, begin, end, store);
}

void add_standard_normal(Kernels& kernels) {
  kernels.standard_normal[kFloat32] = standard_normal<float>;
  kernels.standard_normal[kFloat64] = standard_normal<double>;
  kernels.standard_normal[kBFloat16] = standard_normal<BFloat16>;
  kernels.standard_normal[kFloat16] = standard_normal<Float16>;
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
