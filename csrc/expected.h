// The checks that every device makes of an operator's arguments. Each throws std::runtime_error: the operator, the
// argument, what was expected, what came.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <initializer_list>
#include <string>

namespace flowprior {

inline const char* dtype_name(torch::headeronly::ScalarType type) {
  using torch::headeronly::ScalarType;
  switch (type) {
    case ScalarType::Float:
      return "float32";
    case ScalarType::Double:
      return "float64";
    case ScalarType::BFloat16:
      return "bfloat16";
    case ScalarType::Half:
      return "float16";
    case ScalarType::Long:
      return "int64";
    default:
      return torch::headeronly::toString(type);
  }
}

inline std::string sizes_text(const int64_t* sizes, size_t count) {
  std::string list = "[";
  for (size_t i = 0; i < count; ++i) {
    list += (i ? ", " : "") + (sizes[i] < 0 ? std::string("any") : std::to_string(sizes[i]));
  }
  return list + "]";
}

inline void expect_dtype(const torch::stable::Tensor& tensor, torch::headeronly::ScalarType expected, const char* op,
                         const char* name) {
  const auto got = tensor.scalar_type();
  STD_TORCH_CHECK(got == expected, op, ": expected ", name, " in ", dtype_name(expected), ", got ", dtype_name(got));
}

// Sizes of −1 fit anything.
inline void expect_sizes(const torch::stable::Tensor& tensor, std::initializer_list<int64_t> expected, const char* op,
                         const char* name) {
  const auto got = tensor.sizes();
  bool same = got.size() == expected.size();
  for (size_t i = 0; same && i < got.size(); ++i) same = expected.begin()[i] < 0 || expected.begin()[i] == got[i];
  STD_TORCH_CHECK(same, op, ": expected ", name, " of shape ", sizes_text(expected.begin(), expected.size()), ", got ",
                  sizes_text(got.data(), got.size()));
}

}  // namespace flowprior
