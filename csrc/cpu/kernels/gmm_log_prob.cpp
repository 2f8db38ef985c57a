#include <cmath>

#include "exponential.h"
#include "table.h"
#include "tiles.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

// Σ ((x − μ) / σ)² over a block, for kRows rows and kWidth components. Added in float32 lanes within the block.
template <int kRows, int kWidth, typename C>
FLOWPRIOR_INLINE void tile_distances(const C* const* x, const C* packed, int64_t steps, C (&sums)[kTileRows][kTileColumns]) {
  typedef typename Vector<C>::Type V;
  constexpr int lanes = Vector<C>::kLanes;
  V total[kRows][kWidth] = {};
  for (int64_t step = 0; step < steps; ++step) {
    V row[kRows];
    for (int r = 0; r < kRows; ++r) row[r] = load_vector(x[r] + step * lanes);
    for (int t = 0; t < kWidth; ++t, packed += 2 * lanes) {
      const V mean = load_vector(packed), inverse = load_vector(packed + lanes);
      for (int r = 0; r < kRows; ++r) {
        const V z = (row[r] - mean) * inverse;
        total[r][t] = fused(z, z, total[r][t]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kWidth; ++t) sums[r][t] = sum_lanes(total[r][t]);
  }
}

// Rows i … i + kRows − 1 of the job's list against all tiles of a block; sums of blocks are float64.
template <int kRows, typename T>
FLOWPRIOR_INLINE void row_tile(const DistanceJob& job, int64_t i, int64_t begin, int64_t count,
                               const ColumnTile<Compute<T>>* tiles, int made) {
  typedef Compute<T> C;
  alignas(64) C buffer[kRows][kBlockColumns<C>];
  const C* x[kRows];
  double* out[kRows];
  for (int r = 0; r < kRows; ++r) {
    const int64_t row = job.order ? job.order[i + r] : i + r;
    x[r] = read_padded(static_cast<const T*>(job.x.data) + row * job.x.stride + begin, count, C{0}, buffer[r]);
    out[r] = job.out + row * job.out_stride - job.out_column;
  }
  for (int tile = 0; tile < made; ++tile) {
    C sums[kTileRows][kTileColumns];
    const auto [packed, column, width] = tiles[tile];
    if (width == kTileColumns) {
      tile_distances<kRows, kTileColumns>(x, packed, steps_of<C>(count), sums);
    } else {
      tile_distances<kRows, 1>(x, packed, steps_of<C>(count), sums);
    }
    for (int r = 0; r < kRows; ++r) {
      for (int t = 0; t < width; ++t) {
        double& sum = out[r][column + t];
        sum = static_cast<double>(sums[r][t]) + (begin == 0 ? 0.0 : sum);
      }
    }
  }
}

template <typename T>
static void distances(const DistanceJob& job) {
  typedef Compute<T> C;
  alignas(64) C packed[kChunkColumns * 2 * kBlockColumns<C>];
  ColumnTile<C> tiles[kChunkColumns];
  const int64_t dim = job.mixture.dim;
  for (int64_t begin = 0; begin < dim; begin += kBlockColumns<C>) {
    const int64_t count = dim - begin < kBlockColumns<C> ? dim - begin : kBlockColumns<C>;
    for (int64_t column = job.column_begin; column < job.column_end; column += kChunkColumns) {
      const int64_t end = column + kChunkColumns < job.column_end ? column + kChunkColumns : job.column_end;
      const int made = pack_columns<T>(job.mixture, column, end, begin, count, packed, tiles);
      int64_t i = job.row_begin;
      for (; i + kTileRows <= job.row_end; i += kTileRows) row_tile<kTileRows, T>(job, i, begin, count, tiles, made);
      for (; i < job.row_end; ++i) row_tile<1, T>(job, i, begin, count, tiles, made);
    }
  }
}

// Σ log of `count` numbers ≤ kBlockColumns: the log of the product of their mantissas, which are in [√½, √2), so
// that no product overflows, and their exponents. A logarithm for each would take ten times as long.
static double sum_of_logs(const double* values, int64_t count) {
  constexpr int lanes = 8;
  constexpr uint64_t root_half = 0x3FE6A09E667F3BCDu, one = 0x3FF0000000000000u;
  double products[lanes];
  uint64_t exponents[lanes] = {}, bad[lanes] = {};
  for (int lane = 0; lane < lanes; ++lane) products[lane] = 1;
  for (int64_t i = 0; i < count; i += lanes) {
    for (int lane = 0; lane < lanes; ++lane) {
      uint64_t bits;
      std::memcpy(&bits, values + i + lane, sizeof bits);
      bad[lane] |= (bits >> 52) - 1 >= 2046;  // 0, subnormal, negative, infinite or NaN
      const uint64_t exponent = (bits + (one - root_half)) >> 52;
      const uint64_t mantissa_bits = bits - (exponent << 52) + one;
      double mantissa;
      std::memcpy(&mantissa, &mantissa_bits, sizeof mantissa);
      products[lane] *= mantissa;
      exponents[lane] += exponent;
    }
  }
  double product = 1;
  int64_t exponent = -1023 * ((count + lanes - 1) / lanes) * lanes;
  uint64_t any_bad = 0;
  for (int lane = 0; lane < lanes; ++lane) {
    product *= products[lane];
    exponent += static_cast<int64_t>(exponents[lane]);
    any_bad |= bad[lane];
  }
  if (!any_bad) return std::log(product) + static_cast<double>(exponent) * 0.6931471805599453;
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::log(values[i]);
  return sum;
}

template <typename T>
static double log_determinant(const Mixture& mixture, int64_t column) {
  const T* const scale = static_cast<const T*>(mixture.scale);
  if (mixture.spherical) return static_cast<double>(mixture.dim) * std::log(static_cast<double>(widen(scale[column])));
  constexpr int64_t block = 512;
  double values[block];
  double sum = 0;
  for (int64_t begin = 0; begin < mixture.dim; begin += block) {
    const int64_t count = mixture.dim - begin < block ? mixture.dim - begin : block;
    const T* const from = scale + column * mixture.dim + begin;
    for (int64_t i = 0; i < count; ++i) values[i] = static_cast<double>(widen(from[i]));
    for (int64_t i = count; i < ((count + 7) & ~int64_t{7}); ++i) values[i] = 1;
    sum += sum_of_logs(values, count);
  }
  return sum;
}

template <typename T>
static void determinants(const DeterminantJob& job, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) job.out[job.columns[i]] = log_determinant<T>(job.mixture, job.columns[i]);
}

// Distances become log joint densities less the greatest of their group, which is returned.
static double centre_group(const double* constant, int64_t components, double* joint) {
  double greatest = -__builtin_inf();
  for (int64_t k = 0; k < components; ++k) {
    joint[k] = constant[k] - 0.5 * joint[k];
    greatest = joint[k] > greatest || joint[k] != joint[k] ? joint[k] : greatest;
  }
  for (int64_t k = 0; k < components; ++k) joint[k] -= greatest;
  return greatest;
}

// log Σ exp and the shares in it, from exponentials of centred numbers.
template <typename C>
FLOWPRIOR_INLINE void normalise_group(const double* exponentials, int64_t components, double greatest, C* log_prob,
                                      C* responsibilities) {
  double sum = 0;
  for (int64_t k = 0; k < components; ++k) sum += exponentials[k];
  const double share = 1.0 / sum;
  for (int64_t k = 0; k < components; ++k) responsibilities[k] = static_cast<C>(exponentials[k] * share);
  // Where every component is infinitely far, so is the mixture.
  *log_prob = static_cast<C>(greatest == -__builtin_inf() ? greatest : greatest + std::log(sum));
}

// Groups begin … end − 1 of one row, few enough for the first-level cache.
constexpr int64_t kGroupBatch = 32;

template <typename C>
static void combine_groups(const CombineJob& job, int64_t row, int64_t begin, int64_t end) {
  double greatest[kGroupBatch];
  const int64_t components = job.components, first = (row * job.groups + begin) * components;
  double* const joint = job.joint + first;
  for (int64_t group = begin; group < end; ++group) {
    const int64_t condition = job.every_condition ? group : job.cond[row];
    double* const of_group = joint + (group - begin) * components;
    greatest[group - begin] = centre_group(job.constant + condition * components, components, of_group);
  }
  for (int64_t i = 0; i < (end - begin) * components; ++i) joint[i] = exp_of_negative(joint[i]);
  C* const log_prob = static_cast<C*>(job.log_prob) + row * job.groups;
  C* const responsibilities = static_cast<C*>(job.responsibilities) + first;
  for (int64_t group = begin; group < end; ++group) {
    const int64_t at = (group - begin) * components;
    normalise_group(joint + at, components, greatest[group - begin], log_prob + group, responsibilities + at);
  }
}

template <typename C>
static void combine(const CombineJob& job, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t group = 0; group < job.groups; group += kGroupBatch) {
      combine_groups<C>(job, row, group, group + kGroupBatch < job.groups ? group + kGroupBatch : job.groups);
    }
  }
}

template <typename T>
static void add(Kernels& kernels, Storage storage) {
  kernels.determinant[storage] = determinants<T>;
  kernels.distance[storage] = distances<T>;
  kernels.combine[storage] = combine<Compute<T>>;
}

void add_gmm_log_prob(Kernels& kernels) {
  add<float>(kernels, kFloat32);
  add<double>(kernels, kFloat64);
  add<BFloat16>(kernels, kBFloat16);
  add<Float16>(kernels, kFloat16);
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
