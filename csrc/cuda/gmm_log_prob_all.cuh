// log p(x | c) and the responsibilities for every condition: rows × components tiled through shared memory, as a
// matrix product is, with (x − μ)/σ in place of the factors. A thread holds kRows × kPlaces sums, in the compute
// type within kColumns columns and in double across.
#pragma once

#include "gmm_log_prob.cuh"

namespace flowprior::cuda {

struct Tile {
  static constexpr int kColumns = 32;
  static constexpr int kLanesX = 8, kLanesY = 16;  // threads across components, and across rows
  static constexpr int kPerThread = 4;             // components, and rows, of one thread
  static constexpr int kPlaces = kLanesX * kPerThread, kRows = kLanesY * kPerThread;
  static constexpr int kSize = kLanesX * kLanesY;
  static constexpr int kRowPitch = kRows + 1, kPlacePitch = kPlaces + 1;  // odd: no bank meets twice

  template <typename C>
  static constexpr unsigned bytes() {
    return sizeof(C) * kColumns * (kRowPitch + 2 * kPlacePitch);
  }
};

// Columns column … column + kColumns − 1 of the tile's rows, transposed; zero where there are none.
template <typename T, typename C>
FLOWPRIOR_DEVICE void stage_rows(const Rows<const T>& x, int64_t first, int64_t rows, int64_t column, int64_t end,
                                 C* to) {
  const int lane = threadIdx.x % Tile::kColumns;
  for (int i = threadIdx.x / Tile::kColumns; i < Tile::kRows; i += Tile::kSize / Tile::kColumns) {
    const bool there = first + i < rows && column + lane < end;
    to[lane * Tile::kRowPitch + i] = there ? static_cast<C>(x.at(first + i)[column + lane]) : C(0);
  }
}

// μ and 1/σ of the tile's components, transposed; zero where there are none.
template <typename T, typename C>
FLOWPRIOR_DEVICE void stage_places(const Mixture<T>& mixture, int64_t first, int64_t places, int64_t column,
                                   int64_t end, C* mean, C* inverse) {
  const int lane = threadIdx.x % Tile::kColumns;
  for (int i = threadIdx.x / Tile::kColumns; i < Tile::kPlaces; i += Tile::kSize / Tile::kColumns) {
    C m = 0, s = 0;
    if (first + i < places && column + lane < end) {
      m = static_cast<C>(mixture.mean_at(first + i)[column + lane]);
      s = C(1) / static_cast<C>(mixture.scale_at(first + i)[mixture.scale_columns == 1 ? 0 : column + lane]);
    }
    mean[lane * Tile::kPlacePitch + i] = m;
    inverse[lane * Tile::kPlacePitch + i] = s;
  }
}

// Adds the staged columns' squares.
template <typename C>
FLOWPRIOR_DEVICE void add_tile(const C* x, const C* mean, const C* inverse, int columns,
                               double (&sums)[Tile::kPerThread][Tile::kPerThread]) {
  constexpr int kEach = Tile::kPerThread;
  const int lane_x = threadIdx.x % Tile::kLanesX, lane_y = threadIdx.x / Tile::kLanesX;
  C squares[kEach][kEach] = {};
  for (int d = 0; d < columns; ++d) {
    C row[kEach], m[kEach], s[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      row[i] = x[d * Tile::kRowPitch + lane_y + i * Tile::kLanesY];
      m[i] = mean[d * Tile::kPlacePitch + lane_x + i * Tile::kLanesX];
      s[i] = inverse[d * Tile::kPlacePitch + lane_x + i * Tile::kLanesX];
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const C z = (row[i] - m[j]) * s[j];
        squares[i][j] = fused(z, z, squares[i][j]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) sums[i][j] += static_cast<double>(squares[i][j]);
  }
}

// squares [stretches, rows, places] with places = C·K: block (x, y, z) takes a tile of rows, tiles of places, and
// a stretch of columns.
template <typename T>
__global__ void __launch_bounds__(Tile::kSize)
    squares_all_kernel(Mixture<T> mixture, Rows<const T> x, int64_t rows, int64_t stretch, double* squares) {
  using C = Compute<T>;
  constexpr int kEach = Tile::kPerThread;
  FLOWPRIOR_SHARED(C, staged_x);
  C* const staged_mean = staged_x + Tile::kColumns * Tile::kRowPitch;
  C* const staged_inverse = staged_mean + Tile::kColumns * Tile::kPlacePitch;
  const int64_t places = mixture.conditions * mixture.components, begin = blockIdx.z * stretch;
  const int64_t end = begin + stretch < mixture.columns ? begin + stretch : mixture.columns;
  for (int64_t row = int64_t{blockIdx.x} * Tile::kRows; row < rows; row += int64_t{gridDim.x} * Tile::kRows) {
    for (int64_t place = int64_t{blockIdx.y} * Tile::kPlaces; place < places;
         place += int64_t{gridDim.y} * Tile::kPlaces) {
      double sums[kEach][kEach] = {};
      for (int64_t column = begin; column < end; column += Tile::kColumns) {
        __syncthreads();  // the tile before this one has been read
        stage_rows(x, row, rows, column, end, staged_x);
        stage_places(mixture, place, places, column, end, staged_mean, staged_inverse);
        __syncthreads();
        const int columns = static_cast<int>(end - column < Tile::kColumns ? end - column : Tile::kColumns);
        add_tile(staged_x, staged_mean, staged_inverse, columns, sums);
      }
      const int64_t my_row = row + threadIdx.x / Tile::kLanesX, my_place = place + threadIdx.x % Tile::kLanesX;
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
          const int64_t r = my_row + i * Tile::kLanesY, n = my_place + j * Tile::kLanesX;
          if (r < rows && n < places) squares[(int64_t{blockIdx.z} * rows + r) * places + n] = sums[i][j];
        }
      }
    }
  }
}

