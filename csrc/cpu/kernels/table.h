// The kernels of one instruction set. Each kernels/<op>.cpp fills its own entries.
#pragma once

#include "jobs.h"

namespace flowprior::cpu {

// Works on units begin … end − 1, in an order and with a rounding that do not depend on the two.
template <typename Job>
using Kernel = void (*)(const Job& job, int64_t begin, int64_t end);

// Works on a whole job.
template <typename Job>
using JobKernel = void (*)(const Job& job);

struct Kernels {
  Kernel<ComponentJob> choose_component;                   // units: rows
  Kernel<SampleJob> gmm_sample[kStorages];                 // groups of four columns
  Kernel<LossJob> loss[kStorages];                         // kColumns columns of a row
  JobKernel<DensityJob> density[kStorages];
  JobKernel<GradXJob> grad_x[kStorages];
  JobKernel<GradParametersJob> grad_parameters[kStorages];
  Kernel<SubspaceSourceJob> subspace_source[kStorages];    // tasks
  Kernel<SubspaceViewJob> subspace_view[kStorages];        // the same
};

#define FLOWPRIOR_DECLARE_KERNELS(isa) \
  namespace isa {                      \
  void add_gmm_sample(Kernels&);       \
  void add_flow_matching_loss(Kernels&); \
  void add_gmm_log_prob(Kernels&);     \
  void add_gmm_log_prob_backward(Kernels&); \
  void add_subspace_source(Kernels&);  \
  void add_subspace_view(Kernels&);    \
  }

FLOWPRIOR_DECLARE_KERNELS(baseline)
FLOWPRIOR_DECLARE_KERNELS(avx2)

}  // namespace flowprior::cpu
