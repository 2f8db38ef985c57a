"""The CUDA kernels run on the host: built with g++ from csrc/cuda and the emulation, called through ctypes.

An :class:`Emulation` has the operators of ``torch.ops.flowprior`` under the same names and arguments. Kernels
get rows as the tensors' strides say, and outputs whose memory has guard zones around and between the rows.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from csrc.parameters import TORCH_TARGET

ROOT = Path(__file__).parents[2]
SOURCES = Path(__file__).parent / "emulation"
TORCH = Path(torch.__file__).parent
WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Werror", "-Wno-unknown-pragmas")
FLAGS = ("-std=c++17", "-Og", "-fPIC", "-shared", *WARNINGS)
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
ORDERS = ("ascending", "descending", "shuffled")
GUARD = 0xA5


def build_kernels(compiler: str, folder: Path) -> Path:
    """The library of emulated kernels, for :class:`Emulation`."""
    return _build(compiler, folder, "kernels", sorted(SOURCES.glob("*.cpp")), ())


def build_operators(compiler: str, folder: Path) -> Path:
    """The library of torch operators ``flowprior_emulated``: the CUDA operators whole, for CPU tensors."""
    libraries = [f"-L{TORCH / 'lib'}", "-ltorch_cpu", "-ltorch", "-lc10"]
    defines = (
        "-fvisibility=hidden",
        "-Dflowprior=flowprior_emulated",
        f"-DTORCH_TARGET_VERSION={TORCH_TARGET}",
    )
    return _build(compiler, folder, "operators", [SOURCES / "operators/operators.cpp"], defines, libraries)


def _build(
    compiler: str,
    folder: Path,
    name: str,
    sources: Sequence[Path],
    defines: Sequence[str],
    libraries: Sequence[str] = (),
) -> Path:
    """Compile the sources into ``folder``, unless what they and their headers give is there already."""
    includes = [f"-I{path}" for path in (ROOT / "csrc", ROOT / "csrc/cuda", SOURCES)]
    command = [compiler, *FLAGS, *defines, *includes, "-isystem", str(TORCH / "include"), *map(str, sources)]
    read = [ROOT / "csrc/ops.cpp", *(ROOT / "csrc/cuda").iterdir(), *(ROOT / "csrc/math").iterdir()]
    texts = [path.read_bytes() for path in sorted([*read, *SOURCES.rglob("*.*")])]
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout
    digest = hashlib.sha256(b"\0".join([*texts, version, repr(command).encode(), torch.__version__.encode()]))
    library = folder / f"{name}-{digest.hexdigest()[:16]}.so"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one worker compiles, the others wait for it
        if not library.exists():
            part = library.with_suffix(f".{os.getpid()}")
            subprocess.run([*command, "-o", str(part), *libraries], check=True)
            part.replace(library)
    return library


@dataclass(frozen=True)
class Layout:
    """How rows lie in memory: elements before the first one, and between one row and the next."""

    offset: int = 0
    gap: int = 0

    def place(self, rows: Tensor) -> Tensor:
        """A copy of ``rows`` ``[B, D]`` in this layout; what lies around and between them is not a number."""
        memory = self._memory(rows.shape, rows.dtype)
        memory.fill_(torch.nan)
        view = self._view(memory, rows.shape)
        return view.copy_(rows)

    def output(self, shape: Sequence[int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Rows to be written, and all the memory around them, filled with guard bytes."""
        memory = self._memory(shape, dtype)
        memory.view(torch.uint8).fill_(GUARD)
        return memory, self._view(memory, shape)

    def _memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        size = 16 + self.offset + shape[0] * (shape[1] + self.gap) + 16
        memory = torch.empty(size + 16, dtype=dtype)
        start = -memory.data_ptr() % 64 // memory.element_size()
        return memory[start : start + size]

    def _view(self, memory: Tensor, shape: Sequence[int]) -> Tensor:
        start = memory.storage_offset() + 16 + self.offset
        return memory.as_strided(tuple(shape), (shape[1] + self.gap, 1), start)


class KernelError(RuntimeError):
    """What the emulation found wrong with a kernel."""


