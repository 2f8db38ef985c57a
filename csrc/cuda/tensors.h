// Tensors on their way into kernels: checks, layouts, outputs, the device and its stream.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <initializer_list>
#include <optional>
#include <tuple>
#include <utility>

#include "expected.h"
#include "mixture.cuh"

#if defined(__CUDACC__)
#include "device.h"
#else
#include "device_on_host.h"
#endif

namespace flowprior::cuda {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename T>
constexpr ScalarType kScalarType = ScalarType::Undefined;
template <>
inline constexpr ScalarType kScalarType<float> = ScalarType::Float;
template <>
inline constexpr ScalarType kScalarType<double> = ScalarType::Double;
template <>
inline constexpr ScalarType kScalarType<BFloat16> = ScalarType::BFloat16;
template <>
inline constexpr ScalarType kScalarType<Half> = ScalarType::Half;
template <>
inline constexpr ScalarType kScalarType<int64_t> = ScalarType::Long;

inline ScalarType compute_type(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// An operator at work on one device.
class Operation {
 public:
  Operation(const char* name, const char* argument, const Tensor& tensor)
      : name_(name), device_(name, argument, tensor) {}

  cudaStream_t stream() const { return device_.stream(); }

  // An argument on this device, of a dtype and of sizes, where −1 fits anything.
  void check(const char* argument, const Tensor& tensor, ScalarType dtype, std::initializer_list<int64_t> sizes) const {
    STD_TORCH_CHECK(device_.holds(tensor), name_, ": expected ", argument, " on ", device_.name(),
                    ", as the other tensors, got it on another device");
    expect_dtype(tensor, dtype, name_, argument);
    expect_sizes(tensor, sizes, name_, argument);
  }

  // Rows whose columns are adjacent: the tensor itself, or a contiguous copy.
  Tensor rows(const char* argument, const Tensor& tensor, ScalarType dtype, int64_t rows, int64_t columns) const {
    check(argument, tensor, dtype, {rows, columns});
    return columns <= 1 || tensor.stride(1) == 1 ? tensor : torch::stable::contiguous(tensor);
  }

  // One number a row in `dtype`; a tensor of `stored`, the dtype of the rows, is converted.
  Tensor numbers(const char* argument, const Tensor& tensor, ScalarType dtype, ScalarType stored, int64_t rows) const {
    check(argument, tensor, tensor.scalar_type() == stored ? stored : dtype, {rows});
    return torch::stable::contiguous(torch::stable::to(tensor, dtype));
  }

  Tensor labels(const Tensor& cond, int64_t rows = -1) const {
    check("cond", cond, ScalarType::Long, {rows});
    return torch::stable::contiguous(cond);
  }

  // A mixture's tables, contiguous, with at least one of everything. logits may be missing.
  template <typename T>
  struct Tables {
    Tensor logits, mean, scale;
    Mixture<T> mixture;
  };

  template <typename T>
  Tables<T> tables(const Tensor* logits, const Tensor& mean, const Tensor& scale) const {
    constexpr ScalarType dtype = kScalarType<T>;
    check("mean", mean, dtype, {-1, -1, -1});
    const int64_t conditions = mean.size(0), components = mean.size(1), columns = mean.size(2);
    STD_TORCH_CHECK(conditions > 0 && components > 0 && columns > 0, name_,
                    ": expected mean [C, K, D] with C, K and D of at least 1, got ", sizes_text(mean.sizes().data(), 3));
    const bool spherical = scale.dim() == 3 && scale.size(2) == 1;
    check("scale", scale, dtype, {conditions, components, spherical ? 1 : columns});
    if (logits) check("logits", *logits, dtype, {conditions, components});
    const Tensor plain_mean = torch::stable::contiguous(mean), plain_scale = torch::stable::contiguous(scale);
    const Tensor plain_logits = logits ? torch::stable::contiguous(*logits) : plain_mean;
    const T* const weights = logits ? data<T>(plain_logits) : nullptr;
    return {plain_logits, plain_mean, plain_scale,
            {weights, data<T>(plain_mean), data<T>(plain_scale), conditions, components, columns, scale.size(2)}};
  }

  template <typename T>
  static const T* data(const Tensor& tensor) {
    return static_cast<const T*>(tensor.const_data_ptr());
  }

  template <typename T>
  static T* output(const Tensor& tensor) {
    return static_cast<T*>(tensor.mutable_data_ptr());
  }

  template <typename T>
  static Rows<const T> input_rows(const Tensor& tensor) {
    return {data<T>(tensor), tensor.stride(0)};
  }

  template <typename T>
  static Rows<T> output_rows(const Tensor& tensor) {
    return {output<T>(tensor), tensor.stride(0)};
  }

  // Memory for sums of doubles, from torch's allocator as all memory here.
  static Tensor doubles(const Tensor& like, int64_t count) {
    return torch::stable::new_empty(like, {count}, ScalarType::Double);
  }

  // Calls function(T{}) with the T of a floating-point dtype.
  template <typename Function>
  static auto dispatch(const char* name, const char* argument, const Tensor& tensor, Function function) {
    switch (tensor.scalar_type()) {
      case ScalarType::Float:
        return function(float{});
      case ScalarType::Double:
        return function(double{});
      case ScalarType::BFloat16:
        return function(BFloat16{});
      default:
        STD_TORCH_CHECK(tensor.scalar_type() == ScalarType::Half, name, ": expected ", argument,
                        " in float32, float64, bfloat16 or float16, got ", dtype_name(tensor.scalar_type()));
        return function(Half{});
    }
  }

 private:
  const char* name_;
  CurrentDevice device_;
};

}  // namespace flowprior::cuda
