// Gradients of Σ g_bk joint_bk, where joint_bk = −½ Σ ((x − μ)/σ)² − Σ log σ + …:
//
//     ∂x = Σ_k g (μ − x)/σ²,   ∂μ = Σ_b g (x − μ)/σ²,   ∂σ = Σ_b g (((x − μ)/σ)² − 1)/σ.
//
// Sums run in the compute type over eight terms and in double across them, in an order that depends on shapes
// alone. For one condition a row, ∂μ and ∂σ take the rows in the order of a stable sort by label: a block finds
// its condition's rows by bisection, so that no row is read for another condition's sake.
#pragma once

#include "mixture.cuh"
#include "reduce.cuh"

namespace flowprior::cuda {

constexpr int kTerms = 8;

// Rows that a thread of the ∂x kernel holds where all rows share the components.
template <typename T>
constexpr int kSharedRows = sizeof(T) == 2 ? 2 : 4;

// grad_joint [rows, width]: width is K, or C·K where every row has every component.
template <typename T>
struct LogProbGradient {
  Mixture<T> mixture;
  Rows<const T> x;
  const Compute<T>* grad;
  int64_t rows, width;
};

// Adds kTerms terms of ∂x for kRows rows: components `place` … of the table, columns `from` … of grad_joint.
template <bool kAligned, int kRows, typename T>
FLOWPRIOR_DEVICE void add_grad_x(const LogProbGradient<T>& in, int64_t row, int64_t place, int64_t from,
                                 int64_t column, const Compute<T> (&x)[kRows][kGroup<T>],
                                 double (&sums)[kRows][kGroup<T>]) {
  constexpr int kCount = kGroup<T>;
  Compute<T> partial[kRows][kCount] = {};
#pragma unroll 1
  for (int64_t n = from; n < in.width && n < from + kTerms; ++n) {
    Compute<T> mean[kCount], inverse[kCount];
    in.mixture.template load_mean<kAligned>(place + n, column, mean);
    in.mixture.template load_scale<kAligned>(place + n, column, inverse);
#pragma unroll
    for (int i = 0; i < kCount; ++i) inverse[i] = Compute<T>(1) / inverse[i];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const Compute<T> grad = row + r < in.rows ? in.grad[(row + r) * in.width + n] : Compute<T>(0);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        partial[r][i] = fused((mean[i] - x[r][i]) * inverse[i], grad * inverse[i], partial[r][i]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums[r][i] += static_cast<double>(partial[r][i]);
  }
}

// ∂x of kRows rows at a time; cond is null where every row has every component, and else kRows is 1.
template <typename T, int kRows, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    grad_x_kernel(LogProbGradient<T> in, const int64_t* cond, Rows<T> out) {
  constexpr int kCount = kGroup<T>;
  const int64_t columns = in.mixture.columns;
  for (int64_t row = first_row() * kRows; row < in.rows; row += row_step() * kRows) {
    const int64_t condition = cond ? cond[row] : 0;
    const bool known = in.mixture.knows(condition);
    for (int64_t column = first_group() * kCount; column < columns; column += group_step() * kCount) {
      Compute<T> x[kRows][kCount];
      double sums[kRows][kCount] = {};
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int64_t count = row + r < in.rows ? columns - column : 0;
        load<kAligned>(in.x.at(row + r) + column, count, x[r]);
      }
      for (int64_t from = 0; known && from < in.width; from += kTerms) {
        add_grad_x<kAligned, kRows>(in, row, condition * in.mixture.components, from, column, x, sums);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int64_t count = row + r < in.rows ? columns - column : 0;
        Compute<T> value[kCount];
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          value[i] = known ? static_cast<Compute<T>>(sums[r][i]) : not_a_number<Compute<T>>();
        }
        store<kAligned>(out.at(row + r) + column, count, value);
      }
    }
  }
}

template <typename T, int kRows>
void launch_grad_x(LogProbGradient<T> in, const int64_t* cond, Rows<T> out, cudaStream_t stream) {
  const int64_t groups = groups_of<T>(in.mixture.columns), tiles = divide_up(in.rows, kRows);
  const dim3 block = block_of_rows(groups), grid = grid_of_rows(tiles, groups, block);
  const bool aligned = in.x.aligned() && in.mixture.aligned() && out.aligned();
  auto* const kernel = aligned ? grad_x_kernel<T, kRows, true> : grad_x_kernel<T, kRows, false>;
  FLOWPRIOR_LAUNCH(kernel, grid, block, 0, stream, in, cond, out);
}

// The rows in order of their labels; both null where every row has every component.
struct RowOrder {
  const int64_t* labels;  // sorted
  const int64_t* rows;

