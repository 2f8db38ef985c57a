// The tables of a subspace prior on their way into kernels.
#pragma once

#include "subspace.cuh"
#include "tensors.h"

namespace flowprior::cuda {

// float32 and float64 alone.
template <typename Function>
auto dispatch_computed(const char* name, const Tensor& basis, Function function) {
  if (basis.scalar_type() == ScalarType::Double) return function(double{});
  STD_TORCH_CHECK(basis.scalar_type() == ScalarType::Float, name, ": expected basis in float32 or float64");
  return function(float{});
}

// Tensors that the kernel's tables point to.
template <typename C>
struct SubspaceArgument {
  Tensor basis, loc, noise, spread, cond;
  int64_t rows;
  Subspace<C> tables;
};

template <typename C>
SubspaceArgument<C> subspace_of(const char* name, const Operation& op, const Tensor& loc, const Tensor& noise,
                                const Tensor& spread, const Tensor& basis, const Tensor& cond) {
  op.check("basis", basis, kScalarType<C>, {-1, -1, -1});
  op.check("loc", loc, kScalarType<C>, {-1, -1});
  const int64_t bases = basis.size(0), rank = basis.size(1), width = basis.size(2);
  const int64_t rows = loc.size(0), columns = loc.size(1);
  STD_TORCH_CHECK(rank > 0 && rank <= kMostAxes && columns > 0 && width >= columns && width % kBasisColumns == 0, name,
                  ": expected basis [C, r, W] with r of 1 to ", kMostAxes, " and W a multiple of ", kBasisColumns,
                  " of at least D = ", columns, ", got r = ", rank, " and W = ", width);
  SubspaceArgument<C> argument = {torch::stable::contiguous(basis),
                                  op.rows("loc", loc, kScalarType<C>, rows, columns),
                                  op.rows("noise", noise, kScalarType<C>, rows, columns),
                                  op.rows("spread", spread, kScalarType<C>, rows, rank),
                                  op.labels(cond, rows),
                                  rows,
                                  {}};
  argument.tables = {Operation::data<C>(argument.basis),
                     bases,
                     rank,
                     width,
                     columns,
                     Operation::input_rows<C>(argument.loc),
                     Operation::input_rows<C>(argument.noise),
                     Operation::input_rows<C>(argument.spread),
                     Operation::data<int64_t>(argument.cond)};
  return argument;
}

}  // namespace flowprior::cuda
