// exp and log in float64 without branches, so that loops over them become vector code.
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

// log(x) for a normal x, within 1 ulp: x = 2^e (1 + f) with 1 + f in [√½, √2), s = f / (2 + f), and the polynomial of
// fdlibm (Sun Microsystems 1993) for log(1 + f) = 2 atanh(s). NaN and infinity give NaN.
FLOWPRIOR_INLINE double log_of_normal(double x) {
  constexpr uint64_t root_half = 0x3FE6A09E667F3BCDu, one = 0x3FF0000000000000u;
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint64_t biased = (bits + (one - root_half)) >> 52;
  const uint64_t mantissa_bits = bits - (biased << 52) + one;
  const uint64_t integer_bits = biased | 0x4330000000000000u;  // 2⁵² + biased
  double mantissa, integer;
  std::memcpy(&mantissa, &mantissa_bits, sizeof mantissa);
  std::memcpy(&integer, &integer_bits, sizeof integer);
  const double exponent = integer - (0x1p52 + 1023.0);
  const double f = mantissa - 1.0, s = f / (2.0 + f), z = s * s;
  double p = 1.479819860511658591e-01;
  p = fused(p, z, 1.531383769920937332e-01);
  p = fused(p, z, 1.818357216161805012e-01);
  p = fused(p, z, 2.222219843214978396e-01);
  p = fused(p, z, 2.857142874366239149e-01);
  p = fused(p, z, 3.999999999940941908e-01);
  p = fused(p, z, 6.666666666666735130e-01);
  const double half_square = 0.5 * f * f;
  const double correction = fused(s, fused(p, z, half_square), exponent * 1.90821492927058770002e-10);
  return fused(exponent, 6.93147180369123816490e-01, f - (half_square - correction)) + (x - x);
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
