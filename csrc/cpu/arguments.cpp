#include "arguments.h"

namespace flowprior::cpu {

Storage storage_of(const Tensor& tensor, const char* op, const char* name) {
  const ScalarType type = tensor.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double, op, ": expected ", name,
                  " in float32 or float64, got ", dtype_name(type));
  return type == ScalarType::Double ? kFloat64 : kFloat32;
}

ScalarType scalar_type_of(Storage storage) {
  return storage == kFloat64 ? ScalarType::Double : ScalarType::Float;
}

Tensor adjacent_columns(const Tensor& tensor) {
  return tensor.size(1) <= 1 || tensor.stride(1) == 1 ? tensor : torch::stable::contiguous(tensor);
}

Rows rows_of(const Tensor& adjacent) { return {adjacent.const_data_ptr(), adjacent.stride(0)}; }

Labels labels_of(const Tensor& cond, int64_t conditions, const char* op) {
  expect_dtype(cond, ScalarType::Long, op, "cond");
  expect_sizes(cond, {-1}, op, "cond");
  const Labels labels = {static_cast<const int64_t*>(cond.const_data_ptr()), cond.stride(0)};
  for (int64_t row = 0; row < cond.size(0); ++row) {
    const int64_t label = labels[row];
    STD_TORCH_CHECK(label >= 0 && label < conditions, op, ": expected labels 0..", conditions - 1,
                    " in cond, got ", label, " in row ", row);
  }
  return labels;
}

uint64_t seed_of(const Tensor& seed, const char* op) {
  expect_dtype(seed, ScalarType::Long, op, "seed");
  expect_sizes(seed, {1}, op, "seed");
  return static_cast<uint64_t>(*static_cast<const int64_t*>(seed.const_data_ptr()));
}

Tensor empty(std::initializer_list<int64_t> sizes, ScalarType dtype) {
  return torch::stable::empty(sizes, dtype, std::nullopt, torch::stable::Device(torch::headeronly::DeviceType::CPU));
}

}  // namespace flowprior::cpu
