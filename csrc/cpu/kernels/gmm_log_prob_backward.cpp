#include "grad_parameters.h"
#include "grad_x.h"
#include "table.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

template <typename T>
static void add(Kernels& kernels, Storage storage) {
  kernels.grad_x[storage] = grad_x<T>;
  kernels.grad_parameters[storage] = grad_parameters<T>;
}

void add_gmm_log_prob_backward(Kernels& kernels) {
  add<float>(kernels, kFloat32);
  add<double>(kernels, kFloat64);
  add<BFloat16>(kernels, kBFloat16);
  add<Float16>(kernels, kFloat16);
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
