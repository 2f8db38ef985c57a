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

// The columns (condition · components + component) of the conditions in use.
std::vector<int64_t> columns_of(const std::vector<int64_t>& used, int64_t components);

// Every condition, for the operators that treat them all.
std::vector<int64_t> all_conditions(int64_t conditions);

// Rows of x that one task holds in the second-level cache while components pass.
constexpr int64_t kTaskRows = 128;

// Fewer components than this do not fill a task's registers.
constexpr int64_t kTaskColumns = 8;

// Calls work(condition's place in sorted.used, first, last) for the pieces, of at most kTaskRows rows of one
// condition, that make up places begin … end − 1 of the sorted order.
template <typename Work>
void for_each_segment(const SortedRows& sorted, int64_t begin, int64_t end, Work work) {
  if (begin >= end) return;
  size_t place = std::upper_bound(sorted.begin.begin(), sorted.begin.end(), begin) - sorted.begin.begin() - 1;
  while (begin < end) {
    while (sorted.begin[place + 1] <= begin) ++place;
    const int64_t last = std::min({end, sorted.begin[place + 1], begin + kTaskRows});
    work(place, begin, last);
    begin = last;
  }
}

// A grid of tasks over rows and components: few components a task only where there are too few rows to keep every
// thread busy, since each task prepares its components anew. The results do not depend on it.
struct Grid {
  int64_t row_tasks, column_tasks, rows, columns, grain;

  int64_t tasks() const { return row_tasks * column_tasks; }
  int64_t row_begin(int64_t task) const { return rows * (task / column_tasks) / row_tasks; }
  int64_t row_end(int64_t task) const { return rows * (task / column_tasks + 1) / row_tasks; }
  int64_t column_begin(int64_t task) const { return columns * (task % column_tasks) / column_tasks; }
  int64_t column_end(int64_t task) const { return columns * (task % column_tasks + 1) / column_tasks; }
};

Grid grid_of(int64_t rows, int64_t columns, int64_t dim);

}  // namespace flowprior::cpu
