// Checks of the operators' arguments, and how tensors become the pointers and strides of kernel jobs.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <initializer_list>

#include "../expected.h"
#include "kernels/jobs.h"

namespace flowprior::cpu {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// float32 or float64.
Storage storage_of(const Tensor& tensor, const char* op, const char* name);

ScalarType scalar_type_of(Storage storage);

// A matrix whose columns are adjacent: the tensor itself, or a contiguous copy.
Tensor adjacent_columns(const Tensor& tensor);

Rows rows_of(const Tensor& adjacent);

// The label of each row, every one in 0 … conditions − 1.
Labels labels_of(const Tensor& cond, int64_t conditions, const char* op);

uint64_t seed_of(const Tensor& seed, const char* op);

// An uninitialised tensor on the CPU.
Tensor empty(std::initializer_list<int64_t> sizes, ScalarType dtype);

}  // namespace flowprior::cpu
