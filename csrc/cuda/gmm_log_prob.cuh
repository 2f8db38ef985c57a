// log p(x | c) and the responsibilities, in the centred form Σ ((x − μ)/σ)², which neither cancels nor
// overflows. Three steps: what does not depend on x, in double (log weight − Σ log σ − D/2 log 2π); the
// squares, in the compute type within a group of columns and in double across groups; log-sum-exp over the
// components, in double. Extra memory: a few doubles for each row and component.
#pragma once

#include "mixture.cuh"
#include "reduce.cuh"

namespace flowprior::cuda {

constexpr double kLogTwoPi = 1.8378770664093454836;
constexpr double kInfinity = __builtin_inf();

// Components whose sums a thread carries at once: a row is read once for so many.
template <typename T>
constexpr int kBatch = std::is_same_v<T, double> ? 2 : 4;

// Σ log σ over this thread's share of the columns. The product of four floats cannot leave double's range.
template <typename T>
FLOWPRIOR_DEVICE double log_scales(const T* scale, int64_t columns) {
  constexpr int kAtOnce = std::is_same_v<T, double> ? 1 : 4;
  double sum = 0;
  for (int64_t first = threadIdx.x; first < columns; first += int64_t{blockDim.x} * kAtOnce) {
    double product = 1;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int64_t column = first + int64_t{blockDim.x} * i;
      if (column < columns) product *= static_cast<double>(static_cast<Compute<T>>(scale[column]));
    }
    sum += log(product);
  }
  return sum;
}

// log Σ exp(logits) by the whole block.
template <typename T>
FLOWPRIOR_DEVICE double log_total(const T* logits, int64_t components, double* shared) {
  double most = -kInfinity, sum = 0;
  for (int64_t k = threadIdx.x; k < components; k += blockDim.x) most = fmax(most, static_cast<double>(logits[k]));
  most = reduce_over_x(most, shared, Maximum());
  for (int64_t k = threadIdx.x; k < components; k += blockDim.x) sum += exp(static_cast<double>(logits[k]) - most);
  return most + log(reduce_over_x(sum, shared, Sum()));
}

// constant [entries, K]: log weight − Σ log σ − D/2 log 2π. An entry is a condition where cond is null, else a
// row: the shorter list of the two. Block (x, y) takes entry x and component y.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    constants_kernel(Mixture<T> mixture, const int64_t* cond, int64_t entries, double* constant) {
  FLOWPRIOR_SHARED(double, shared);
  for (int64_t entry = blockIdx.x; entry < entries; entry += gridDim.x) {
    const int64_t condition = cond ? cond[entry] : entry;
    const bool known = mixture.knows(condition);
    const int64_t first = known ? condition * mixture.components : 0;
    const double total = log_total(mixture.logits + first, mixture.components, shared);
    for (int64_t k = blockIdx.y; k < mixture.components; k += gridDim.y) {
      double determinant = log_scales(mixture.scale_at(first + k), mixture.scale_columns);
      determinant = reduce_over_x(determinant, shared, Sum());
      if (threadIdx.x != 0) continue;
      const auto columns = static_cast<double>(mixture.columns);
      if (mixture.scale_columns == 1) determinant *= columns;
      const double weight = static_cast<double>(mixture.logits[first + k]) - total;
      constant[entry * mixture.components + k] =
          known ? weight - determinant - 0.5 * columns * kLogTwoPi : not_a_number<double>();
    }
  }
}

// Σ ((x − μ)/σ)² of a row's stretch of columns for a batch of components from `place` on; `count` of them exist.
template <bool kAligned, typename T>
FLOWPRIOR_DEVICE void add_squares(const Mixture<T>& mixture, const T* x, int64_t begin, int64_t end, int64_t place,
                                  int64_t count, double (&sums)[kBatch<T>]) {
  constexpr int kCount = kGroup<T>;
#pragma unroll 1
  for (int64_t column = begin + int64_t{threadIdx.x} * kCount; column < end; column += int64_t{blockDim.x} * kCount) {
    Compute<T> row[kCount];
    load<kAligned>(x + column, mixture.columns - column, row);
#pragma unroll
    for (int j = 0; j < kBatch<T>; ++j) {
      if (j >= count) break;
      Compute<T> mean[kCount], scale[kCount], squares = 0;
      mixture.template load_mean<kAligned>(place + j, column, mean);
      mixture.template load_scale<kAligned>(place + j, column, scale);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const Compute<T> z = (row[i] - mean[i]) / scale[i];
        squares = fused(z, z, squares);
      }
      sums[j] += static_cast<double>(squares);
    }
  }
}

// squares [stretches, rows, K]; a block's y are rows, blockIdx.y batches of components, blockIdx.z stretches.
template <typename T, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    squares_kernel(Mixture<T> mixture, Rows<const T> x, const int64_t* cond, int64_t rows, int64_t stretch,
                   double* squares) {
  FLOWPRIOR_SHARED(double, shared);
  const int64_t components = mixture.components, begin = blockIdx.z * stretch;
  const int64_t end = begin + stretch < mixture.columns ? begin + stretch : mixture.columns;
  for (int64_t base = int64_t{blockIdx.x} * blockDim.y; base < rows; base += row_step()) {
    const int64_t row = base + threadIdx.y;
    const int64_t condition = row < rows ? cond[row] : -1;
    const bool known = mixture.knows(condition);
    for (int64_t k = int64_t{blockIdx.y} * kBatch<T>; k < components; k += int64_t{gridDim.y} * kBatch<T>) {
      double sums[kBatch<T>] = {};
      if (known) {
        add_squares<kAligned>(mixture, x.at(row), begin, end, condition * components + k, components - k, sums);
      }
      reduce_over_x(sums, shared, Sum());
      if (row >= rows || threadIdx.x != 0) continue;
      double* const out = squares + (int64_t{blockIdx.z} * rows + row) * components + k;
#pragma unroll
      for (int j = 0; j < kBatch<T>; ++j) {
        if (k + j < components) out[j] = known ? sums[j] : not_a_number<double>();
      }
    }
  }
}

