// Blocks of rows and of mixture components, laid out for the registers.
//
// A block is kSteps registers of columns d. For a block, components are packed in tiles of kTileColumns: at each
// step the means of the tile's components and the reciprocals of their scales, so that a loop over the steps
// reads one stream. What lies past the last column is filled so that it adds nothing: x = 0, mean 0, scale 1.
#pragma once

#include "storage.h"

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

// `count` stored numbers as whole registers of computed ones, the last one filled up.
template <typename T>
FLOWPRIOR_INLINE const Compute<T>* read_padded(const T* from, int64_t count, Compute<T> fill, Compute<T>* buffer) {
  const int64_t padded = steps_of<Compute<T>>(count) * Vector<Compute<T>>::kLanes;
  if (sizeof(T) == sizeof(Compute<T>) && padded == count) return read_block(from, count, buffer);
  store_widened(from, count, buffer);
  for (int64_t i = count; i < padded; ++i) buffer[i] = fill;
  return buffer;
}

// Where |μ| ≤ 16 σ throughout a block, z = (x − μ)/σ may be had as x/σ − μ/σ in one fused multiply-add instead of
// two operations: the rounding of μ/σ then moves z by less than 5e−7, and z² + log 2π by less than 4e−7 of itself.
// Whether that holds is asked of each component and block by itself, so that no result depends on its neighbours.
constexpr int kNearScales = 16;
#if defined(__FMA__) || defined(__aarch64__)
constexpr bool kUseNear = true;
#else
constexpr bool kUseNear = false;
#endif

// Columns are components here, as everywhere in these files where rows are rows of x.
template <typename C>
struct ColumnTile {
  C* packed;
  int64_t column;
  int width;  // kTileColumns or 1
  bool near;  // packed are −μ/σ and 1/σ instead of μ and 1/σ
};

// Component `within` of a tile. In near form, returns whether all of the block is near; else true.
template <bool kNear, typename T>
FLOWPRIOR_INLINE bool pack_column(const Mixture& mixture, int64_t column, int64_t begin, int64_t count, int width,
                                  Compute<T>* packed) {
  typedef Compute<T> C;
  typedef typename Vector<C>::Type V;
  constexpr int lanes = Vector<C>::kLanes;
  alignas(64) C mean_buffer[kBlockColumns<C>], scale_buffer[kBlockColumns<C>];
  const T* const means = static_cast<const T*>(mixture.mean) + column * mixture.dim + begin;
  const T* const scales = static_cast<const T*>(mixture.scale);
  const C* const mean = read_padded(means, count, C{0}, mean_buffer);
  const C* const scale =
      mixture.spherical ? nullptr : read_padded(scales + column * mixture.dim + begin, count, C{1}, scale_buffer);
  V inverse = {}, farthest = {};
  if (!scale) inverse = all_lanes_of(C{1} / widen(scales[column]));
  for (int64_t step = 0; step < steps_of<C>(count); ++step, packed += width * 2 * lanes) {
    V first = load_vector(mean + step * lanes);
    if (scale) inverse = C{1} / load_vector(scale + step * lanes);
    if constexpr (kNear) {
      first = -first * inverse;
      farthest = greater_magnitude(first, farthest);
    }
    store_vector(packed, first);
    store_vector(packed + lanes, inverse);
  }
  return none_above(farthest, C{kNearScales});
}

template <bool kNear, typename T>
FLOWPRIOR_INLINE int pack_tile(const Mixture& mixture, const ColumnTile<Compute<T>>& tile, int64_t begin,
                               int64_t count) {
  int near = 0;
  for (int i = 0; i < tile.width; ++i) {
    Compute<T>* const to = tile.packed + i * 2 * Vector<Compute<T>>::kLanes;
    near += pack_column<kNear, T>(mixture, tile.column + i, begin, count, tile.width, to);
  }
  return near;
}

// Packs a tile, in near form if all of it is near and in far form if none is. Returns false where it is mixed.
template <typename T>
FLOWPRIOR_INLINE bool pack_alike(const Mixture& mixture, ColumnTile<Compute<T>>& tile, int64_t begin, int64_t count) {
  const int near = kUseNear ? pack_tile<true, T>(mixture, tile, begin, count) : 0;
  tile.near = near == tile.width;
  if (near == 0) pack_tile<false, T>(mixture, tile, begin, count);
  return tile.near || near == 0;
}

// Packs the block begin … begin + count − 1 of at most kChunkColumns components, in full tiles where as many of one
// kind stand together and else by themselves. Returns how many tiles.
template <typename T>
FLOWPRIOR_INLINE int pack_columns(const Mixture& mixture, int64_t column, int64_t column_end, int64_t begin,
                                  int64_t count, Compute<T>* packed, ColumnTile<Compute<T>>* tiles) {
  const int64_t size = steps_of<Compute<T>>(count) * 2 * Vector<Compute<T>>::kLanes;
  int made = 0;
  int64_t alone = 0;  // components that are to stand by themselves
  while (column < column_end) {
    const bool full = alone == 0 && column + kTileColumns <= column_end;
    ColumnTile<Compute<T>>& tile = tiles[made];
    tile = {packed, column, full ? kTileColumns : 1, false};
    if (pack_alike<T>(mixture, tile, begin, count)) {
      packed += size * tile.width;
      column += tile.width;
      alone -= alone > 0;
      ++made;
    } else {
      alone = kTileColumns;
    }
  }
  return made;
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
