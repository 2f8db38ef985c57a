#include "noise.h"
#include "table.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

// How many cumulative weights lie at or below the height. Counting without a branch is faster than halving the
// interval as long as the weights are few.
static int64_t count_below(const double* cumulative, int64_t components, double height) {
  int64_t begin = 0, end = components;
  while (end - begin > 64) {
    const int64_t middle = begin + (end - begin) / 2;
    if (cumulative[middle] <= height) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  int64_t count = begin;
  for (int64_t k = begin; k < end; ++k) count += cumulative[k] <= height;
  return count;
}

static void choose_component(const ComponentJob& job, int64_t row, Words words) {
  const int64_t slot = job.slot[job.cond[row]];
  const double* const cumulative = job.cumulative + slot * job.components;
  const double height = uniform(words) * cumulative[job.components - 1];
  const int64_t count = count_below(cumulative, job.components, height);
  job.component[row] = count < job.last[slot] ? count : job.last[slot];
}

static void choose_components(const ComponentJob& job, int64_t begin, int64_t end) {
  alignas(64) uint32_t group[kGroups] = {}, low[kGroups] = {}, words[4 * kGroups];
  while (begin < end) {
    // With one group a row, the counters are those of noise.
    const int64_t most = end - begin < kGroups ? end - begin : kGroups;
    const int64_t count = fill_counters({begin, 0}, 1, most, group, low);
    const uint32_t row_high = static_cast<uint32_t>(static_cast<uint64_t>(begin) >> 32);
    draw_words(group, low, row_high, kComponent, job.seed, count, kGroups, words);
    for (int64_t i = 0; i < count; ++i) choose_component(job, begin + i, {words[i], words[kGroups + i], 0, 0});
    begin += count;
  }
}

// x0 = mean + scale · noise for `count` columns of one row.
template <typename T>
FLOWPRIOR_INLINE void place_source(const SampleJob& job, int64_t row, int64_t column, int64_t count,
                                   const T* noise, T* x0) {
  const Mixture& mixture = job.mixture;
  const int64_t index = job.cond[row] * mixture.components + job.component[row];
  const T* const mean = static_cast<const T*>(mixture.mean) + index * mixture.dim + column;
  if (mixture.spherical) {
    const T scale = static_cast<const T*>(mixture.scale)[index];
    for (int64_t i = 0; i < count; ++i) x0[i] = fused(scale, noise[i], mean[i]);
  } else {
    const T* const scale = static_cast<const T*>(mixture.scale) + index * mixture.dim + column;
    for (int64_t i = 0; i < count; ++i) x0[i] = fused(scale[i], noise[i], mean[i]);
  }
}

template <typename T>
static void gmm_sample(const SampleJob& job, int64_t begin, int64_t end) {
  T* const x0 = static_cast<T*>(job.x0);
  const int64_t dim = job.mixture.dim;
  for_each_noise<T>(job.seed, kNoise, dim, begin, end, [&](int64_t row, int64_t column, int64_t count, T* numbers) {
    place_source<T>(job, row, column, count, numbers, x0 + row * dim + column);
  });
}

void add_gmm_sample(Kernels& kernels) {
  kernels.choose_component = choose_components;
  kernels.gmm_sample[kFloat32] = gmm_sample<float>;
  kernels.gmm_sample[kFloat64] = gmm_sample<double>;
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
