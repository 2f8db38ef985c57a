// What the operators hand to the kernels: pointers, sizes and nothing of torch, so that a kernel file compiles
// in a moment and once per instruction set. Strides are in elements; the columns of a row are adjacent.
#pragma once

#include <cstdint>

namespace flowprior::cpu {

// The types of numbers, in the order of the kernel tables. 16-bit numbers are plain torch's on the CPU.
enum Storage : int { kFloat32, kFloat64, kStorages };

struct Rows {
  const void* data;
  int64_t stride;
};

struct Labels {
  const int64_t* data;
  int64_t stride;
  // Always inlined: a copy of its own could be compiled for one instruction set and called from another.
  __attribute__((always_inline)) int64_t operator[](int64_t row) const { return data[row * stride]; }
};

// The components of every condition as one list of columns, condition · components + component.
struct Mixture {
  const void* mean;   // [conditions · components, dim]
  const void* scale;  // the same, or [conditions · components] where spherical
  bool spherical;
  int64_t conditions, components, dim;
};

struct ComponentJob {
  const double* cumulative;  // [slots, components], sums of the unnormalised weights
  const int64_t* last;       // [slots], the last component whose weight is not 0
  const int32_t* slot;       // [conditions], where the condition's table lies
  Labels cond;
  int64_t components;
  uint64_t seed;
  int64_t* component;  // [B]
};

struct SampleJob {
  Mixture mixture;
  Labels cond;
  const int64_t* component;
  uint64_t seed;
  void* x0;  // [B, dim]
};

// Work is counted in units of one row's kColumns columns, so that a few long rows keep many threads busy.
constexpr int64_t kColumns = 4096;

struct LossJob {
  Rows v, u, x0, x1;  // u, or x0 and x1
  bool has_u;
  const void* weight;  // one a row, weight_stride apart, or null
  int64_t weight_stride;
  double gradient_scale;  // 2/D, or 2/(D B)
  int64_t dim;
  double* partial;  // [B, units of a row], sums of squares
  void* gradient;   // [B, dim], or null
};

// The densities of rows under the components of conditions condition_begin … condition_end − 1. Row i of the list is
// order[i], or i where order is null.
struct DensityJob {
  Mixture mixture;
  Rows x;
  const int64_t* order;
  int64_t row_begin, row_end;
  int64_t condition_begin, condition_end;
  double* constant;  // one a component, comes as log weights; scratch
  double* joint;     // scratch, [components in all, joint_stride], joint_stride being the rows padded to 16
  int64_t joint_stride;
  void* log_prob;          // [B, groups]
  void* responsibilities;  // [B, groups, components]
  int64_t groups;          // of an output row; group 0 is condition first_condition
  int64_t first_condition;
};

// Columns of x that the gradients' kernels hold at a time. Sums over columns are made of blocks of this length, so
// that they do not depend on how columns were shared out.
constexpr int64_t kGradColumns = 128;

// The most rows of a GradXJob.
constexpr int64_t kGradTaskRows = 128;

// What both gradients read. d/d joint of row b and component j stands at [b · grad_stride + j − grad_first].
struct GradJob {
  Mixture mixture;
  Rows x;
  const void* grad_joint;
  int64_t grad_stride, grad_first;
  const int64_t* order;  // rows, as in DensityJob
  int64_t row_begin, row_end;
  int64_t component_begin, component_end;  // among all conditions · components
  int64_t block_begin, block_end;          // blocks of kGradColumns columns
};

struct GradXJob {
  GradJob gradient;
  void* grad_x;  // [B, dim]
};

struct GradParametersJob {
  GradJob gradient;
  void* grad_mean;    // [conditions · components, dim]
  void* grad_scale;   // the same, where not spherical
  double* spherical;  // [blocks, conditions · components], where spherical
};

// Rows order[begin] … order[begin + count − 1], which share a basis.
struct SubspaceTask {
  int64_t basis, begin, count;
};

// The linear part of a subspace prior under the condition of each row.
struct Subspace {
  const void* basis;  // [bases, rank, width], transposed; 0 past the first dim columns
  Rows loc, noise, spread;
  int64_t dim, rank, width;
  const int64_t* order;
  const SubspaceTask* tasks;
  void* scratch;  // [B, scratch_stride], by place in the order
  int64_t scratch_stride;
};

struct SubspaceSourceJob {
  Subspace subspace;  // scratch: 2 width + 2 rank a row
  Rows x1, latent, epsilon;  // without x1, `latent` are the latents themselves
  void* x0;  // [B, dim]
};

struct SubspaceViewJob {
  Subspace subspace;  // scratch: width + 4 rank a row
  Rows x, times, slope;
  const void* lengths;  // [bases, dim]
  double floor, least;
  void* standard;  // [B, dim]
  void* velocity;
  void* scale;
};

}  // namespace flowprior::cpu
