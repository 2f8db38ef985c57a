#include "storage.h"
#include "table.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

// A piece of a unit that is brought into the first-level cache where numbers have to be converted.
constexpr int64_t kBlock = 512;

// Calls work(row, column, count, unit) for units begin … end − 1 of rows of `dim` columns.
template <typename Work>
FLOWPRIOR_INLINE void for_each_unit(int64_t dim, int64_t begin, int64_t end, Work work) {
  const int64_t units = (dim + kColumns - 1) / kColumns;
  int64_t row = begin / units, piece = begin % units;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t column = piece * kColumns, left = dim - column;
    work(row, column, left < kColumns ? left : kColumns, unit);
    piece = piece + 1 < units ? piece + 1 : 0;
    row += piece == 0;
  }
}

// Calls work(offset, count) for the blocks of a piece of a row.
template <typename Work>
FLOWPRIOR_INLINE void for_each_block(int64_t count, Work work) {
  for (int64_t offset = 0; offset < count; offset += kBlock) {
    work(offset, count - offset < kBlock ? count - offset : kBlock);
  }
}

template <typename T>
FLOWPRIOR_INLINE const T* row_pointer(const Rows& rows, int64_t row, int64_t column) {
  return static_cast<const T*>(rows.data) + row * rows.stride + column;
}

// Targets may be float32 beside velocities of another type.
template <typename U, typename C>
FLOWPRIOR_INLINE const C* read_target(const U* from, int64_t count, C* buffer) {
  if constexpr (sizeof(Compute<U>) == sizeof(C)) {
    return read_block(from, count, buffer);
  } else {
    for (int64_t i = 0; i < count; ++i) buffer[i] = from[i];
    return buffer;
  }
}

template <bool kHasU, typename V>
FLOWPRIOR_INLINE V difference(V v, V u_or_x0, V x1) {
  if constexpr (kHasU) {
    return v - u_or_x0;
  } else {
    return v - (x1 - u_or_x0);
  }
}

// Σ (v − target)² of a block, and factor · (v − target) where a gradient is wanted. The lanes are written out, as
// compilers may not reorder sums by themselves.
template <bool kHasU, bool kGradient, typename C>
FLOWPRIOR_INLINE double loss_block(const C* v, const C* a, const C* b, int64_t count, C factor, C* gradient) {
  typedef typename Vector<C>::Type V;
  constexpr int lanes = Vector<C>::kLanes, chains = 4;
  V sums[chains] = {};
  int64_t i = 0;
  for (; i + chains * lanes <= count; i += chains * lanes) {
    for (int chain = 0; chain < chains; ++chain) {
      const int64_t at = i + chain * lanes;
      const V d = difference<kHasU>(load_vector(v + at), load_vector(a + at), kHasU ? V{} : load_vector(b + at));
      sums[chain] = fused(d, d, sums[chain]);
      if constexpr (kGradient) store_vector(gradient + at, d * factor);
    }
  }
  C rest = 0;
  for (; i < count; ++i) {
    const C d = difference<kHasU>(v[i], a[i], kHasU ? C{0} : b[i]);
    rest = fused(d, d, rest);
    if constexpr (kGradient) gradient[i] = d * factor;
  }
  return static_cast<double>(sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]))) + static_cast<double>(rest);
}

template <typename T, typename U, bool kHasU, bool kGradient>
static void loss_units(const LossJob& job, int64_t begin, int64_t end) {
  typedef Compute<T> C;
  alignas(64) C in_v[kBlock], in_a[kBlock], in_b[kBlock], out[kBlock];
  for_each_unit(job.dim, begin, end, [&](int64_t row, int64_t column, int64_t count, int64_t unit) {
    const double weight = job.weight ? static_cast<const C*>(job.weight)[row * job.weight_stride] : 1.0;
    const C factor = static_cast<C>(weight * job.gradient_scale);
    const T* const v = row_pointer<T>(job.v, row, column);
    const U* const a = row_pointer<U>(kHasU ? job.u : job.x0, row, column);
    const U* const b = kHasU ? nullptr : row_pointer<U>(job.x1, row, column);
    T* const gradient = kGradient ? static_cast<T*>(job.gradient) + row * job.dim + column : nullptr;
    double sum = 0;
    for_each_block(count, [&](int64_t at, int64_t length) {
      C* const to = kGradient ? block_for(gradient + at, out) : nullptr;
      sum += loss_block<kHasU, kGradient>(read_block(v + at, length, in_v), read_target(a + at, length, in_a),
                                          kHasU ? nullptr : read_target(b + at, length, in_b), length, factor, to);
      if constexpr (kGradient) write_block(gradient + at, length, to);
    });
    job.partial[unit] = sum;
  });
}

template <typename T, typename U>
static void loss(const LossJob& job, int64_t begin, int64_t end) {
  if (job.has_u) {
    job.gradient ? loss_units<T, U, true, true>(job, begin, end) : loss_units<T, U, true, false>(job, begin, end);
  } else {
    job.gradient ? loss_units<T, U, false, true>(job, begin, end) : loss_units<T, U, false, false>(job, begin, end);
  }
}

template <typename T>
static void add(Kernels& kernels, Storage storage) {
  kernels.loss[storage][0] = loss<T, T>;
  kernels.loss[storage][1] = loss<T, float>;
}

void add_flow_matching_loss(Kernels& kernels) {
  add<float>(kernels, kFloat32);
  add<double>(kernels, kFloat64);
  add<BFloat16>(kernels, kBFloat16);
  add<Float16>(kernels, kFloat16);
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
