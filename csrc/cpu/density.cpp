#include "density.h"

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

namespace {

// A task's joint densities should not take more than 8 MiB.
constexpr int64_t kTaskDensities = int64_t{1} << 20;
// Components that fill the registers, and rows that are worth preparing components for.
constexpr int64_t kLeastColumns = 4;
constexpr int64_t kLeastRows = 16;

int64_t parts(int64_t whole, int64_t part) { return std::max<int64_t>(1, (whole + part - 1) / part); }

}  // namespace

Grid grid_of(int64_t rows, const Mixture& mixture) {
  const int64_t conditions = mixture.conditions, columns = conditions * mixture.components;
  const int64_t worth = std::max<int64_t>(1, rows * columns * mixture.dim / kTileGrain);
  const int64_t threads = std::min<int64_t>(torch::stable::get_num_threads(), worth);
  int64_t row_tasks = parts(rows, kTaskRows);
  int64_t condition_tasks = std::min(parts(threads, row_tasks), std::max<int64_t>(1, columns / kLeastColumns));
  condition_tasks = std::max(condition_tasks, parts(columns, kTaskDensities / kTaskRows));
  condition_tasks = std::clamp<int64_t>(condition_tasks, 1, std::max<int64_t>(1, conditions));
  row_tasks = std::max(row_tasks, std::min(parts(threads, condition_tasks), parts(rows, kLeastRows)));
  if (row_tasks > threads) row_tasks = parts(row_tasks, threads) * threads;  // equal shares
  return {row_tasks, condition_tasks, rows, conditions, parts(row_tasks * condition_tasks, threads)};
}

}  // namespace flowprior::cpu
