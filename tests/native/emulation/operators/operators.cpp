// The CUDA operators whole (checks, layouts, outputs, sorting, registration) over emulated kernels: a library of
// torch operators for CPU tensors, named flowprior_emulated by the compiler's -Dflowprior=flowprior_emulated.
#include "flow_matching_loss.cu"
#include "gmm_log_prob.cu"
#include "gmm_log_prob_backward.cu"
#include "gmm_sample.cu"
#include "ops.cpp"
#include "subspace_source.cu"
#include "subspace_view.cu"
