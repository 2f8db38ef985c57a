// Rows cut into units of kColumns columns.
#pragma once

#include "storage.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

// A piece of a unit that is brought into the first-level cache where numbers have to be converted.
constexpr int64_t kBlock = 512;

// Calls work(row, column, count, unit) for units begin … end − 1 of rows of `dim` columns.
template <typename Work>
FLOWPRIOR_INLINE void for_each_unit(int64_t dim, int64_t begin, int64_t end, Work work) {
  const int64_t units = (dim + kColumns - 1) / kColumns;
  int64_t row = begin / units, piece = begin % units;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t column = piece * kColumns, left = dim - column;
    work(row, column, left < kColumns ? left : kColumns, unit);
    piece = piece + 1 < units ? piece + 1 : 0;
    row += piece == 0;
  }
}

// Calls work(offset, count) for the blocks of a piece of a row.
template <typename Work>
FLOWPRIOR_INLINE void for_each_block(int64_t count, Work work) {
  for (int64_t offset = 0; offset < count; offset += kBlock) {
    work(offset, count - offset < kBlock ? count - offset : kBlock);
  }
}

template <typename T>
FLOWPRIOR_INLINE const T* row_pointer(const Rows& rows, int64_t row, int64_t column) {
  return static_cast<const T*>(rows.data) + row * rows.stride + column;
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
