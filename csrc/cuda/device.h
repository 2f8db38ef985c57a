// The device of an operator's tensors, current as long as this lives, and its current stream.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/tensor.h>

#include <string>

#include "launch.h"

// Where the operators register. tests/native/emulation/device_on_host.h takes the place of this header on the host.
#define FLOWPRIOR_DISPATCH_KEY CUDA

namespace flowprior::cuda {

class CurrentDevice {
 public:
  CurrentDevice(const char* op, const char* argument, const torch::stable::Tensor& tensor)
      : index_(index_of(op, argument, tensor)), guard_(index_), stream_(nullptr) {
    void* stream = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index_, &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }

  cudaStream_t stream() const { return stream_; }
  std::string name() const { return "cuda:" + std::to_string(index_); }

  bool holds(const torch::stable::Tensor& tensor) const {
    return tensor.is_cuda() && tensor.get_device_index() == index_;
  }

 private:
  using Index = torch::stable::accelerator::DeviceIndex;

  static Index index_of(const char* op, const char* argument, const torch::stable::Tensor& tensor) {
    STD_TORCH_CHECK(tensor.is_cuda(), op, ": expected ", argument,
                    " on a CUDA device, as other tensors are, got it on another device");
    return tensor.get_device_index();
  }

  Index index_;
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_;
};

}  // namespace flowprior::cuda
