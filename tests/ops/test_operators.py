"""Which library serves a device, and devices that lack what the reference computes in."""

from __future__ import annotations

import pytest
import torch

from flowprior.ops import operators, standard_normal
from flowprior.ops.backend import native_devices

from .mixtures import mixture

CPU = torch.device("cpu")


def test_the_native_library_serves_its_devices_and_the_reference_the_others():
    expected = torch.ops.flowprior if "cpu" in native_devices() else torch.ops.flowprior_reference
    assert operators.operators(CPU) is expected
    assert operators.operators(torch.device("meta")) is torch.ops.flowprior_reference


def test_devices_without_float64_are_served_on_the_cpu(monkeypatch, generator):
    """As if the CPU were one: every tensor goes there and back."""
    moved = []
    monkeypatch.setattr(operators, "WITHOUT_FLOAT64", {"cpu"})
    monkeypatch.setattr(operators, "_on_cpu", lambda arguments: moved.append(arguments) or arguments)
    tables, cond, seed = mixture(generator), torch.tensor([0, 2]), torch.tensor([1])
    x0, component = torch.ops.flowprior_reference.gmm_sample(*tables, cond, seed)
    assert len(moved) == 1
    monkeypatch.undo()
    again, same = torch.ops.flowprior_reference.gmm_sample(*tables, cond, seed)
    assert torch.equal(x0, again)
    assert torch.equal(component, same)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_generator_of_the_cpu_gives_the_same_numbers_on_cuda(dtype):
    draws = [
        standard_normal(33, 129, torch.empty(0, dtype=dtype, device=device), torch.Generator().manual_seed(4))
        for device in ("cpu", "cuda")
    ]
    torch.testing.assert_close(draws[1].cpu(), draws[0], rtol=2e-6, atol=1e-7)