  // Where the first label that is not below `label` stands.
  FLOWPRIOR_DEVICE int64_t first(int64_t label, int64_t count) const {
    int64_t low = 0, high = count;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (labels[middle] < label) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  FLOWPRIOR_DEVICE int64_t row(int64_t place) const { return rows ? rows[place] : place; }
};

// What a thread sums over its rows: g z and g (z² − 1), with z = (x − μ)/σ.
template <typename T>
struct TableSums {
  double mean[kGroup<T>] = {}, scale[kGroup<T>] = {};

  // Rows begin + threadIdx.y, … below end, of the order.
  template <bool kAligned>
  FLOWPRIOR_DEVICE void add(const LogProbGradient<T>& in, const RowOrder& order, int64_t begin, int64_t end,
                            int64_t index, int64_t column, const Compute<T> (&mu)[kGroup<T>],
                            const Compute<T> (&inverse)[kGroup<T>]) {
    constexpr int kCount = kGroup<T>;
    for (int64_t first = begin + threadIdx.y; first < end; first += int64_t{blockDim.y} * kTerms) {
      Compute<T> m[kCount] = {}, s[kCount] = {};
#pragma unroll 4
      for (int term = 0; term < kTerms; ++term) {
        const int64_t at = first + int64_t{blockDim.y} * term;
        if (at >= end) break;
        const int64_t row = order.row(at);
        const Compute<T> grad = in.grad[row * in.width + index];
        Compute<T> x[kCount];
        load<kAligned>(in.x.at(row) + column, in.mixture.columns - column, x);
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          const Compute<T> z = (x[i] - mu[i]) * inverse[i];
          m[i] = fused(grad, z, m[i]);
          s[i] = fused(grad, fused(z, z, Compute<T>(-1)), s[i]);
        }
      }
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        mean[i] += static_cast<double>(m[i]);
        scale[i] += static_cast<double>(s[i]);
      }
    }
  }
};

// Adds the block's rows y into row 0. All threads must call it; shared holds kCount doubles a thread.
template <int kCount>
FLOWPRIOR_DEVICE void sum_over_y(double (&values)[kCount], double* shared) {
  __syncthreads();  // an earlier call's numbers may still be in reading
#pragma unroll
  for (int i = 0; i < kCount; ++i) shared[(i * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x] = values[i];
  __syncthreads();
  if (threadIdx.y != 0) return;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    for (unsigned y = 1; y < blockDim.y; ++y) values[i] += shared[(i * blockDim.y + y) * blockDim.x + threadIdx.x];
  }
}

// ∂μ to mean [parts, C, K, D], and ∂σ to scale [parts, C, K, D], or summed over the block's columns to spherical
// [parts, C, K, gridDim.x] where the table has one σ a component. Out is T where there is one part. blockIdx.x
// takes columns; blockIdx.y goes over parts, conditions and components, in this order of significance.
template <typename T, typename Out, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    grad_table_kernel(LogProbGradient<T> in, RowOrder order, int64_t row_parts, Out* mean, Out* scale,
                      double* spherical) {
  constexpr int kCount = kGroup<T>;
  FLOWPRIOR_SHARED(double, shared);
  const Mixture<T>& mixture = in.mixture;
  const int64_t places = mixture.conditions * mixture.components;
  const int64_t column = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kCount, count = mixture.columns - column;
  for (int64_t work = blockIdx.y; work < row_parts * places; work += gridDim.y) {
    const int64_t part = work / places, place = work % places;
    const int64_t condition = place / mixture.components;
    const int64_t begin = order.labels ? order.first(condition, in.rows) : 0;
    const int64_t length = (order.labels ? order.first(condition + 1, in.rows) : in.rows) - begin;
    Compute<T> mu[kCount], inverse[kCount];
    TableSums<T> sums;
    if (count > 0) {
      mixture.template load_mean<kAligned>(place, column, mu);
      mixture.template load_scale<kAligned>(place, column, inverse);
#pragma unroll
      for (int i = 0; i < kCount; ++i) inverse[i] = Compute<T>(1) / inverse[i];
      const int64_t index = order.labels ? place % mixture.components : place;
      sums.template add<kAligned>(in, order, begin + length * part / row_parts, begin + length * (part + 1) / row_parts,
                                  index, column, mu, inverse);
    }
    sum_over_y(sums.mean, shared);
    sum_over_y(sums.scale, shared);
    double row_sum = 0;
    if (threadIdx.y == 0 && count > 0) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        sums.mean[i] *= static_cast<double>(inverse[i]);
        sums.scale[i] *= static_cast<double>(inverse[i]);
        if (i < count) row_sum += sums.scale[i];
      }
      store<false>(mean + work * mixture.columns + column, count, sums.mean);
      if (!spherical) store<false>(scale + work * mixture.columns + column, count, sums.scale);
    }
    if (spherical) {
      row_sum = reduce_over_x(row_sum, shared, Sum());
      if (threadIdx.x == 0 && threadIdx.y == 0) spherical[work * gridDim.x + blockIdx.x] = row_sum;
    }
  }
}

