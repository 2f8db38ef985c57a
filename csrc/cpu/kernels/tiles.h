// Blocks of rows and of mixture components, laid out for the registers.
//
// A block is kSteps registers of columns d. For a block, components are packed in tiles of kTileColumns: at each
// step the means of the tile's components and the reciprocals of their scales, so that a loop over the steps
// reads one stream. What lies past the last column is filled so that it adds nothing: x = 0, mean 0, scale 1.
#pragma once

#include "jobs.h"
#include "vector.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

constexpr int kSteps = 32;
constexpr int kTileRows = 4;
#if defined(__aarch64__)
constexpr int kTileColumns = 4;  // 16 sums, 4 rows, a mean, a reciprocal: of 32 registers
#else
constexpr int kTileColumns = 2;  // 8 sums, 4 rows, a mean, a reciprocal: of 16 registers
#endif
// Packed components of a block and four rows fit a first-level cache of 48 KiB.
constexpr int kChunkColumns = 8;

template <typename C>
constexpr int kBlockColumns = kSteps * Vector<C>::kLanes;

template <typename C>
FLOWPRIOR_INLINE int64_t steps_of(int64_t count) {
  return (count + Vector<C>::kLanes - 1) / Vector<C>::kLanes;
}

// Copies `count` numbers and fills up to `padded`.
template <typename C>
FLOWPRIOR_INLINE void read_filled(const C* from, int64_t count, int64_t padded, C fill, C* to) {
  std::memcpy(to, from, sizeof(C) * count);
  for (int64_t i = count; i < padded; ++i) to[i] = fill;
}

// `count` numbers as whole registers: themselves, or a copy whose last register is filled up.
template <typename C>
FLOWPRIOR_INLINE const C* read_padded(const C* from, int64_t count, C fill, C* buffer) {
  const int64_t padded = steps_of<C>(count) * Vector<C>::kLanes;
  if (padded == count) return from;
  read_filled(from, count, padded, fill, buffer);
  return buffer;
}

// Columns are components here, as everywhere in these files where rows are rows of x.
template <typename C>
struct ColumnTile {
  C* packed;
  int64_t column;
  int width;  // kTileColumns or 1
};

// One component of a tile of `width`.
template <typename T>
FLOWPRIOR_INLINE void pack_column(const Mixture& mixture, int64_t column, int64_t begin, int64_t count, int width,
                                  T* packed) {
  typedef typename Vector<T>::Type V;
  constexpr int lanes = Vector<T>::kLanes;
  alignas(64) T mean_buffer[kBlockColumns<T>], scale_buffer[kBlockColumns<T>];
  const T* const means = static_cast<const T*>(mixture.mean) + column * mixture.dim + begin;
  const T* const scales = static_cast<const T*>(mixture.scale);
  const T* const mean = read_padded(means, count, T{0}, mean_buffer);
  const T* const scale =
      mixture.spherical ? nullptr : read_padded(scales + column * mixture.dim + begin, count, T{1}, scale_buffer);
  V inverse = {};
  if (!scale) inverse = all_lanes_of(T{1} / scales[column]);
  for (int64_t step = 0; step < steps_of<T>(count); ++step, packed += width * 2 * lanes) {
    if (scale) inverse = T{1} / load_vector(scale + step * lanes);
    store_vector(packed, load_vector(mean + step * lanes));
    store_vector(packed + lanes, inverse);
  }
}

// Packs the block begin … begin + count − 1 of at most kChunkColumns components, in full tiles as far as they go and
// then by themselves. Returns how many tiles.
template <typename T>
FLOWPRIOR_INLINE int pack_columns(const Mixture& mixture, int64_t column, int64_t column_end, int64_t begin,
                                  int64_t count, T* packed, ColumnTile<T>* tiles) {
  constexpr int lanes = Vector<T>::kLanes;
  const int64_t size = steps_of<T>(count) * 2 * lanes;
  int made = 0;
  while (column < column_end) {
    const int width = column + kTileColumns <= column_end ? kTileColumns : 1;
    tiles[made++] = {packed, column, width};
    for (int i = 0; i < width; ++i) {
      pack_column<T>(mixture, column + i, begin, count, width, packed + i * 2 * lanes);
    }
    packed += size * width;
    column += width;
  }
  return made;
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
