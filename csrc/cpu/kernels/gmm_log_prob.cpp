#include "distances.h"
#include "exp_log.h"
#include "log_determinant.h"
#include "table.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

// Rows that are normalised together, one a lane.
constexpr int64_t kJointRows = 64;

// What a component's log joint density has beside −½ distance: log weight − Σ log σ − D/2 log 2π.
template <typename T>
static void add_determinants(const DensityJob& job) {
  const double volume = 0.9189385332046727418 * static_cast<double>(job.mixture.dim);
  const int64_t first = job.condition_begin * job.mixture.components;
  const int64_t columns = job.condition_end * job.mixture.components - first;
  for (int64_t i = 0; i < columns; ++i) job.constant[i] -= log_determinant<T>(job.mixture, first + i) + volume;
}

// For up to kJointRows rows and one condition, distances become exponentials of the log joint densities less their
// greatest, and the log of their sum is found.
struct GroupSums {
  alignas(64) double greatest[kJointRows], sum[kJointRows], log_prob[kJointRows];
};

FLOWPRIOR_INLINE void exponentiate(const double* constant, int64_t components, double* joint, int64_t stride,
                                   int64_t rows, GroupSums& group) {
  for (int64_t i = 0; i < rows; ++i) group.greatest[i] = -__builtin_inf();
  for (int64_t i = 0; i < rows; ++i) group.sum[i] = 0;
  for (int64_t k = 0; k < components; ++k) {
    double* const of_component = joint + k * stride;
    for (int64_t i = 0; i < rows; ++i) {
      const double density = constant[k] - 0.5 * of_component[i], most = group.greatest[i];
      of_component[i] = density;
      group.greatest[i] = density <= most ? most : density;  // keeps NaN
    }
  }
  for (int64_t k = 0; k < components; ++k) {
    double* const of_component = joint + k * stride;
    for (int64_t i = 0; i < rows; ++i) {
      of_component[i] = exp_of_negative(of_component[i] - group.greatest[i]);
      group.sum[i] += of_component[i];
    }
  }
  for (int64_t i = 0; i < rows; ++i) {
    const double most = group.greatest[i], log_prob = most + log_of_normal(group.sum[i]);
    group.log_prob[i] = most == -__builtin_inf() ? most : log_prob;  // infinitely far from every component
  }
}

template <typename C>
static void normalise(const DensityJob& job, int64_t condition, int64_t begin) {
  const int64_t components = job.mixture.components, first = (condition - job.condition_begin) * components;
  double* const joint = job.joint + first * job.joint_stride + begin;
  const int64_t padded = job.joint_stride - begin < kJointRows ? job.joint_stride - begin : kJointRows;
  const int64_t left = job.row_end - job.row_begin - begin, rows = left < padded ? left : padded;
  GroupSums group;
  exponentiate(job.constant + first, components, joint, job.joint_stride, padded, group);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t row = listed_row(job, job.row_begin + begin + i);
    const int64_t at = row * job.groups + condition - job.first_condition;
    C* const responsibilities = static_cast<C*>(job.responsibilities) + at * components;
    static_cast<C*>(job.log_prob)[at] = static_cast<C>(group.log_prob[i]);
    const double share = 1.0 / group.sum[i];
    for (int64_t k = 0; k < components; ++k) {
      responsibilities[k] = static_cast<C>(joint[k * job.joint_stride + i] * share);
    }
  }
}

template <typename T>
static void density(const DensityJob& job) {
  add_determinants<T>(job);
  distances<T>(job);
  for (int64_t condition = job.condition_begin; condition < job.condition_end; ++condition) {
    for (int64_t begin = 0; begin < job.row_end - job.row_begin; begin += kJointRows) {
      normalise<T>(job, condition, begin);
    }
  }
}

void add_gmm_log_prob(Kernels& kernels) {
  kernels.density[kFloat32] = density<float>;
  kernels.density[kFloat64] = density<double>;
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
