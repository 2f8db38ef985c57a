// Σ_d ((x−μ)/σ)² of rows and components, in the centred form, which neither cancels nor overflows.
#pragma once

#include "tiles.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

// Rows of this many columns or fewer lie across the lanes, since one row would not fill a register.
constexpr int64_t kShortRow = 16;

// Adds a block's part to the sums of kRows rows and kWidth components, which are joint[t · stride + r]. Its own
// type adds within the block, float64 adds the blocks.
template <int kRows, int kWidth, typename C>
FLOWPRIOR_INLINE void add_tile(const C* const* x, const C* packed, int64_t steps, double* joint, int64_t stride) {
  typedef typename Vector<C>::Type V;
  constexpr int lanes = Vector<C>::kLanes;
  V total[kWidth * kRows] = {};
  for (int64_t step = 0; step < steps; ++step) {
    V row[kRows];
    for (int r = 0; r < kRows; ++r) row[r] = load_vector(x[r] + step * lanes);
    for (int t = 0; t < kWidth; ++t, packed += 2 * lanes) {
      const V mean = load_vector(packed), inverse = load_vector(packed + lanes);
      for (int r = 0; r < kRows; ++r) {
        const V z = (row[r] - mean) * inverse;
        total[t * kRows + r] = fused(z, z, total[t * kRows + r]);
      }
    }
  }
  C sums[kWidth * kRows];
  if constexpr (kWidth * kRows % 4 == 0) {
    for (int i = 0; i < kWidth * kRows; i += 4) {
      sum_lanes4(total[i], total[i + 1], total[i + 2], total[i + 3], sums + i);
    }
  } else {
    for (int i = 0; i < kWidth * kRows; ++i) sums[i] = sum_lanes(total[i]);
  }
  for (int t = 0; t < kWidth; ++t) {
    for (int r = 0; r < kRows; ++r) joint[t * stride + r] += static_cast<double>(sums[t * kRows + r]);
  }
}

template <int kRows, typename C>
FLOWPRIOR_INLINE void add_tile(const C* const* x, const ColumnTile<C>& tile, int64_t steps, double* joint,
                               int64_t stride) {
  double* const to = joint + tile.column * stride;
  if (tile.width == kTileColumns) {
    add_tile<kRows, kTileColumns>(x, tile.packed, steps, to, stride);
  } else {
    add_tile<kRows, 1>(x, tile.packed, steps, to, stride);
  }
}

FLOWPRIOR_INLINE int64_t listed_row(const DensityJob& job, int64_t i) { return job.order ? job.order[i] : i; }

// Where row i of the list has the block's columns; past the list, where its last row has them.
template <typename T>
FLOWPRIOR_INLINE const T* block_of_row(const DensityJob& job, int64_t i, int64_t begin) {
  const int64_t row = listed_row(job, i < job.row_end ? i : job.row_end - 1);
  return static_cast<const T*>(job.x.data) + row * job.x.stride + begin;
}

// Rows of a condition lie anywhere, and a block of each is too short for the processor to foresee the next; with few
// components there is little to do meanwhile.
FLOWPRIOR_INLINE void prefetch(const void* from, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(static_cast<const char*>(from) + at);
}

// Rows i … i + kRows − 1 of the list against all tiles of a block.
template <int kRows, typename T>
FLOWPRIOR_INLINE void add_rows(const DensityJob& job, int64_t i, int64_t begin, int64_t count,
                               const ColumnTile<T>* tiles, int made, double* joint) {
  alignas(64) T buffer[kRows][kBlockColumns<T>];
  const T* x[kRows];
  for (int r = 0; r < kRows; ++r) {
    x[r] = read_padded(block_of_row<T>(job, i + r, begin), count, T{0}, buffer[r]);
    if (made == 1) prefetch(block_of_row<T>(job, i + kRows + r, begin), count * static_cast<int64_t>(sizeof(T)));
  }
  for (int tile = 0; tile < made; ++tile) {
    add_tile<kRows>(x, tiles[tile], steps_of<T>(count), joint + (i - job.row_begin), job.joint_stride);
  }
}