// out[i] = Σ_part Σ_j partial[part, i, j].
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_parts_kernel(const double* partial, int64_t parts, int64_t size, int64_t inner, T* out) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < size; i += int64_t{gridDim.x} * blockDim.x) {
    double sum = 0;
    for (int64_t part = 0; part < parts; ++part) {
      for (int64_t j = 0; j < inner; ++j) sum += partial[(part * size + i) * inner + j];
    }
    out[i] = static_cast<T>(static_cast<Compute<T>>(sum));
  }
}

// How ∂μ and ∂σ are cut, and the doubles they need beside the outputs.
struct GradTablePlan {
  dim3 block;
  int64_t column_blocks, row_parts;

  template <typename T>
  static GradTablePlan of(int64_t rows, const Mixture<T>& mixture) {
    const int64_t groups = groups_of<T>(mixture.columns);
    // A warp along the columns and eight rows: long reads, and many blocks.
    const dim3 block = block_of_rows(groups, kWarp);
    const int64_t column_blocks = divide_up(groups, block.x);
    const int64_t blocks = column_blocks * mixture.conditions * mixture.components;
    return {block, column_blocks, parts(blocks, rows / (int64_t{block.y} * kTerms))};
  }

  // ∂μ and, diagonal, ∂σ need partial sums only where there are several parts; spherical ∂σ always does.
  template <typename T>
  int64_t partial_size(const Mixture<T>& mixture) const {
    const int64_t places = mixture.conditions * mixture.components, table = row_parts * places * mixture.columns;
    const int64_t tables = row_parts > 1 ? (mixture.scale_columns == 1 ? table : 2 * table) : 0;
    return tables + (mixture.scale_columns == 1 ? row_parts * places * column_blocks : 0);
  }
};

template <typename T, typename Out>
void launch_grad_table(const LogProbGradient<T>& in, RowOrder order, const GradTablePlan& plan, Out* mean, Out* scale,
                       double* spherical, cudaStream_t stream) {
  const int64_t work = plan.row_parts * in.mixture.conditions * in.mixture.components;
  const dim3 grid(static_cast<unsigned>(plan.column_blocks), blocks_yz(work));
  const unsigned shared = std::max<unsigned>(kThreads * kGroup<T> * sizeof(double), kReduceBytes<1>);
  const bool aligned = in.x.aligned() && in.mixture.aligned();
  auto* const kernel = aligned ? grad_table_kernel<T, Out, true> : grad_table_kernel<T, Out, false>;
  FLOWPRIOR_LAUNCH(kernel, grid, plan.block, shared, stream, in, order, plan.row_parts, mean, scale, spherical);
}

template <typename T>
void launch_sum_parts(const double* partial, int64_t parts, int64_t size, int64_t inner, T* out,
                      cudaStream_t stream) {
  const dim3 grid(blocks_x(divide_up(size, kThreads)));
  FLOWPRIOR_LAUNCH(sum_parts_kernel<T>, grid, dim3(kThreads), 0, stream, partial, parts, size, inner, out);
}

template <typename T>
void launch_grad_tables(const LogProbGradient<T>& in, RowOrder order, double* partial, T* grad_mean, T* grad_scale,
                        cudaStream_t stream) {
  const GradTablePlan plan = GradTablePlan::of(in.rows, in.mixture);
  const int64_t places = in.mixture.conditions * in.mixture.components, size = places * in.mixture.columns;
  const bool spherical = in.mixture.scale_columns == 1;
  double* const narrow = spherical ? partial : nullptr;
  double* const wide = partial + (spherical ? plan.row_parts * places * plan.column_blocks : 0);
  if (plan.row_parts == 1) {
    launch_grad_table(in, order, plan, grad_mean, grad_scale, narrow, stream);
  } else {
    launch_grad_table(in, order, plan, wide, wide + plan.row_parts * size, narrow, stream);
    launch_sum_parts(wide, plan.row_parts, size, 1, grad_mean, stream);
  }
  if (spherical) {
    launch_sum_parts(narrow, plan.row_parts, places, plan.column_blocks, grad_scale, stream);
  } else if (plan.row_parts > 1) {
    launch_sum_parts(wide + plan.row_parts * size, plan.row_parts, size, 1, grad_scale, stream);
  }
}

// cond [rows] with the rows' order: grad_joint [rows, K]. cond null and an empty order: grad_joint [rows, C, K].
template <typename T>
void launch_gmm_log_prob_backward(const LogProbGradient<T>& in, const int64_t* cond, RowOrder order, double* partial,
                                  Rows<T> grad_x, T* grad_mean, T* grad_scale, cudaStream_t stream) {
  if (in.rows > 0 && cond) launch_grad_x<T, 1>(in, cond, grad_x, stream);
  if (in.rows > 0 && !cond) launch_grad_x<T, kSharedRows<T>>(in, cond, grad_x, stream);
  launch_grad_tables(in, order, partial, grad_mean, grad_scale, stream);
}

}  // namespace flowprior::cuda
