// The Python module flowprior._C. Loading it registers the operators (ops.cpp and the kernels); what it offers to
// Python itself is only what it is: how it was built, and what it uses on this machine.
#include <pybind11/pybind11.h>

#include "build_info.h"
#if __has_include("cpu/dispatch.h")
#include "cpu/dispatch.h"
#define FLOWPRIOR_HAS_DISPATCH
#endif

namespace py = pybind11;

namespace {

py::dict build_info() {
  using namespace flowprior;
  py::dict info;
  const auto words = [](const char* text) { return py::str(text).attr("split")(); };
  info["flowprior"] = built::flowprior;
  info["torch"] = built::torch;
  info["torch_abi"] = built::torch_abi;
  info["cuda"] = *built::cuda ? py::object(py::str(built::cuda)) : py::object(py::none());
  info["architectures"] = words(built::architectures);
  info["compiler"] = built::compiler;
  info["instruction_sets"] = words(built::instruction_sets);
  info["flags"] = built::flags;
  return info;
}

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
  module.def("build_info", &build_info, "How the module was built: versions, compiler, instruction sets, flags.");
  module.def("capabilities", &capabilities, "Instruction set in use on this machine, and devices served.");
}
