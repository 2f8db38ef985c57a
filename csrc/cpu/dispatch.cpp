#include "dispatch.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace flowprior::cpu {

namespace {

struct InstructionSet {
  const char* name;
  bool runs_here;
  void (*fill)(Kernels&);
};

#define FLOWPRIOR_FILL(isa)                  \
  void fill_##isa(Kernels& kernels) {        \
    isa::add_gmm_sample(kernels);            \
    isa::add_flow_matching_loss(kernels);    \
    isa::add_gmm_log_prob(kernels);          \
    isa::add_gmm_log_prob_backward(kernels); \
    isa::add_subspace_source(kernels);       \
    isa::add_subspace_view(kernels);         \
  }

FLOWPRIOR_FILL(baseline)
#if defined(FLOWPRIOR_HAS_AVX2)
FLOWPRIOR_FILL(avx2)
#endif

#if defined(FLOWPRIOR_HAS_AVX2)
// __builtin_cpu_supports answers for the operating system too: it asks whether the registers are saved.
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}
#endif

// The sets of this build, highest first.
std::vector<InstructionSet> built_sets() {
  std::vector<InstructionSet> sets;
#if defined(FLOWPRIOR_HAS_AVX2)
  sets.push_back({"avx2", has_avx2(), fill_avx2});
#endif
  sets.push_back({"baseline", true, fill_baseline});
  return sets;
}

[[noreturn]] void refuse(const std::string& wanted, const std::vector<InstructionSet>& sets) {
  std::string names;
  for (const InstructionSet& set : sets) {
    if (set.runs_here) names += names.empty() ? set.name : std::string(", ") + set.name;
  }
  throw std::runtime_error("FLOWPRIOR_CPU_ISA: expected an instruction set that this build has and this machine runs (" +
                           names + "), got '" + wanted + "'; unset it to let flowprior choose");
}

struct Choice {
  const char* name;
  Kernels kernels;
};

Choice choose() {
  const char* const wanted = std::getenv("FLOWPRIOR_CPU_ISA");
  const std::vector<InstructionSet> sets = built_sets();
  for (const InstructionSet& set : sets) {
    if (!set.runs_here || (wanted && *wanted && set.name != std::string(wanted))) continue;
    Choice choice = {set.name, {}};
    set.fill(choice.kernels);
    return choice;
  }
  refuse(wanted, sets);
}

const Choice& choice() {
  static const Choice made = choose();
  return made;
}

}  // namespace

const Kernels& kernels() { return choice().kernels; }

const char* instruction_set() { return choice().name; }

}  // namespace flowprior::cpu
