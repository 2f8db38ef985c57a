// exp(x) in float64 for x ≤ 0, without branches, so that loops over it become vector code.
#pragma once

#include "vector.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

// x = n log 2 + r with |r| ≤ log 2 / 2, and the Taylor polynomial of degree 13 for exp(r): within 2 ulp. 0 below
// −708, where results would lose digits; NaN stays NaN.
FLOWPRIOR_INLINE double exp_of_negative(double x) {
  constexpr double shift = 0x1.8p52;  // adding it rounds to an integer, which then stands in the last bits
  const double inside = x < -708.0 ? -708.0 : x;
  const double shifted = fused(inside, 1.4426950408889634, shift);
  const double n = shifted - shift;
  const double r = fused(n, -1.9082149292705877e-10, fused(n, -6.93147180369123816490e-01, inside));
  double p = 1.0 / 6227020800;
  p = fused(p, r, 1.0 / 479001600);
  p = fused(p, r, 1.0 / 39916800);
  p = fused(p, r, 1.0 / 3628800);
  p = fused(p, r, 1.0 / 362880);
  p = fused(p, r, 1.0 / 40320);
  p = fused(p, r, 1.0 / 5040);
  p = fused(p, r, 1.0 / 720);
  p = fused(p, r, 1.0 / 120);
  p = fused(p, r, 1.0 / 24);
  p = fused(p, r, 1.0 / 6);
  p = fused(p, r, 0.5);
  p = fused(p, r, 1.0);
  p = fused(p, r, 1.0);
  uint64_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  const uint64_t power_bits = (bits << 52) + (uint64_t{1023} << 52);
  double power;
  std::memcpy(&power, &power_bits, sizeof power);
  return x < -708.0 ? 0.0 : p * power;
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