// The row of `constant` that belongs to a row of squares.
struct ConstantIndex {
  const int64_t* cond;  // null: rows go round the entries
  int64_t entries;

  // An unknown label's squares are not numbers already.
  FLOWPRIOR_DEVICE int64_t of(int64_t row) const {
    if (!cond) return row % entries;
    return cond[row] >= 0 && cond[row] < entries ? cond[row] : 0;
  }
};

// log_prob [rows] and responsibilities [rows, K] from squares [stretches, rows, K], whose first stretch is
// overwritten. A row is a few lanes of a warp, each with the same components in every loop.
template <typename C>
__global__ void __launch_bounds__(kThreads)
    combine_kernel(double* squares, int64_t stretches, const double* constant, ConstantIndex index, int64_t rows,
                   int64_t components, C* log_prob, C* responsibilities) {
  for (int64_t base = int64_t{blockIdx.x} * blockDim.y; base < rows; base += row_step()) {
    const int64_t row = base + threadIdx.y;
    const int64_t mine = row < rows ? components : 0;
    double* const joint = squares + row * components;
    const double* const constants = constant + (row < rows ? index.of(row) : 0) * components;
    double most = -kInfinity, sum = 0;
    for (int64_t k = threadIdx.x; k < mine; k += blockDim.x) {
      double total = joint[k];
      for (int64_t s = 1; s < stretches; ++s) total += joint[s * rows * components + k];
      joint[k] = constants[k] - 0.5 * total;
      most = fmax(most, joint[k]);
    }
    most = reduce_over_x(most, nullptr, Maximum());
    const double shift = most == -kInfinity ? 0 : most;
    for (int64_t k = threadIdx.x; k < mine; k += blockDim.x) sum += exp(joint[k] - shift);
    sum = reduce_over_x(sum, nullptr, Sum());
    for (int64_t k = threadIdx.x; k < mine; k += blockDim.x) {
      responsibilities[row * components + k] = static_cast<C>(exp(joint[k] - shift) / sum);
    }
    if (mine > 0 && threadIdx.x == 0) log_prob[row] = static_cast<C>(shift + log(sum));
  }
}

template <typename T>
void launch_constants(Mixture<T> mixture, const int64_t* cond, int64_t entries, double* constant,
                      cudaStream_t stream) {
  const dim3 grid(blocks_x(entries), blocks_yz(mixture.components));
  FLOWPRIOR_LAUNCH(constants_kernel<T>, grid, dim3(kThreads), kReduceBytes<1>, stream, mixture, cond, entries,
                   constant);
}

template <typename C>
void launch_combine(double* squares, int64_t stretches, const double* constant, ConstantIndex index, int64_t rows,
                    int64_t components, C* log_prob, C* responsibilities, cudaStream_t stream) {
  const dim3 block = block_of_rows(components, kWarp), grid(blocks_x(divide_up(rows, block.y)));
  FLOWPRIOR_LAUNCH(combine_kernel<C>, grid, block, 0, stream, squares, stretches, constant, index, rows, components,
                   log_prob, responsibilities);
}

// How gmm_log_prob is cut, and the doubles it needs beside its outputs.
struct LogProbPlan {
  dim3 block, grid;
  int64_t stretch, stretches, entries;

  template <typename T>
  static LogProbPlan of(int64_t rows, const Mixture<T>& mixture) {
    const int64_t groups = groups_of<T>(mixture.columns);
    const dim3 block = block_of_rows(groups);
    const int64_t row_blocks = divide_up(rows, block.y), batches = divide_up(mixture.components, kBatch<T>);
    // A stretch keeps at least two groups a thread.
    const int64_t wanted = parts(row_blocks * batches, groups / (2 * int64_t{block.x}));
    const int64_t stretch = divide_up(groups, wanted), stretches = divide_up(groups, stretch);
    const dim3 grid(blocks_x(row_blocks), blocks_yz(batches), static_cast<unsigned>(stretches));
    return {block, grid, stretch * kGroup<T>, stretches, std::min(mixture.conditions, rows)};
  }

  int64_t constants_size(int64_t components) const { return entries * components; }
  int64_t squares_size(int64_t rows, int64_t components) const { return stretches * rows * components; }
};

template <typename T>
void launch_gmm_log_prob(Mixture<T> mixture, Rows<const T> x, const int64_t* cond, int64_t rows, double* constant,
                         double* squares, Compute<T>* log_prob, Compute<T>* responsibilities, cudaStream_t stream) {
  if (rows == 0) return;
  const LogProbPlan plan = LogProbPlan::of(rows, mixture);
  const bool by_row = plan.entries < mixture.conditions;
  launch_constants(mixture, by_row ? cond : nullptr, plan.entries, constant, stream);
  auto* const kernel = x.aligned() && mixture.aligned() ? squares_kernel<T, true> : squares_kernel<T, false>;
  FLOWPRIOR_LAUNCH(kernel, plan.grid, plan.block, kReduceBytes<kBatch<T>>, stream, mixture, x, cond, rows, plan.stretch,
                   squares);
  const ConstantIndex index = {by_row ? nullptr : cond, plan.entries};
  launch_combine(squares, plan.stretches, constant, index, rows, mixture.components, log_prob, responsibilities,
                 stream);
}

}  // namespace flowprior::cuda
