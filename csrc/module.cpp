// The Python module flowprior._C. Loading it registers the operators (ops.cpp and the kernels); what it offers to
// Python itself is only what it uses on this machine. How it was built stands in flowprior/_build.json.
#include <pybind11/pybind11.h>

#if __has_include("cpu/dispatch.h")
#include "cpu/dispatch.h"
#define FLOWPRIOR_HAS_DISPATCH
#endif

namespace py = pybind11;

namespace {

py::dict capabilities() {
  py::dict found;
#if defined(FLOWPRIOR_HAS_DISPATCH)
  found["instruction_set"] = flowprior::cpu::instruction_set();
#else
  found["instruction_set"] = "baseline";
#endif
#if defined(FLOWPRIOR_CUDA)
  found["devices"] = py::make_tuple("cpu", "cuda");
#else
  found["devices"] = py::make_tuple("cpu");
#endif
  return found;
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "flowprior's native operators; torch.ops.flowprior has them once this module is loaded";
  module.def("capabilities", &capabilities, "Instruction set in use on this machine, and devices served.");
}
