// The Python module flowprior._C. Loading it registers the operators (ops.cpp and the kernels); what it offers to
// Python itself is only what it is: how it was built, and what it uses on this machine. It keeps to Python's limited
// API of 3.11 (Py_LIMITED_API, in parameters.py), so that one module serves that Python and every later one.
#include <Python.h>

#include <exception>

#include "build_info.h"
#if __has_include("cpu/dispatch.h")
#include "cpu/dispatch.h"
#define FLOWPRIOR_HAS_DISPATCH
#endif

namespace {

// A list of the words in `text`, or null with Python's error set.
PyObject* words(const char* text) {
  PyObject* whole = PyUnicode_FromString(text);
  PyObject* list = whole ? PyUnicode_Split(whole, nullptr, -1) : nullptr;
  Py_XDECREF(whole);
  return list;
}

PyObject* build_info(PyObject*, PyObject*) {
  using namespace flowprior;
  return Py_BuildValue(
      "{s:s, s:s, s:s, s:z, s:N, s:s, s:N, s:s}",  // z: None where null; N: takes the reference over
      "flowprior", built::flowprior,
      "torch", built::torch,
      "torch_abi", built::torch_abi,
      "cuda", *built::cuda ? built::cuda : nullptr,
      "architectures", words(built::architectures),
      "compiler", built::compiler,
      "instruction_sets", words(built::instruction_sets),
      "flags", built::flags);
}

const char* instruction_set() {
#if defined(FLOWPRIOR_HAS_DISPATCH)
  return flowprior::cpu::instruction_set();
#else
  return "baseline";
#endif
}

PyObject* capabilities(PyObject*, PyObject*) {
#if defined(FLOWPRIOR_CUDA)
  constexpr char kDevices[] = "cpu cuda";
#else
  constexpr char kDevices[] = "cpu";
#endif
  try {
    return Py_BuildValue("{s:s, s:N}", "instruction_set", instruction_set(), "devices", words(kDevices));
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return nullptr;
  }
}

PyMethodDef methods[] = {
    {"build_info", &build_info, METH_NOARGS, "How it was built: versions, compiler, instruction sets, flags."},
    {"capabilities", &capabilities, METH_NOARGS, "Instruction set in use on this machine, and devices served."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_C",
    "flowprior's native operators; torch.ops.flowprior has them once this module is loaded", -1, methods,
    nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__C() { return PyModule_Create(&definition); }
