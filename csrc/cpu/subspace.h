// What the operators on subspace priors share: their tables, and rows cut into tasks of one basis.
#pragma once

#include <vector>

#include "arguments.h"
#include "density.h"

namespace flowprior::cpu {

// Rows that read a basis together.
constexpr int64_t kSubspaceTaskRows = 8;

// The tables, the order of the rows, and the scratch memory that a job points to.
struct SubspaceArgument {
  Tensor basis, loc, noise, spread, scratch;
  Storage storage;
  int64_t rows;
  SortedRows sorted;
  std::vector<SubspaceTask> tasks;
  Subspace parameters;

  // Tasks that make a thread's least share.
  int64_t grain() const;
};

// Checks everything; `widths` and `ranks` say how many of each a row has in scratch memory.
SubspaceArgument subspace_of(const Tensor& loc, const Tensor& noise, const Tensor& spread, const Tensor& basis,
                             const Tensor& cond, int64_t widths, int64_t ranks, const char* op);

// A matrix [rows, columns] of the tables' type, with adjacent columns.
Tensor matrix(const Tensor& tensor, const SubspaceArgument& like, int64_t columns, const char* op, const char* name);

}  // namespace flowprior::cpu
