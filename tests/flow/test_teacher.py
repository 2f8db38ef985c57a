"""A flow as a map between source samples and samples: the one of the closed form, and its inverse."""

from __future__ import annotations

import pytest
import torch

from flowprior.errors import OptionError
from flowprior.training.rectifying import AT_ONCE, FlowTeacher
from tests.gaussian_flow import ClassVelocity, GaussianVelocity, LinearVelocity, flow_of

PLAIN = {"guidance": 1.0}


def rows(n: int = 40) -> torch.Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_samples_and_source_samples_are_those_of_the_closed_form() -> None:
    start, end = (torch.zeros(3), torch.ones(3)), (torch.tensor([2.0, -1.0, 0.0]), torch.full((3,), 0.5))
    teacher = FlowTeacher(flow_of(GaussianVelocity(start, end)))
    x0, x1 = rows(), end[0] + end[1] * rows()
    torch.testing.assert_close(teacher.forth(x0, None, nfe=2000, **PLAIN), x1, atol=2e-3, rtol=0)
    torch.testing.assert_close(teacher.back(x1, None, nfe=200, **PLAIN), x0, atol=2e-3, rtol=0)


def test_back_is_of_second_order() -> None:
    model = LinearVelocity(3)
    teacher, x1 = FlowTeacher(flow_of(model)), rows()
    errors = [(teacher.back(x1, None, nfe=n, **PLAIN) - model.start_of(x1)).abs().max() for n in (16, 32)]
    assert 3 < float(errors[0] / errors[1]) < 5


def test_evaluations_are_counted_dropout_is_off_and_rows_come_in_batches() -> None:
    model = ClassVelocity(3, 3).double().train()
    teacher, labels = FlowTeacher(flow_of(model, classes=3)), torch.arange(AT_ONCE + 10) % 3
    x = rows(len(labels))
    first, again = (teacher.forth(x, labels, nfe=5, **PLAIN) for _ in range(2))
    assert torch.equal(first, again)
    assert model.training
    assert [len(x) for x, _, _ in model.calls[:10]] == [AT_ONCE] * 5 + [10] * 5
    for nfe, spent in ((5, 6), (6, 6)):
        model.calls.clear()
        teacher.back(x[:2], labels[:2], nfe=nfe, **PLAIN)
        assert len(model.calls) == spent


def test_guidance_is_the_flows() -> None:
    flow = flow_of(ClassVelocity(3, 3).double().eval(), classes=3)
    teacher, x, labels = FlowTeacher(flow), rows(6), torch.arange(6) % 3
    guided = teacher.forth(x, labels, nfe=1, guidance=2.0)
    with torch.no_grad():
        expected = x + flow.velocity(x, torch.zeros(6, dtype=torch.float64), labels, 2.0)
    torch.testing.assert_close(guided, expected)
    flow.metadata["config"] = {"training": {"condition_dropout": 0.0}}
    with pytest.raises(OptionError, match="guidance"):
        teacher.forth(x, labels, nfe=1, guidance=2.0)


def test_single_precision_flows_take_and_give_the_precision_of_the_data() -> None:
    flow = flow_of(LinearVelocity(3).float(), dtype=torch.float32)
    for x in (rows(), rows().float()):
        assert FlowTeacher(flow).forth(x, None, nfe=2, **PLAIN).dtype == x.dtype
