#include "row_units.h"
#include "table.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

// x_t = alpha x1 + sigma x0 and u_t = alpha_dot x1 + sigma_dot x0, for one row.
template <typename C>
struct Coefficients {
  C alpha, sigma, alpha_dot, sigma_dot;
};

template <typename C>
FLOWPRIOR_INLINE void combine(Coefficients<C> by, const C* x0, const C* x1, int64_t count, C* __restrict x_t,
                              C* __restrict u_t) {
  for (int64_t i = 0; i < count; ++i) {
    x_t[i] = fused(by.alpha, x1[i], by.sigma * x0[i]);
    u_t[i] = fused(by.alpha_dot, x1[i], by.sigma_dot * x0[i]);
  }
}

template <typename T, typename Job>
FLOWPRIOR_INLINE void combine_piece(const Job& job, Coefficients<Compute<T>> by, int64_t row, int64_t column,
                                    int64_t count) {
  typedef Compute<T> C;
  const T* const x0 = row_pointer<T>(job.x0, row, column);
  const T* const x1 = row_pointer<T>(job.x1, row, column);
  T* const x_t = static_cast<T*>(job.x_t) + row * job.dim + column;
  T* const u_t = static_cast<T*>(job.u_t) + row * job.dim + column;
  if constexpr (sizeof(T) == sizeof(C)) {
    combine(by, x0, x1, count, x_t, u_t);
  } else {
    alignas(64) C in0[kBlock], in1[kBlock], out_x[kBlock], out_u[kBlock];
    for_each_block(count, [&](int64_t at, int64_t length) {
      combine(by, read_block(x0 + at, length, in0), read_block(x1 + at, length, in1), length, out_x, out_u);
      write_block(x_t + at, length, out_x);
      write_block(u_t + at, length, out_u);
    });
  }
}

template <typename T>
static void affine_path(const AffineJob& job, int64_t begin, int64_t end) {
  typedef Compute<T> C;
  for_each_unit(job.dim, begin, end, [&](int64_t row, int64_t column, int64_t count, int64_t) {
    const Coefficients<C> by = {static_cast<C>(value_of(job.alpha, row)), static_cast<C>(value_of(job.sigma, row)),
                                static_cast<C>(value_of(job.alpha_dot, row)),
                                static_cast<C>(value_of(job.sigma_dot, row))};
    combine_piece<T>(job, by, row, column, count);
  });
}

template <typename T>
static void interpolate(const InterpolateJob& job, int64_t begin, int64_t end) {
  typedef Compute<T> C;
  const double spread = 1.0 - job.sigma_min;
  for_each_unit(job.dim, begin, end, [&](int64_t row, int64_t column, int64_t count, int64_t) {
    const double t = value_of(job.t, row);
    const Coefficients<C> by = {static_cast<C>(t), static_cast<C>(1.0 - spread * t), C{1}, static_cast<C>(-spread)};
    combine_piece<T>(job, by, row, column, count);
  });
}

template <typename T>
static void add(Kernels& kernels, Storage storage) {
  kernels.affine_path[storage] = affine_path<T>;
  kernels.interpolate[storage] = interpolate<T>;
}

void add_affine_path(Kernels& kernels) {
  add<float>(kernels, kFloat32);
  add<double>(kernels, kFloat64);
  add<BFloat16>(kernels, kBFloat16);
  add<Float16>(kernels, kFloat16);
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
