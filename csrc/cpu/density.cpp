#include "density.h"

#include <numeric>

namespace flowprior::cpu {

SortedRows sort_rows(Labels cond, int64_t rows, int64_t conditions) {
  std::vector<int64_t> next(conditions + 1);
  for (int64_t row = 0; row < rows; ++row) ++next[cond[row] + 1];
  SortedRows sorted;
  for (int64_t c = 0; c < conditions; ++c) {
    if (next[c + 1] > 0) {
      sorted.used.push_back(c);
      sorted.begin.push_back(next[c]);
    }
    next[c + 1] += next[c];
  }
  sorted.begin.push_back(rows);
  sorted.order.resize(rows);
  for (int64_t row = 0; row < rows; ++row) sorted.order[next[cond[row]]++] = row;
  return sorted;
}

std::vector<int64_t> columns_of(const std::vector<int64_t>& used, int64_t components) {
  std::vector<int64_t> columns;
  columns.reserve(used.size() * components);
  for (const int64_t condition : used) {
    for (int64_t k = 0; k < components; ++k) columns.push_back(condition * components + k);
  }
  return columns;
}

std::vector<int64_t> all_conditions(int64_t conditions) {
  std::vector<int64_t> all(conditions);
  std::iota(all.begin(), all.end(), int64_t{0});
  return all;
}

Grid grid_of(int64_t rows, int64_t columns, int64_t dim) {
  const int64_t worth = std::max<int64_t>(1, rows * columns * dim / kTileGrain);
  const int64_t threads = std::min<int64_t>(torch::stable::get_num_threads(), worth);
  int64_t row_tasks = std::max<int64_t>(1, (rows + kTaskRows - 1) / kTaskRows);
  if (row_tasks > threads) row_tasks = (row_tasks + threads - 1) / threads * threads;  // equal shares
  const int64_t most = std::max<int64_t>(1, columns / kTaskColumns);
  const int64_t column_tasks = std::min(most, (threads + row_tasks - 1) / row_tasks);
  return {row_tasks, column_tasks, rows, columns, (row_tasks * column_tasks + threads - 1) / threads};
}

}  // namespace flowprior::cpu
