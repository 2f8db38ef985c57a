// The choice of instruction set, made once, at the first call.
#pragma once

#include "kernels/table.h"

namespace flowprior::cpu {

// The kernels of the highest set that both this machine and its operating system support, or of the set named
// by the environment variable FLOWPRIOR_CPU_ISA: baseline or avx2. Throws std::runtime_error where that
// names another set or one that cannot run here.
const Kernels& kernels();

// The name of the chosen set.
const char* instruction_set();

}  // namespace flowprior::cpu
