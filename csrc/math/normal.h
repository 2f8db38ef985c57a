// Standard normal numbers from 32-bit words (Box & Muller 1958): u = (w0 + ½) 2⁻³², angle 2π w1 2⁻³²,
//
//     n0 = √(−2 log u) cos(angle),   n1 = √(−2 log u) sin(angle).
//
// Largest value √(−2 log 2⁻³³) = 6.76. The float32 functions are branch-free, so that host compilers vectorise
// them, and keep the relative error of each number within a few ulp: near u = 1 the logarithm is taken of the
// complement's exact integer, and the quadrant of the angle is split off in integers. float64 evaluates
// the same formula of the same words, so that a float32 sample is a rounded float64 sample.
// Polynomials: S. L. Moshier, Cephes (logf, sinf, cosf).
#pragma once

#include <cmath>

#include "host_device.h"

namespace flowprior {

struct FloatPair {
  float n0, n1;
};

struct DoublePair {
  double n0, n1;
};

// log((word + ½) 2⁻³²).
FLOWPRIOR_HD float log_uniform(uint32_t word) {
  const uint32_t upper = static_cast<uint32_t>(static_cast<int32_t>(word) >> 31);  // all ones where u > ½
  const int32_t nearest = static_cast<int32_t>(word ^ upper);
  const float x = multiply_add(static_cast<float>(nearest), 0x1p-32f, 0x1p-33f);  // u, or 1 − u above ½
  const float u = upper ? 1.0f - x : x;
  // u = 2^exponent · z with z in [√½, √2).
  const uint32_t bits = bits_of(u);
  const int32_t exponent = static_cast<int32_t>(bits - 0x3F3504F3u) >> 23;
  const float z = float_of(bits - (static_cast<uint32_t>(exponent) << 23));
  const float f = (upper && exponent == 0) ? -x : z - 1.0f;
  const float f2 = f * f;
  float p = 7.0376836292e-2f;
  p = multiply_add(p, f, -1.1514610310e-1f);
  p = multiply_add(p, f, 1.1676998740e-1f);
  p = multiply_add(p, f, -1.2420140846e-1f);
  p = multiply_add(p, f, 1.4249322787e-1f);
  p = multiply_add(p, f, -1.6668057665e-1f);
  p = multiply_add(p, f, 2.0000714765e-1f);
  p = multiply_add(p, f, -2.4999993993e-1f);
  p = multiply_add(p, f, 3.3333331174e-1f);
  p = multiply_add(p * f2, f, -0.5f * f2);
  const float e = static_cast<float>(exponent);
  return multiply_add(e, 0.693359375f, multiply_add(e, -2.12194440e-4f, p) + f);
}

FLOWPRIOR_HD FloatPair normal_pair(uint32_t radius_word, uint32_t angle_word) {
  const float radius = sqrtf(-2.0f * log_uniform(radius_word));
  // Quarter turns, and what is left of the angle in [−π/4, π/4).
  const uint32_t quarter = (angle_word + 0x20000000u) >> 30;
  const int32_t rest = static_cast<int32_t>(angle_word - (quarter << 30));
  const float a = static_cast<float>(rest) * 1.46291807926715968e-9f;  // 2π / 2³²
  const float a2 = a * a;
  float s = multiply_add(a2, -1.9515295891e-4f, 8.3321608736e-3f);
  s = multiply_add(a2, s, -1.6666654611e-1f);
  s = multiply_add(a2 * a, s, a);
  float c = multiply_add(a2, 2.443315711809948e-5f, -1.388731625493765e-3f);
  c = multiply_add(a2, c, 4.166664568298827e-2f);
  c = multiply_add(a2 * a2, c, multiply_add(a2, -0.5f, 1.0f));
  const bool odd = quarter & 1u;
  const float cosine = odd ? s : c;
  const float sine = odd ? c : s;
  // cos is negative in quarters 1 and 2, sin in 2 and 3.
  const uint32_t cosine_sign = ((quarter + 1u) & 2u) << 30;
  const uint32_t sine_sign = (quarter & 2u) << 30;
  return {radius * float_of(bits_of(cosine) ^ cosine_sign), radius * float_of(bits_of(sine) ^ sine_sign)};
}

FLOWPRIOR_HD DoublePair normal_pair_double(uint32_t radius_word, uint32_t angle_word) {
  const double radius = sqrt(-2.0 * log((static_cast<double>(radius_word) + 0.5) * 0x1p-32));
  const uint32_t quarter = (angle_word + 0x20000000u) >> 30;
  const double rest = static_cast<double>(static_cast<int32_t>(angle_word - (quarter << 30)));
  const double a = rest * (3.14159265358979323846 * 0x1p-31);
  const double s = sin(a), c = cos(a);
  const bool odd = quarter & 1u;
  const double cosine = odd ? s : c, sine = odd ? c : s;
  return {((quarter + 1u) & 2u) ? -radius * cosine : radius * cosine,
          (quarter & 2u) ? -radius * sine : radius * sine};
}

}  // namespace flowprior
