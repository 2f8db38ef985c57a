#include "vector.h"
#include "table.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

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

template <typename T>
FLOWPRIOR_INLINE const T* row_pointer(const Rows& rows, int64_t row, int64_t column) {
  return static_cast<const T*>(rows.data) + row * rows.stride + column;
}

template <bool kHasU, typename V>
FLOWPRIOR_INLINE V difference(V v, V u_or_x0, V x1) {
  if constexpr (kHasU) {
    return v - u_or_x0;
  } else {
    return v - (x1 - u_or_x0);
  }
}

// Σ (v − target)² of a piece of a row, and factor · (v − target) where a gradient is wanted. The lanes are written out, as
// compilers may not reorder sums by themselves.
template <bool kHasU, bool kGradient, typename C>
FLOWPRIOR_INLINE double loss_piece(const C* v, const C* a, const C* b, int64_t count, C factor, C* gradient) {
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

template <typename T, bool kHasU, bool kGradient>
static void loss_units(const LossJob& job, int64_t begin, int64_t end) {
  for_each_unit(job.dim, begin, end, [&](int64_t row, int64_t column, int64_t count, int64_t unit) {
    const double weight = job.weight ? static_cast<const T*>(job.weight)[row * job.weight_stride] : 1.0;
    const T factor = static_cast<T>(weight * job.gradient_scale);
    const T* const a = row_pointer<T>(kHasU ? job.u : job.x0, row, column);
    const T* const b = kHasU ? nullptr : row_pointer<T>(job.x1, row, column);
    T* const gradient = kGradient ? static_cast<T*>(job.gradient) + row * job.dim + column : nullptr;
    job.partial[unit] =
        loss_piece<kHasU, kGradient>(row_pointer<T>(job.v, row, column), a, b, count, factor, gradient);
  });
}

template <typename T>
static void loss(const LossJob& job, int64_t begin, int64_t end) {
  if (job.has_u) {
    job.gradient ? loss_units<T, true, true>(job, begin, end) : loss_units<T, true, false>(job, begin, end);
  } else {
    job.gradient ? loss_units<T, false, true>(job, begin, end) : loss_units<T, false, false>(job, begin, end);
  }
}

void add_flow_matching_loss(Kernels& kernels) {
  kernels.loss[kFloat32] = loss<float>;
  kernels.loss[kFloat64] = loss<double>;
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
