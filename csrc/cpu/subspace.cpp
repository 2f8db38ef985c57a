#include "subspace.h"

#include "../math/subspace.h"

namespace flowprior::cpu {

int64_t SubspaceArgument::grain() const {
  return grain_of(kTileGrain, kSubspaceTaskRows * parameters.rank * parameters.width);
}

SubspaceArgument subspace_of(const Tensor& loc, const Tensor& noise, const Tensor& spread, const Tensor& basis,
                             const Tensor& cond, int64_t widths, int64_t ranks, const char* op) {
  const Storage storage = storage_of(basis, op, "basis");
  expect_sizes(basis, {-1, -1, -1}, op, "basis");
  expect_sizes(loc, {-1, -1}, op, "loc");
  const int64_t bases = basis.size(0), rank = basis.size(1), width = basis.size(2);
  const int64_t rows = loc.size(0), dim = loc.size(1);
  STD_TORCH_CHECK(rank > 0 && rank <= kMostAxes && width >= dim && width % kBasisColumns == 0 && dim > 0, op,
                  ": expected basis [C, r, W] with r of 1 to ", kMostAxes, " and W a multiple of ", kBasisColumns,
                  " of at least D = ", dim, ", got r = ", rank, " and W = ", width);
  SubspaceArgument argument = {torch::stable::contiguous(basis), {}, {}, {}, {}, storage, rows, {}, {}, {}};
  argument.loc = matrix(loc, argument, dim, op, "loc");
  argument.noise = matrix(noise, argument, dim, op, "noise");
  argument.spread = matrix(spread, argument, rank, op, "spread");
  const Labels labels = labels_of(cond, bases, op);
  expect_sizes(cond, {rows}, op, "cond");
  argument.sorted = sort_rows(labels, rows, bases);
  for_each_segment(argument.sorted, 0, rows, kSubspaceTaskRows, [&](size_t place, int64_t begin, int64_t end) {
    argument.tasks.push_back({argument.sorted.used[place], begin, end - begin});
  });
  const int64_t stride = widths * width + ranks * rank;
  argument.scratch = empty({rows, stride}, scalar_type_of(storage));
  argument.parameters = {argument.basis.const_data_ptr(),
                         rows_of(argument.loc),
                         rows_of(argument.noise),
                         rows_of(argument.spread),
                         dim,
                         rank,
                         width,
                         argument.sorted.order.data(),
                         argument.tasks.data(),
                         argument.scratch.mutable_data_ptr(),
                         stride};
  return argument;
}

Tensor matrix(const Tensor& tensor, const SubspaceArgument& like, int64_t columns, const char* op, const char* name) {
  expect_dtype(tensor, scalar_type_of(like.storage), op, name);
  expect_sizes(tensor, {like.rows, columns}, op, name);
  return adjacent_columns(tensor);
}

}  // namespace flowprior::cpu
