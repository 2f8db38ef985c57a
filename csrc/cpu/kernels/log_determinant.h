// Σ_d log σ_d of a component.
#pragma once

#include <cmath>

#include "tiles.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

// Σ log σ as the logarithm of a product, lane by lane: a logarithm for each would take ten times as long.
// Exponents are added by themselves, so that the product of a block's mantissas, in [1, 2), stays far from overflow.
struct LogSum {
  Doubles product;
  Bits exponent;  // each with its bias of 1023
  int64_t count;  // of factors a lane
};

FLOWPRIOR_INLINE void multiply(LogSum& sum, Doubles values) {
  const Bits bits = reinterpret_cast<Bits>(values);
  const Bits mantissa = (bits & 0x000FFFFFFFFFFFFFu) | 0x3FF0000000000000u;
  sum.product *= reinterpret_cast<Doubles>(mantissa);
  sum.exponent += bits >> 52;
  ++sum.count;
}

// Brings the product itself back to [1, 2).
FLOWPRIOR_INLINE void renormalise(LogSum& sum) {
  const Doubles product = sum.product;
  sum.product = all_lanes_of(1.0);
  multiply(sum, product);
}

static double log_of(const LogSum& sum) {
  constexpr int lanes = Vector<double>::kLanes;
  double product = 1;
  int64_t exponent = -1023 * lanes * sum.count;
  for (int lane = 0; lane < lanes; ++lane) {
    product *= sum.product[lane];
    exponent += static_cast<int64_t>(sum.exponent[lane]);
  }
  return std::log(product) + static_cast<double>(exponent) * 0.6931471805599453;
}

template <typename T>
static double sum_of_each_log(const T* scale, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::log(static_cast<double>(scale[i]));
  return sum;
}

// The least and the greatest of many numbers, lane by lane.
template <typename C>
struct Range {
  typename Vector<C>::Type least, greatest;
};

template <typename C>
FLOWPRIOR_INLINE void extend(Range<C>& range, const C* values, int64_t count) {
  for (int64_t i = 0; i < count; i += Vector<C>::kLanes) {
    const auto value = load_vector(values + i);
    range.least = value < range.least ? value : range.least;
    range.greatest = value > range.greatest ? value : range.greatest;
  }
}

// Whether all numbers are positive and normal. NaN may pass: it spoils the distances anyway.
template <typename C>
FLOWPRIOR_INLINE bool all_normal(const Range<C>& range) {
  bool normal = true;
  for (int lane = 0; lane < Vector<C>::kLanes; ++lane) {
    normal &= range.least[lane] >= kSmallestNormal<C> && range.greatest[lane] <= kLargest<C>;
  }
  return normal;
}

template <typename T>
static double log_determinant(const Mixture& mixture, int64_t column) {
  const int64_t dim = mixture.dim;
  const T* const scales = static_cast<const T*>(mixture.scale);
  if (mixture.spherical) return static_cast<double>(dim) * sum_of_each_log(scales + column, 1);
  const T* const scale = scales + column * dim;
  alignas(64) T buffer[kBlockColumns<T>];
  LogSum sum = {all_lanes_of(1.0), Bits{}, 0};
  Range<T> range = {all_lanes_of(T{1}), all_lanes_of(T{1})};
  for (int64_t begin = 0; begin < dim; begin += kBlockColumns<T>) {
    const int64_t count = dim - begin < kBlockColumns<T> ? dim - begin : kBlockColumns<T>;
    const T* const values = read_padded(scale + begin, count, T{1}, buffer);
    extend(range, values, count);
    for (int64_t i = 0; i < count; i += Vector<double>::kLanes) multiply(sum, load_doubles(values + i));
    renormalise(sum);
  }
  return all_normal(range) ? log_of(sum) : sum_of_each_log(scale, dim);
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
