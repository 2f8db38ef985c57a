#include "arguments.h"

#include <string>

namespace flowprior::cpu {

namespace {

std::string text(const int64_t* sizes, size_t count) {
  std::string list = "[";
  for (size_t i = 0; i < count; ++i) {
    list += (i ? ", " : "") + (sizes[i] < 0 ? std::string("any") : std::to_string(sizes[i]));
  }
  return list + "]";
}

const char* dtype_name(ScalarType type) {
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

}  // namespace

Storage storage_of(const Tensor& tensor, const char* op, const char* name) {
  const ScalarType type = tensor.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double, op, ": expected ", name,
                  " in float32 or float64, got ", dtype_name(type));
  return type == ScalarType::Double ? kFloat64 : kFloat32;
}

ScalarType scalar_type_of(Storage storage) {
  return storage == kFloat64 ? ScalarType::Double : ScalarType::Float;
}

void check_dtype(const Tensor& tensor, ScalarType expected, const char* op, const char* name) {
  const ScalarType got = tensor.scalar_type();
  STD_TORCH_CHECK(got == expected, op, ": expected ", name, " in ", dtype_name(expected), ", got ", dtype_name(got));
}

void check_sizes(const Tensor& tensor, std::initializer_list<int64_t> expected, const char* op, const char* name) {
  const auto sizes = tensor.sizes();
  bool same = sizes.size() == expected.size();
  for (size_t i = 0; same && i < sizes.size(); ++i) {
    const int64_t size = expected.begin()[i];
    same = size < 0 || size == sizes[i];
  }
  STD_TORCH_CHECK(same, op, ": expected ", name, " of shape ", text(expected.begin(), expected.size()), ", got ",
                  text(sizes.data(), sizes.size()));
}

Tensor adjacent_columns(const Tensor& tensor) {
  return tensor.size(1) <= 1 || tensor.stride(1) == 1 ? tensor : torch::stable::contiguous(tensor);
}

Rows rows_of(const Tensor& adjacent) { return {adjacent.const_data_ptr(), adjacent.stride(0)}; }

Labels labels_of(const Tensor& cond, int64_t conditions, const char* op) {
  check_dtype(cond, ScalarType::Long, op, "cond");
  check_sizes(cond, {-1}, op, "cond");
  const Labels labels = {static_cast<const int64_t*>(cond.const_data_ptr()), cond.stride(0)};
  for (int64_t row = 0; row < cond.size(0); ++row) {
    const int64_t label = labels[row];
    STD_TORCH_CHECK(label >= 0 && label < conditions, op, ": expected labels 0..", conditions - 1,
                    " in cond, got ", label, " in row ", row);
  }
  return labels;
}

uint64_t seed_of(const Tensor& seed, const char* op) {
  check_dtype(seed, ScalarType::Long, op, "seed");
  check_sizes(seed, {1}, op, "seed");
  return static_cast<uint64_t>(*static_cast<const int64_t*>(seed.const_data_ptr()));
}

Tensor empty(std::initializer_list<int64_t> sizes, ScalarType dtype) {
  return torch::stable::empty(sizes, dtype, std::nullopt, torch::stable::Device(torch::headeronly::DeviceType::CPU));
}

}  // namespace flowprior::cpu
