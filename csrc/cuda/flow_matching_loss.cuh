// The loss and its gradient in one pass over memory. A block sums a stretch of columns of its rows; a second,
// small kernel adds the stretches in their order, and, for the mean, the rows.
#pragma once

#include "reduce.cuh"
#include "rows.cuh"

namespace flowprior::cuda {

// u, or x1 − x0 where u is null.
template <typename S>
struct Target {
  Rows<const S> u, x0, x1;

  bool aligned() const { return u.data ? u.aligned() : x0.aligned() && x1.aligned(); }

  template <bool kAligned, int kCount, typename C>
  FLOWPRIOR_DEVICE void load_group(int64_t row, int64_t column, int64_t count, C (&to)[kCount]) const {
    if (u.data) {
      load<kAligned>(u.at(row) + column, count, to);
      return;
    }
    C start[kCount];
    load<kAligned>(x1.at(row) + column, count, to);
    load<kAligned>(x0.at(row) + column, count, start);
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i] -= start[i];
  }
};

// gradient.data may be null. Its factor in a row is `factor` times the row's weight.
template <typename T, typename S>
struct LossInputs {
  Rows<const T> v;
  Target<S> target;
  const Compute<T>* weight;
  int64_t rows, columns;
  Rows<T> gradient;
  double factor;
};

// Σ (v − target)² over stretch blockIdx.y of each row, to partial [rows, gridDim.y]; `stretch` in groups.
template <typename T, typename S, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    loss_rows_kernel(LossInputs<T, S> in, int64_t stretch, double* partial) {
  constexpr int kCount = kGroup<T>;
  FLOWPRIOR_SHARED(double, shared);
  const int64_t begin = int64_t{blockIdx.y} * stretch * kCount;
  const int64_t end = begin + stretch * kCount < in.columns ? begin + stretch * kCount : in.columns;
  // The same number of turns for every thread of the block, since all meet in the reduction.
  for (int64_t base = int64_t{blockIdx.x} * blockDim.y; base < in.rows; base += row_step()) {
    const int64_t row = base + threadIdx.y;
    double sum = 0;
    if (row < in.rows) {
      const double weight = in.weight ? static_cast<double>(in.weight[row]) : 1.0;
      const auto factor = static_cast<Compute<T>>(in.factor * weight);
      for (int64_t column = begin + int64_t{threadIdx.x} * kCount; column < end; column += int64_t{blockDim.x} * kCount) {
        const int64_t count = in.columns - column;
        Compute<T> error[kCount], target[kCount], squares = 0;
        load<kAligned>(in.v.at(row) + column, count, error);
        in.target.template load_group<kAligned>(row, column, count, target);
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          error[i] -= target[i];
          squares = fused(error[i], error[i], squares);
          error[i] *= factor;
        }
        if (in.gradient.data) store<kAligned>(in.gradient.at(row) + column, count, error);
        sum += static_cast<double>(squares);
      }
    }
    sum = reduce_over_x(sum, shared, Sum());
    if (row < in.rows && threadIdx.x == 0) partial[row * gridDim.y + blockIdx.y] = sum;
  }
}

// e_b of every row, and w_b e_b as loss [rows] where row_sums is null. Otherwise the mean of w_b e_b: one block
// writes it, several leave their sums in row_sums [gridDim.x].
template <typename C>
__global__ void __launch_bounds__(kThreads)
    finish_rows_kernel(const double* partial, int64_t stretches, const C* weight, int64_t rows, int64_t columns,
                       C* squared_error, C* loss, double* row_sums) {
  FLOWPRIOR_SHARED(double, shared);
  double sum = 0;
  for (int64_t row = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; row < rows; row += int64_t{gridDim.x} * blockDim.x) {
    double error = 0;
    for (int64_t i = 0; i < stretches; ++i) error += partial[row * stretches + i];
    error /= static_cast<double>(columns);
    const double weighted = weight ? static_cast<double>(weight[row]) * error : error;
    squared_error[row] = static_cast<C>(error);
    if (!row_sums) loss[row] = static_cast<C>(weighted);
    sum += weighted;
  }
  if (!row_sums) return;
  sum = reduce_over_x(sum, shared, Sum());
  if (threadIdx.x != 0) return;
  if (gridDim.x > 1) {
    row_sums[blockIdx.x] = sum;
  } else {
    loss[0] = static_cast<C>(sum / static_cast<double>(rows));
  }
}

// The mean of the rows from the blocks' sums, by one block; not a number where there are no rows.
template <typename C>
__global__ void __launch_bounds__(kThreads)
    finish_mean_kernel(const double* row_sums, int64_t count, int64_t rows, C* loss) {
  FLOWPRIOR_SHARED(double, shared);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += row_sums[i];
  sum = reduce_over_x(sum, shared, Sum());
  if (threadIdx.x == 0) loss[0] = rows > 0 ? static_cast<C>(sum / static_cast<double>(rows)) : not_a_number<C>();
}

// How the work is cut, and how many doubles the partial sums take.
struct LossPlan {
  dim3 block;
  int64_t stretch, stretches, row_blocks;

  template <typename T>
  static LossPlan of(int64_t rows, int64_t columns) {
    const int64_t groups = groups_of<T>(columns);
    const dim3 block = block_of_rows(groups);
    // Four groups a thread: enough loads in flight, and few partial sums.
    const int64_t stretch = std::max<int64_t>(4 * int64_t{block.x}, divide_up(groups, kMostBlocksYZ));
    return {block, stretch, divide_up(groups, stretch), blocks_x(std::min<int64_t>(divide_up(rows, kThreads), 256))};
  }

  int64_t partial_size(int64_t rows) const { return rows * stretches + row_blocks; }
};

template <typename T, typename S>
void launch_flow_matching_loss(LossInputs<T, S> in, bool mean, double* partial, Compute<T>* squared_error,
                               Compute<T>* loss, cudaStream_t stream) {
  const LossPlan plan = LossPlan::of<T>(in.rows, in.columns);
  double* const row_sums = mean ? partial + in.rows * plan.stretches : nullptr;
  if (in.rows > 0 && in.columns > 0) {
    const dim3 grid(blocks_x(divide_up(in.rows, plan.block.y)), static_cast<unsigned>(plan.stretches));
    const bool aligned =
        in.v.aligned() && in.target.aligned() && (!in.gradient.data || in.gradient.aligned());
    auto* const kernel = aligned ? loss_rows_kernel<T, S, true> : loss_rows_kernel<T, S, false>;
    FLOWPRIOR_LAUNCH(kernel, grid, plan.block, kReduceBytes<1>, stream, in, plan.stretch, partial);
  }
  if (in.rows > 0) {
    FLOWPRIOR_LAUNCH(finish_rows_kernel<Compute<T>>, dim3(static_cast<unsigned>(plan.row_blocks)), dim3(kThreads), kReduceBytes<1>,
                     stream, partial, plan.stretches, in.weight, in.rows, in.columns, squared_error, loss, row_sums);
  }
  if (mean && (in.rows == 0 || plan.row_blocks > 1)) {
    FLOWPRIOR_LAUNCH(finish_mean_kernel<Compute<T>>, dim3(1), dim3(kThreads), kReduceBytes<1>, stream, row_sums,
                     in.rows > 0 ? plan.row_blocks : 0, in.rows, loss);
  }
}

}  // namespace flowprior::cuda
