#include "grad_parameters.h"
#include "grad_x.h"
#include "table.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

void add_gmm_log_prob_backward(Kernels& kernels) {
  kernels.grad_x[kFloat32] = grad_x<float>;
  kernels.grad_x[kFloat64] = grad_x<double>;
  kernels.grad_parameters[kFloat32] = grad_parameters<float>;
  kernels.grad_parameters[kFloat64] = grad_parameters<double>;
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
