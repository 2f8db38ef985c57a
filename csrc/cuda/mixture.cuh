// A mixture's tables as the kernels see them, and the choice of a component.
#pragma once

#include "math/philox.h"
#include "math/weight.h"
#include "rows.cuh"

namespace flowprior::cuda {

// Contiguous logits [C, K], mean [C, K, D], scale [C, K, D] or [C, K, 1].
template <typename T>
struct Mixture {
  const T* logits;
  const T* mean;
  const T* scale;
  int64_t conditions, components, columns, scale_columns;

  // Component `place` = c·K + k.
  FLOWPRIOR_DEVICE const T* mean_at(int64_t place) const { return mean + place * columns; }
  FLOWPRIOR_DEVICE const T* scale_at(int64_t place) const { return scale + place * scale_columns; }

  FLOWPRIOR_DEVICE bool knows(int64_t condition) const { return condition >= 0 && condition < conditions; }

  bool aligned() const {
    return Rows<const T>{mean, columns}.aligned() &&
           (scale_columns == 1 || Rows<const T>{scale, scale_columns}.aligned());
  }

  // σ of a group's columns; 1 beyond the row's end, where it may be divided by.
  template <bool kAligned, int kCount>
  FLOWPRIOR_DEVICE void load_scale(int64_t place, int64_t column, Compute<T> (&to)[kCount]) const {
    const T* const row = scale_at(place);
    if (scale_columns == 1) {
      const auto same = static_cast<Compute<T>>(row[0]);
#pragma unroll
      for (int i = 0; i < kCount; ++i) to[i] = same;
    } else {
      load<kAligned>(row + column, columns - column, to, Compute<T>(1));
    }
  }

  template <bool kAligned, int kCount>
  FLOWPRIOR_DEVICE void load_mean(int64_t place, int64_t column, Compute<T> (&to)[kCount]) const {
    load<kAligned>(mean_at(place) + column, columns - column, to);
  }
};

// The component of one row: the first whose cumulative weight exceeds the height, in double.
template <typename T>
FLOWPRIOR_DEVICE int64_t choose_component(const T* logits, int64_t components, double height_of_one) {
  if (components == 1) return 0;
  double most = -INFINITY;
#pragma unroll 1
  for (int64_t k = 0; k < components; ++k) most = greater_logit(most, static_cast<double>(logits[k]));
  double total = 0;
#pragma unroll 1
  for (int64_t k = 0; k < components; ++k) total += weight_of(static_cast<double>(logits[k]), most);
  const double height = height_of_one * total;
  double cumulative = 0;
  int64_t last = 0;
#pragma unroll 1
  for (int64_t k = 0; k < components; ++k) {
    const double weight = weight_of(static_cast<double>(logits[k]), most);
    cumulative += weight;
    if (cumulative > height) return k;
    if (weight > 0) last = k;
  }
  return last;
}

// component[b] for every row; -1 where the label is unknown.
template <typename T>
__global__ void __launch_bounds__(128)
    choose_components(Mixture<T> mixture, const int64_t* cond, const int64_t* seed, int64_t rows,
                      int64_t* component) {
  const auto bits = static_cast<uint64_t>(seed[0]);
  for (int64_t row = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; row < rows;
       row += int64_t{gridDim.x} * blockDim.x) {
    const int64_t condition = cond[row];
    if (mixture.knows(condition)) {
      const double height = uniform(random_words(bits, kComponent, static_cast<uint64_t>(row), 0));
      component[row] = choose_component(mixture.logits + condition * mixture.components, mixture.components, height);
    } else {
      component[row] = -1;
    }
  }
}

template <typename T>
void launch_choose_components(Mixture<T> mixture, const int64_t* cond, const int64_t* seed, int64_t rows,
                              int64_t* component, cudaStream_t stream) {
  const dim3 block(128), grid(blocks_x(divide_up(rows, block.x)));
  FLOWPRIOR_LAUNCH(choose_components<T>, grid, block, 0, stream, mixture, cond, seed, rows, component);
}

}  // namespace flowprior::cuda
