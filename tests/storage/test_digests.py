"""Digests: equal for equal things, other for every change; files of weights are the ones they claim."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from flowprior.data import TensorData
from flowprior.data.base import data_digest
from flowprior.errors import DataNotFoundError, InputError
from flowprior.storage.digests import (
    checked_file,
    file_sha256,
    module_description,
    settings_digest,
    tensors_digest,
)


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


def test_a_module_counts_by_its_plain_attributes_too() -> None:
    one, same, other = (module_description(torch.nn.LeakyReLU(slope)) for slope in (0.1, 0.1, 0.3))
    assert one == same != other


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