// How gmm_log_prob_all is cut, and the doubles it needs beside its outputs.
struct LogProbAllPlan {
  dim3 grid;
  int64_t stretch, stretches;

  template <typename T>
  static LogProbAllPlan of(int64_t rows, const Mixture<T>& mixture) {
    const int64_t row_tiles = divide_up(rows, Tile::kRows);
    const int64_t place_tiles = divide_up(mixture.conditions * mixture.components, Tile::kPlaces);
    const int64_t steps = divide_up(mixture.columns, Tile::kColumns);
    // A stretch keeps at least four steps, so that its sums are few beside what it reads.
    const int64_t wanted = parts(row_tiles * place_tiles, steps / 4);
    const int64_t stretch = divide_up(steps, wanted), stretches = divide_up(steps, stretch);
    return {dim3(blocks_x(row_tiles), blocks_yz(place_tiles), static_cast<unsigned>(stretches)),
            stretch * Tile::kColumns, stretches};
  }

  int64_t squares_size(int64_t rows, int64_t places) const { return stretches * rows * places; }
};

// constant [C, K], squares as the plan says, log_prob [rows, C], responsibilities [rows, C, K].
template <typename T>
void launch_gmm_log_prob_all(Mixture<T> mixture, Rows<const T> x, int64_t rows, double* constant, double* squares,
                             Compute<T>* log_prob, Compute<T>* responsibilities, cudaStream_t stream) {
  if (rows == 0 || mixture.conditions == 0) return;
  const LogProbAllPlan plan = LogProbAllPlan::of(rows, mixture);
  launch_constants<T>(mixture, nullptr, mixture.conditions, constant, stream);
  FLOWPRIOR_LAUNCH(squares_all_kernel<T>, plan.grid, dim3(Tile::kSize), Tile::bytes<Compute<T>>(), stream, mixture, x,
                   rows, plan.stretch, squares);
  launch_combine(squares, plan.stretches, constant, ConstantIndex{nullptr, mixture.conditions},
                 rows * mixture.conditions, mixture.components, log_prob, responsibilities, stream);
}

}  // namespace flowprior::cuda
