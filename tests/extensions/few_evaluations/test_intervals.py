"""The intervals of a training step, and how a network is told them."""

from __future__ import annotations

import pytest
import torch

from flowprior.conditions import Condition, Parts
from flowprior.errors import OptionError
from flowprior.extensions.few_evaluations.intervals import tell_intervals
from flowprior.models import build_model
from flowprior.training.times import TimeDistribution

CPU = torch.device("cpu")


def intervals(progress: float, count: int = 100_000, **options: float) -> tuple[torch.Tensor, ...]:
    """Beginning, split and end of intervals, and which are longer than 0."""
    law = TimeDistribution.create("interval", **options)
    begin, split, end = law.draw(count, progress, torch.Generator().manual_seed(1), CPU).unbind(1)
    return begin, split, end, end > begin


def test_intervals_are_two_times_in_order_and_the_rest_have_no_length() -> None:
    begin, split, end, apart = intervals(1.0, apart=0.25, split=0.1)
    assert float(apart.float().mean()) == pytest.approx(0.25, abs=1e-4)
    assert bool((begin <= split).all())
    assert bool((split <= end).all())
    torch.testing.assert_close(split[apart], (begin + 0.1 * (end - begin))[apart])
    both = torch.cat([begin[apart], end[apart]]).double()
    law = TimeDistribution.create("logit-normal", deviation=1.4)
    alone = law.draw(len(both), 0.0, torch.Generator().manual_seed(2), CPU).double()
    for times in (both, begin[~apart].double()):
        shares = [torch.histogram(t, 10, range=(0, 1)).hist / len(t) for t in (times, alone)]
        torch.testing.assert_close(*shares, rtol=0, atol=0.01)


@pytest.mark.parametrize("rows", [16, 33])
def test_every_micro_batch_has_its_share_of_intervals(rows: int) -> None:
    *_, apart = intervals(0.5, apart=0.75)
    shares = torch.stack([part.float().mean() for part in apart.split(rows)[:-1]])
    assert float((shares - 0.75).abs().max()) <= 1 / rows


def test_the_split_comes_nearer_to_the_beginning_as_the_training_goes_on() -> None:
    shares = []
    for progress in (0.0, 0.25, 0.5, 0.9):
        begin, split, end, apart = intervals(progress, split=0.01, anneal=0.5)
        long = apart & (end - begin > 0.1)
        shares.append(float(((split - begin) / (end - begin))[long].mean()))
    assert shares == pytest.approx([1.0, 0.1, 0.01, 0.01], rel=1e-3)


def test_without_annealing_the_split_is_where_it_stays() -> None:
    begin, split, *_ = intervals(0.0, split=0.0)
    assert torch.equal(begin, split)


def test_intervals_into_the_last_step_end_with_it() -> None:
    """Beyond ``last`` one step of the velocity leads to 1: nothing is split, and no split lies there."""
    begin, split, end, _ = intervals(1.0, last=0.7, split=0.5, apart=1.0)
    assert bool(((end <= 0.7) | (end == 1.0)).all())
    late = begin >= 0.69
    assert bool((begin >= 0.7).any())
    assert torch.equal(split[late], end[late])
    assert float(split[~late].max()) <= 0.7


@pytest.mark.parametrize(("spec", "option"), [("interval:apart=2", "apart"), ("interval:last=0", "last")])
def test_impossible_options(spec: str, option: str) -> None:
    with pytest.raises(OptionError, match=f"expected {option}"):
        TimeDistribution.registry.resolve(spec)


@pytest.mark.parametrize("spec", ["mlp", "unet:widths=8-16", "dit:width=16,heads=2,depth=1"])
@pytest.mark.parametrize("reads", ["", "a"])
def test_a_network_of_the_library_is_told_the_length_of_an_interval(spec: str, reads: str) -> None:
    """Of an interval without length it says what it says of a time alone."""
    parts = Condition("parts", parts=(("a", Condition("labels", 3)), ("b", Condition("labels", 2))))
    spec = f"{spec}{',' if ':' in spec else ':'}reads={reads}" if reads else spec
    network = build_model(spec, torch.Size([1, 4, 4]), parts).eval()
    assert tell_intervals(network)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, t = torch.randn(5, 1, 4, 4), torch.rand(5)
    cond = Parts({"a": torch.arange(5) % 3, "b": torch.arange(5) % 2})
    with torch.no_grad():
        alone, none, long = (
            network(x, told, cond) for told in (t, *(torch.stack([t, t + h], 1) for h in (0, 1)))
        )
    torch.testing.assert_close(alone, none)
    assert not torch.allclose(alone, long)
    assert not tell_intervals(torch.nn.Identity())
