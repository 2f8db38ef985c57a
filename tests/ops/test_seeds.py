"""Seeds: one draw from a generator, kept as a tensor; integers of 64 bits, signed or not."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import InputError
from flowprior.ops import draw_seed, standard_normal
from flowprior.ops.random import as_seed

CPU = torch.device("cpu")


def test_a_seed_is_one_draw_on_the_tensors_device():
    generator, other = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    seeds = torch.cat([draw_seed(generator, "cpu") for _ in range(1000)])
    assert seeds.dtype == torch.int64
    assert seeds.unique().numel() == 1000
    assert (seeds < 0).any(), "all 64 bits are drawn"
    for _ in range(1000):
        torch.randint(-(1 << 63), (1 << 63) - 1, (1,), generator=other)
    assert torch.equal(generator.get_state(), other.get_state())


def test_a_generator_of_the_cpu_serves_tensors_of_another_device():
    """The seed is drawn where the generator is, and moved."""
    generator = torch.Generator().manual_seed(3)
    assert draw_seed(generator, "meta").device.type == "meta"
    other = torch.Generator().manual_seed(3)
    draw_seed(other, "cpu")
    assert torch.equal(generator.get_state(), other.get_state())


@pytest.mark.parametrize(("number", "bits"), [(5, 5), (-1, -1), ((1 << 64) - 1, -1), (1 << 63, -(1 << 63))])
def test_integers_of_64_bits(number, bits):
    assert as_seed(number, CPU).tolist() == as_seed(torch.tensor(bits), CPU).tolist() == [bits]
    like = torch.empty(0)
    assert torch.equal(standard_normal(2, 3, like, number), standard_normal(2, 3, like, torch.tensor([bits])))


@pytest.mark.parametrize("number", [1 << 64, -(1 << 63) - 1])
def test_larger_integers_are_refused(number):
    with pytest.raises(InputError, match="seed: expected an integer of at most 64 bits, got"):
        as_seed(number, CPU)


@pytest.mark.parametrize(
    "seed", [torch.tensor([1.0]), torch.tensor([1, 2]), torch.tensor([1], dtype=torch.int32)]
)
def test_other_tensors_are_refused(seed):
    with pytest.raises(
        InputError, match=r"seed: expected an integer, or int64 \[1\] on cpu, got .*draw_seed"
    ):
        as_seed(seed, CPU)
    with pytest.raises(InputError, match=r"on cpu, got torch\.int64"):
        as_seed(torch.empty(1, dtype=torch.long, device="meta"), CPU)
