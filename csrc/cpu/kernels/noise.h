// Standard normal numbers in blocks that stay in the first-level cache.
//
// Numbers are counted in groups of four columns, rows one after the other. A block takes the next kGroups groups
// wherever rows end, so that rows of two columns fill the registers as well as rows of thousands do.
#pragma once

#include "../../math/normal.h"
#include "philox_lanes.h"

namespace flowprior::cpu::FLOWPRIOR_ISA {

constexpr int64_t kGroups = 256;

struct NoisePosition {
  int64_t row, group;
};

// The counters of a block's groups. Returns how many: a block ends where the row number's upper word changes.
FLOWPRIOR_INLINE int64_t fill_counters(NoisePosition at, int64_t row_groups, int64_t most, uint32_t* group,
                                       uint32_t* row) {
  const uint64_t row_high = static_cast<uint64_t>(at.row) >> 32;
  int64_t count = 0;
  while (count < most && static_cast<uint64_t>(at.row) >> 32 == row_high) {
    const int64_t left = row_groups - at.group;
    const int64_t length = left < most - count ? left : most - count;
    for (int64_t i = 0; i < length; ++i) {
      group[count + i] = static_cast<uint32_t>(at.group + i);
      row[count + i] = static_cast<uint32_t>(at.row);
    }
    count += length;
    ++at.row;
    at.group = 0;
  }
  return count;
}

FLOWPRIOR_INLINE FloatPair pair_of(uint32_t radius, uint32_t angle, float) { return normal_pair(radius, angle); }
FLOWPRIOR_INLINE DoublePair pair_of(uint32_t radius, uint32_t angle, double) {
  return normal_pair_double(radius, angle);
}

// Four numbers from each of `count` sets of words; whole registers again.
template <typename C>
FLOWPRIOR_INLINE void normals(const uint32_t* words, int64_t count, C* out) {
  const int64_t padded = (count + 15) & ~int64_t{15};
  for (int64_t i = 0; i < padded; ++i) {
    const auto a = pair_of(words[i], words[kGroups + i], C{});
    const auto b = pair_of(words[2 * kGroups + i], words[3 * kGroups + i], C{});
    out[4 * i] = a.n0;
    out[4 * i + 1] = a.n1;
    out[4 * i + 2] = b.n0;
    out[4 * i + 3] = b.n1;
  }
}

// Calls consume(row, column, count, numbers) for the pieces of rows that make up groups begin … end − 1.
template <typename C, typename Consume>
FLOWPRIOR_INLINE void for_each_noise(uint64_t seed, uint32_t stream, int64_t dim, int64_t begin, int64_t end,
                                     Consume consume) {
  alignas(64) uint32_t group[kGroups] = {}, row[kGroups] = {}, words[4 * kGroups];
  alignas(64) C numbers[4 * kGroups];
  const int64_t row_groups = (dim + 3) / 4;
  NoisePosition at = {begin / row_groups, begin % row_groups};
  while (begin < end) {
    const int64_t count = fill_counters(at, row_groups, end - begin < kGroups ? end - begin : kGroups, group, row);
    const uint32_t row_high = static_cast<uint32_t>(static_cast<uint64_t>(at.row) >> 32);
    draw_words(group, row, row_high, stream, seed, count, kGroups, words);
    normals(words, count, numbers);
    for (int64_t used = 0; used < count;) {
      const int64_t left = row_groups - at.group;
      const int64_t length = left < count - used ? left : count - used;
      const int64_t column = 4 * at.group, columns = dim - column;
      consume(at.row, column, columns < 4 * length ? columns : 4 * length, numbers + 4 * used);
      used += length;
      at = length == left ? NoisePosition{at.row + 1, 0} : NoisePosition{at.row, at.group + length};
    }
    begin += count;
  }
}

}  // namespace flowprior::cpu::FLOWPRIOR_ISA
