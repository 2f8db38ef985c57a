// The parameters of a mixture as the operators receive them, and the choice of components.
#pragma once

#include <vector>

#include "arguments.h"

namespace flowprior::cpu {

struct MixtureArgument {
  Tensor logits, mean, scale;  // contiguous
  Storage storage;
  Mixture parameters;
};

// Checks mean [C, K, D] and scale [C, K, D] or [C, K, 1]; D and K at least 1, one type.
MixtureArgument mixture_of(const Tensor& mean, const Tensor& scale, const char* op);

// The same with logits [C, K].
MixtureArgument mixture_of(const Tensor& logits, const Tensor& mean, const Tensor& scale, const char* op);

// log_softmax of the logits of one condition, in float64.
void log_weights(const MixtureArgument& mixture, int64_t condition, double* out);

// Draws the component of every row into component [rows].
void choose_components(const MixtureArgument& mixture, Labels cond, int64_t rows, uint64_t seed, int64_t* component);

}  // namespace flowprior::cpu
