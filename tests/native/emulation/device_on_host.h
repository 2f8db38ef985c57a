// The host in the place of csrc/cuda/device.h: the operators take CPU tensors, and have no stream.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <string>

#include "launch.h"

#define FLOWPRIOR_DISPATCH_KEY CPU

namespace flowprior::cuda {

class CurrentDevice {
 public:
  CurrentDevice(const char* op, const char* argument, const torch::stable::Tensor& tensor) {
    STD_TORCH_CHECK(holds(tensor), op, ": expected ", argument, " on the CPU, where kernels are emulated");
  }

  cudaStream_t stream() const { return nullptr; }
  std::string name() const { return "the CPU"; }
  bool holds(const torch::stable::Tensor& tensor) const { return tensor.is_cpu(); }
};

}  // namespace flowprior::cuda