template <typename T>
static void long_row_distances(const DensityJob& job, int64_t column_begin, int64_t column_end, double* joint) {
  alignas(64) T packed[kChunkColumns * 2 * kBlockColumns<T>];
  ColumnTile<T> tiles[kChunkColumns];
  const int64_t dim = job.mixture.dim;
  for (int64_t begin = 0; begin < dim; begin += kBlockColumns<T>) {
    const int64_t count = dim - begin < kBlockColumns<T> ? dim - begin : kBlockColumns<T>;
    for (int64_t column = column_begin; column < column_end; column += kChunkColumns) {
      const int64_t end = column + kChunkColumns < column_end ? column + kChunkColumns : column_end;
      const int made = pack_columns<T>(job.mixture, column, end, begin, count, packed, tiles);
      int64_t i = job.row_begin;
      if (made == 1 && tiles->width == 1) {  // one component alone leaves registers for more rows
        constexpr int rows = 2 * kTileRows;
        for (; i + rows <= job.row_end; i += rows) add_rows<rows, T>(job, i, begin, count, tiles, 1, joint);
      }
      for (; i + kTileRows <= job.row_end; i += kTileRows) add_rows<kTileRows, T>(job, i, begin, count, tiles, made, joint);
      for (; i < job.row_end; ++i) add_rows<1, T>(job, i, begin, count, tiles, made, joint);
    }
  }
}

// kVectors registers of rows against one component.
template <int kVectors, typename C>
FLOWPRIOR_INLINE void short_row_tile(const C* x, const C* mean, const C* inverse, int64_t dim, double* joint) {
  typedef typename Vector<C>::Type V;
  constexpr int lanes = Vector<C>::kLanes;
  V total[kVectors] = {};
  for (int64_t d = 0; d < dim; ++d) {
    for (int v = 0; v < kVectors; ++v) {
      const V z = (load_vector(x + (d * kVectors + v) * lanes) - mean[d]) * inverse[d];
      total[v] = fused(z, z, total[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    for (int lane = 0; lane < lanes; ++lane) joint[v * lanes + lane] = static_cast<double>(total[v][lane]);
  }
}

// Up to kVectors registers of rows from row i of the list on, against every component.
template <int kVectors, typename T>
FLOWPRIOR_INLINE void short_rows(const DensityJob& job, int64_t i, int64_t columns, const T* mean,
                                 const T* inverse, double* joint) {
  constexpr int64_t rows = kVectors * Vector<T>::kLanes;
  const int64_t dim = job.mixture.dim, count = job.row_end - i < rows ? job.row_end - i : rows;
  alignas(64) T x[kShortRow * rows];
  if (count < rows) std::memset(x, 0, sizeof(T) * dim * rows);
  for (int64_t r = 0; r < count; ++r) {
    const T* const row = static_cast<const T*>(job.x.data) + listed_row(job, i + r) * job.x.stride;
    for (int64_t d = 0; d < dim; ++d) x[d * rows + r] = row[d];
  }
  for (int64_t column = 0; column < columns; ++column) {
    double* const to = joint + column * job.joint_stride + (i - job.row_begin);
    short_row_tile<kVectors>(x, mean + column * dim, inverse + column * dim, dim, to);
  }
}

// Means and reciprocal scales of up to kChunkColumns components.
template <typename T>
FLOWPRIOR_INLINE void read_short_columns(const Mixture& mixture, int64_t column, int64_t columns, T* mean,
                                         T* inverse) {
  const T* const scales = static_cast<const T*>(mixture.scale);
  std::memcpy(mean, static_cast<const T*>(mixture.mean) + column * mixture.dim, sizeof(T) * columns * mixture.dim);
  for (int64_t i = 0; i < columns * mixture.dim; ++i) {
    const int64_t at = mixture.spherical ? column + i / mixture.dim : column * mixture.dim + i;
    inverse[i] = T{1} / scales[at];
  }
}

template <typename T>
static void short_row_distances(const DensityJob& job, int64_t column_begin, int64_t column_end, double* joint) {
  constexpr int lanes = Vector<T>::kLanes;
  T mean[kChunkColumns * kShortRow], inverse[kChunkColumns * kShortRow];
  for (int64_t column = column_begin; column < column_end; column += kChunkColumns) {
    const int64_t columns = column_end - column < kChunkColumns ? column_end - column : kChunkColumns;
    double* const to = joint + column * job.joint_stride;
    read_short_columns<T>(job.mixture, column, columns, mean, inverse);
    int64_t i = job.row_begin;
    for (; i + 4 * lanes <= job.row_end; i += 4 * lanes) short_rows<4, T>(job, i, columns, mean, inverse, to);
    for (; i < job.row_end; i += lanes) short_rows<1, T>(job, i, columns, mean, inverse, to);
  }
}

// Fills job.joint, whose first line is the first condition's first component.
template <typename T>
FLOWPRIOR_INLINE void distances(const DensityJob& job) {
  const int64_t column_begin = job.condition_begin * job.mixture.components;
  const int64_t column_end = job.condition_end * job.mixture.components;
  double* const joint = job.joint - column_begin * job.joint_stride;
  std::memset(job.joint, 0, sizeof(double) * (column_end - column_begin) * job.joint_stride);
  if (job.mixture.dim <= kShortRow) {
    short_row_distances<T>(job, column_begin, column_end, joint);
  } else {
    long_row_distances<T>(job, column_begin, column_end, joint);
  }
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
