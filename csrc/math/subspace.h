// The algebra of a subspace prior's rows, coordinate by coordinate; flowprior/priors/frame.py and
// flowprior/couplings/pair_law.py have the formulas. m is the mean, ψ the noise, λ the spread along an axis.
#pragma once

#include <cmath>

#include "host_device.h"

namespace flowprior {

// Columns of transposed bases come in whole pieces of this length.
constexpr int64_t kBasisColumns = 16;

// Of a basis: what a CUDA block keeps of them in shared memory. The CPU keeps to it, so that both take the same.
constexpr int64_t kMostAxes = 512;

FLOWPRIOR_HD float square_root(float value) { return sqrtf(value); }
FLOWPRIOR_HD double square_root(double value) { return sqrt(value); }

template <typename C>
FLOWPRIOR_HD C at_least(C value, C bound) {
  return value < bound ? bound : value;
}

template <typename C>
FLOWPRIOR_HD C at_most(C value, C bound) {
  return value > bound ? bound : value;
}

// ψ^(−1/2) (x − by · m).
template <typename C>
FLOWPRIOR_HD C whitened(C x, C by, C loc, C noise) {
  return (x - by * loc) / square_root(noise);
}

// √λ h0, from the datum's coordinate √λ h1 and a normal number.
template <typename C>
FLOWPRIOR_HD C inferred(C coordinate, C spread, C normal) {
  const C inverse = 1 / spread;
  return (1 - inverse) * coordinate + square_root(2 - inverse) * normal;
}

// What the moments take of a row's α, σ, α' and σ'.
template <typename C>
struct PathTerms {
  C mean, velocity_mean;                    // α + σ, α' + σ'
  C datum, source, both;                    // α², σ², 2ασ
  C datum_slope, source_slope, both_slope;  // αα', σσ', ασ' + σα'
  C determinant;                            // (ασ' − σα')²
};

template <typename C>
FLOWPRIOR_HD PathTerms<C> path_terms(const C* times) {
  const C a = times[0], s = times[1], a_dot = times[2], s_dot = times[3];
  const C turn = a * s_dot - s * a_dot;
  return {a + s, a_dot + s_dot, a * a, s * s, 2 * a * s, a * a_dot, s * s_dot, a * s_dot + s * a_dot, turn * turn};
}

// Along an axis with slope a: the linear velocity, and the variances of the state and of what that velocity leaves.
template <typename C>
struct AxisMoments {
  C velocity, state, left;
};

template <typename C>
FLOWPRIOR_HD AxisMoments<C> axis_moments(const PathTerms<C>& path, C coordinate, C spread, C slope) {
  const C variance = path.datum + path.source + path.both * slope;
  const C rate = path.datum_slope + path.source_slope + path.both_slope * slope, inverse = 1 / variance;
  return {rate * inverse * coordinate, spread * variance, spread * (path.determinant * (1 - slope * slope) * inverse)};
}

// A coordinate of a point: its number, mean and noise, the squared length of its row of the basis, and the sums over
// the axes there of the point's coordinates and of their moments.
template <typename C>
struct Coordinate {
  C x, loc, noise, length;
  C inside;
  AxisMoments<C> along;
};

// What a network is shown of it: standardised, the linear velocity, the deviation of what that leaves.
template <typename C>
struct CoordinateView {
  C standard, velocity, scale;
};

template <typename C>
FLOWPRIOR_HD CoordinateView<C> view_of(const PathTerms<C>& path, const Coordinate<C>& at, C floor, C least) {
  const C deviation = square_root(at.noise), room = 1 - at.length, outside = at_least(room, C(0));
  // The datum's variance outside of the subspace, in units of ψ.
  const C datum = at_most(at_least((room - floor / at.noise) / at_least(room, C(1e-6)), least), C(1));
  const C beside = path.datum * datum + path.source, inverse = 1 / beside;
  const C rate = (path.datum_slope * datum + path.source_slope) * inverse;
  const C away = at.x - path.mean * at.loc;
  const C moved = at.along.velocity + rate * (away / deviation - at.inside);
  const C variance = at.along.state + outside * beside;
  const C left = at.along.left + outside * (path.determinant * datum * inverse);
  return {away / (deviation * square_root(variance)), path.velocity_mean * at.loc + deviation * moved,
          deviation * square_root(left)};
}

}  // namespace flowprior
