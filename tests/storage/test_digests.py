"""Digests: equal for equal things, other for every change; files of weights are the ones they claim."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import pytest
import torch

from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.data.base import data_digest
from flowprior.errors import DataNotFoundError, InputError
from flowprior.evaluation.store import flow_digest
from flowprior.flow import Flow
from flowprior.storage.digests import checked_file, file_sha256, settings_digest, tensors_digest
from tests.gaussian_flow import LinearVelocity, flow_of


def test_tensors_count_by_name_type_shape_and_bytes() -> None:
    tensors = {"a": torch.zeros(2, 3), "b": torch.ones(1)}
    same = {"b": torch.ones(1), "a": torch.zeros(2, 3)}
    others = [
        {"a": torch.zeros(3, 2), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3).double(), "b": torch.ones(1)},
        {"c": torch.zeros(2, 3), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3), "b": torch.tensor([1.0000001])},
    ]
    found = {tensors_digest(t) for t in (tensors, same, *others)}
    assert tensors_digest(tensors) == tensors_digest(same)
    assert len(found) == 1 + len(others)
    assert tensors_digest({"h": torch.zeros(3, dtype=torch.bfloat16)}) != tensors_digest({})


def test_data_count_by_events_and_conditions(generator: torch.Generator) -> None:
    x, cond = torch.randn(20, 2, generator=generator), torch.arange(20) % 2
    digest = data_digest(TensorData(x, cond, name="one"))
    assert digest == data_digest(TensorData(x.clone(), cond.clone(), name="another"))
    moved = x.clone()
    moved[3, 1] += 1e-6
    others = [
        TensorData(moved, cond),
        TensorData(x),
        TensorData(x, cond, classes=3),
        TensorData(x[1:], cond[1:]),
    ]
    assert len({digest, *map(data_digest, others)}) == 5


def test_a_flow_counts_by_weights_and_parts(tiny_flow: Flow) -> None:
    digest = flow_digest(tiny_flow)
    assert digest == flow_digest(copy.deepcopy(tiny_flow))
    moved = copy.deepcopy(tiny_flow)
    with torch.no_grad():
        next(iter(moved.model.parameters())).view(-1)[0] += 1e-3  # type: ignore[union-attr]
    refitted = copy.deepcopy(tiny_flow)
    refitted.prior.load_state_dict(
        {k: v + (v.is_floating_point()) for k, v in refitted.prior.state_dict().items()}
    )
    paired = copy.deepcopy(tiny_flow)
    paired.specs = {**paired.specs, "coupling": "ot"}
    assert len({digest, flow_digest(moved), flow_digest(refitted), flow_digest(paired)}) == 4
    assert flow_digest(flow_of(LinearVelocity(3))) is not None
    unnamed = [copy.deepcopy(tiny_flow) for _ in range(2)]
    for flow, coupling in zip(unnamed, ("ot", "ot:method=sinkhorn"), strict=True):
        flow.coupling, flow.specs = Coupling.registry.resolve(coupling), {**flow.specs, "coupling": ""}
    assert len({flow_digest(flow) for flow in unnamed}) == 2


def test_a_model_without_a_name_counts_by_its_plain_attributes_too() -> None:
    class Scaled(torch.nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None) -> torch.Tensor:
            return self.factor * x

    one, same, other = (flow_digest(flow_of(Scaled(factor))) for factor in (1.0, 1.0, 3.0))
    assert one == same != other


def test_a_flow_of_plain_functions_has_no_digest() -> None:
    assert flow_digest(flow_of(lambda x, t, cond: x)) is None


def test_settings_count_whatever_their_order() -> None:
    assert settings_digest({"a": 1, "b": [2]}) == settings_digest({"b": [2], "a": 1})
    assert settings_digest({"a": 1}) != settings_digest({"a": 2})


def test_files_are_checked_by_their_digest(tmp_path: Path) -> None:
    file = tmp_path / "w.bin"
    file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert file_sha256(file) == digest
    assert checked_file(file, digest, "x") == checked_file(file, digest[:8].upper(), "x") == file
    with pytest.raises(InputError, match=f"x: .*w.bin has sha256 {digest[:12]}…, expected 0000000000…"):
        checked_file(file, "0" * 10, "x")
    with pytest.raises(InputError, match="sha256='' is no digest"):
        checked_file(file, "", "x")
    with pytest.raises(DataNotFoundError, match="flowprior downloads none"):
        checked_file(tmp_path / "gone", digest, "x")