class Emulation:
    """The emulated operators; ``layout`` is that of their output rows."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))
        self.layout = Layout()
        self._outputs: list[tuple[Tensor, Tensor]] = []

    @contextlib.contextmanager
    def setting(
        self,
        order: str = "ascending",
        most_blocks_x: int = 0x7FFFFFFF,
        most_blocks_yz: int = 65535,
        wanted_blocks: int = 1024,
        layout: Layout | None = None,
    ) -> Iterator[Emulation]:
        """Run threads and blocks in this order, under these limits of a grid, with this layout of outputs."""
        before = self.layout
        self.library.emulated_setting(
            *map(ctypes.c_int64, (ORDERS.index(order), most_blocks_x, most_blocks_yz, wanted_blocks))
        )
        self.layout = layout or before
        try:
            yield self
        finally:
            self.library.emulated_setting(*map(ctypes.c_int64, (0, 0x7FFFFFFF, 65535, 1024)))
            self.layout = before

    def fault(self, name: str, numbers: Tensor) -> Tensor:
        """Run the kernel with the fault ``name`` of emulation/faults.cpp."""
        out = self._output([1, 64], torch.float32)
        self._check(self._call("fault", name.encode(), numbers, out))
        return out[0]

    def choice(self, logits: Tensor, height: float) -> int:
        """The component that a height in [0, 1) chooses under ``logits`` ``[K]``, float64."""
        function = self.library.emulated_choice
        function.restype = ctypes.c_int64
        return function(*map(_argument, (logits, len(logits), height)))

    def gmm_sample(
        self, logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor, seed: Tensor
    ) -> tuple[Tensor, Tensor]:
        rows = len(cond)
        out, component = self._output([rows, mean.shape[2]], mean.dtype), self._row(rows, torch.int64)
        tables = (_sizes(mean, scale), logits, mean, scale)
        self._run("gmm_sample", mean.dtype, *tables, cond, seed, rows, out, out.stride(0), component)
        return out, component

    def flow_matching_loss(
        self,
        v: Tensor,
        u: Tensor | None,
        x0: Tensor | None,
        x1: Tensor | None,
        weight: Tensor | None,
        mean: bool,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        targets = [u, x0, x1]
        given = u if u is not None else x1
        assert given is not None
        strides = torch.tensor([0 if target is None else target.stride(0) for target in targets])
        compute = torch.promote_types(v.dtype, torch.float32)
        squared_error, loss = self._row(len(v), compute), self._row(1 if mean else len(v), compute)
        gradient = self._output(v.shape, v.dtype) if with_gradient else None
        inputs = (given.dtype == torch.float32, v, v.stride(0), targets, strides)
        weight = None if weight is None else _computed(weight, v)
        written = (gradient, 0 if gradient is None else gradient.stride(0), squared_error, loss)
        self._run("flow_matching_loss", v.dtype, *inputs, weight, *v.shape, mean, *written)
        return loss[0] if mean else loss, squared_error, v.new_empty(0) if gradient is None else gradient

    def gmm_log_prob(
        self, x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor, cond: Tensor
    ) -> tuple[Tensor, Tensor]:
        log_prob, shares = self._densities(x, [len(x)], mean.shape[1])
        tables = (_sizes(mean, scale), logits, mean, scale)
        self._run("gmm_log_prob", x.dtype, *tables, cond, x, x.stride(0), len(x), log_prob, shares)
        return log_prob, shares

    def gmm_log_prob_all(
        self, x: Tensor, logits: Tensor, mean: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        log_prob, shares = self._densities(x, [len(x), len(mean)], mean.shape[1])
        tables = (_sizes(mean, scale), logits, mean, scale)
        self._run("gmm_log_prob_all", x.dtype, *tables, x, x.stride(0), len(x), log_prob, shares)
        return log_prob, shares

    def gmm_log_prob_backward(
        self, grad_joint: Tensor, x: Tensor, mean: Tensor, scale: Tensor, cond: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self._backward(grad_joint, x, mean, scale, cond, *cond.sort(stable=True))

    def gmm_log_prob_all_backward(
        self, grad_joint: Tensor, x: Tensor, mean: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self._backward(grad_joint, x, mean, scale, None, None, None)

    def subspace_source(
        self,
        x1: Tensor | None,
        latent: Tensor,
        epsilon: Tensor,
        loc: Tensor,
        noise: Tensor,
        spread: Tensor,
        basis: Tensor,
        cond: Tensor,
    ) -> Tensor:
        x0 = self._output(epsilon.shape, epsilon.dtype)
        tables = _subspace(loc, noise, spread, basis, cond)
        inputs = ([x1, latent, epsilon], _strides(x1, latent, epsilon), len(epsilon))
        self._run("subspace_source", epsilon.dtype, *tables, *inputs, x0, x0.stride(0))
        return x0

    def subspace_view(
        self,
        x: Tensor,
        times: Tensor,
        loc: Tensor,
        noise: Tensor,
        spread: Tensor,
        slope: Tensor,
        basis: Tensor,
        lengths: Tensor,
        cond: Tensor,
        floor: float,
        least: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        outputs = tuple(self._output(x.shape, x.dtype) for _ in range(3))
        tables = _subspace(loc, noise, spread, basis, cond)
        inputs = ([x, times, slope], _strides(x, times, slope), lengths, floor, least, len(x))
        self._run("subspace_view", x.dtype, *tables, *inputs, *outputs, outputs[0].stride(0))
        return outputs[0], outputs[1], outputs[2]

    def _backward(
        self, grad_joint: Tensor, x: Tensor, mean: Tensor, scale: Tensor, *rows: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        grad_x = self._output(x.shape, x.dtype)
        grad_mean, grad_scale = (self._row(table.numel(), table.dtype) for table in (mean, scale))
        tables = (_sizes(mean, scale), grad_joint, mean, scale)
        outputs = (grad_x, grad_x.stride(0), grad_mean, grad_scale)
        self._run("gmm_log_prob_backward", x.dtype, *tables, *rows, x, x.stride(0), len(x), *outputs)
        return grad_x, grad_mean.view(mean.shape), grad_scale.view(scale.shape)

    def _densities(self, x: Tensor, shape: list[int], components: int) -> tuple[Tensor, Tensor]:
        count, compute = torch.Size(shape).numel(), torch.promote_types(x.dtype, torch.float32)
        log_prob, shares = self._row(count, compute), self._row(count * components, compute)
        return log_prob.view(shape), shares.view(*shape, components)

    def _output(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        self._outputs.append(self.layout.output(shape, dtype))
        return self._outputs[-1][1]

    def _row(self, count: int, dtype: torch.dtype) -> Tensor:
        self._outputs.append(Layout().output([1, count], dtype))
        return self._outputs[-1][1][0]

    def _run(self, name: str, dtype: torch.dtype, *arguments: Any) -> None:
        self._check(self._call(name, DTYPES.index(dtype), *arguments))

    def _call(self, name: str, *arguments: Any) -> bytes | None:
        function = getattr(self.library, f"emulated_{name}")
        function.restype = ctypes.c_char_p
        return function(*map(_argument, arguments))

    def _check(self, error: bytes | None) -> None:
        outputs, self._outputs = self._outputs, []
        if error is not None:
            raise KernelError(error.decode())
        for memory, rows in outputs:
            start = rows.storage_offset() - memory.storage_offset()
            inside = torch.zeros_like(memory, dtype=torch.bool)
            inside.as_strided(rows.shape, rows.stride(), start).fill_(True)
            if (memory[~inside].view(torch.uint8) != GUARD).any():
                raise KernelError("written outside an output's rows")


def _argument(value: Any) -> Any:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, list):
        pointers = [0 if tensor is None else tensor.data_ptr() for tensor in value]
        return (ctypes.c_void_p * len(pointers))(*pointers)
    kinds = {bool: ctypes.c_bool, int: ctypes.c_int64, float: ctypes.c_double, bytes: ctypes.c_char_p}
    return ctypes.c_void_p(None) if value is None else kinds[type(value)](value)


def _sizes(mean: Tensor, scale: Tensor) -> Tensor:
    return torch.tensor([*mean.shape, scale.shape[2]])


def _subspace(loc: Tensor, noise: Tensor, spread: Tensor, basis: Tensor, cond: Tensor) -> tuple[Any, ...]:
    sizes = torch.tensor([*basis.shape, loc.shape[1]])
    return sizes, [basis, loc, noise, spread], _strides(loc, noise, spread), cond


def _strides(*rows: Tensor | None) -> Tensor:
    return torch.tensor([0 if tensor is None else tensor.stride(0) for tensor in rows])


def _computed(numbers: Tensor, rows: Tensor) -> Tensor:
    """One number a row, in the compute dtype of the rows, as the operators convert them."""
    return numbers.to(torch.promote_types(rows.dtype, torch.float32)).contiguous()
