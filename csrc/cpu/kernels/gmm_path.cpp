#include "row_units.h"
#include "source.h"
#include "table.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

// x_t = t x1 + sigma x0 and u_t = x1 − spread x0.
template <typename C>
FLOWPRIOR_INLINE void follow(C t, C sigma, C spread, const C* x0, const C* x1, int64_t count, C* __restrict x_t,
                             C* __restrict u_t) {
  for (int64_t i = 0; i < count; ++i) {
    x_t[i] = fused(t, x1[i], sigma * x0[i]);
    u_t[i] = fused(-spread, x0[i], x1[i]);
  }
}

template <typename T>
static void gmm_path(const PathJob& job, int64_t begin, int64_t end) {
  typedef Compute<T> C;
  const SampleJob& source = job.source;
  const int64_t dim = source.mixture.dim;
  const double spread = 1.0 - job.sigma_min;
  alignas(64) C in1[4 * kGroups], out_x[4 * kGroups], out_u[4 * kGroups];
  const auto piece = [&](int64_t row, int64_t column, int64_t count, C* numbers) {
    place_source<T>(source, row, column, count, numbers, numbers);
    const double t = value_of(job.t, row);
    T* const x_t = static_cast<T*>(job.x_t) + row * dim + column;
    T* const u_t = static_cast<T*>(job.u_t) + row * dim + column;
    C* const to_x = block_for(x_t, out_x);
    C* const to_u = block_for(u_t, out_u);
    follow(static_cast<C>(t), static_cast<C>(1.0 - spread * t), static_cast<C>(spread), numbers,
           read_block(row_pointer<T>(job.x1, row, column), count, in1), count, to_x, to_u);
    write_block(x_t, count, to_x);
    write_block(u_t, count, to_u);
  };
  for_each_noise<C>(source.seed, kNoise, dim, begin, end, piece);
}

void add_gmm_path(Kernels& kernels) {
  kernels.gmm_path[kFloat32] = gmm_path<float>;
  kernels.gmm_path[kFloat64] = gmm_path<double>;
  kernels.gmm_path[kBFloat16] = gmm_path<BFloat16>;
  kernels.gmm_path[kFloat16] = gmm_path<Float16>;
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
