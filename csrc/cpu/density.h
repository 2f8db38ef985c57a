// What the log-densities and their gradients share: rows in the order of their conditions, and tasks.
#pragma once

#include <algorithm>
#include <vector>

#include "mixture.h"
#include "parallel.h"

namespace flowprior::cpu {

// Rows in the order of their conditions: those of used[i] are order[begin[i]] … order[begin[i + 1] − 1], ascending.
struct SortedRows {
  std::vector<int64_t> used, begin, order;
};

SortedRows sort_rows(Labels cond, int64_t rows, int64_t conditions);

// The most rows that one task holds: their columns of a block stay in the second-level cache while components pass.
constexpr int64_t kTaskRows = 256;

// Calls work(condition's place in sorted.used, first, last) for the pieces, of at most `most` rows of one condition,
// that make up places begin … end − 1 of the sorted order.
template <typename Work>
void for_each_segment(const SortedRows& sorted, int64_t begin, int64_t end, int64_t most, Work work) {
  if (begin >= end) return;
  size_t place = std::upper_bound(sorted.begin.begin(), sorted.begin.end(), begin) - sorted.begin.begin() - 1;
  while (begin < end) {
    while (sorted.begin[place + 1] <= begin) ++place;
    const int64_t last = std::min({end, sorted.begin[place + 1], begin + most});
    work(place, begin, last);
    begin = last;
  }
}

// A grid of tasks over rows and conditions. Rows are shared out first: each task prepares its components anew. The
// results do not depend on the grid.
struct Grid {
  int64_t row_tasks, condition_tasks, rows, conditions;
  int64_t grain;  // tasks that make a thread's least share

  int64_t tasks() const { return row_tasks * condition_tasks; }
  int64_t row_begin(int64_t task) const { return rows * (task / condition_tasks) / row_tasks; }
  int64_t row_end(int64_t task) const { return rows * (task / condition_tasks + 1) / row_tasks; }
  int64_t condition_begin(int64_t task) const { return conditions * (task % condition_tasks) / condition_tasks; }
  int64_t condition_end(int64_t task) const { return conditions * (task % condition_tasks + 1) / condition_tasks; }
};

Grid grid_of(int64_t rows, const Mixture& mixture);

}  // namespace flowprior::cpu
