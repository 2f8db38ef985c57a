"""The names around the parts of a step leave nothing behind."""

from __future__ import annotations

import torch

from benchmarks.gpu.profile_step import begun
from benchmarks.gpu.regions import regions_of
from benchmarks.gpu.settings import DESIGNS, TINY
from flowprior.training import batches, loop


def test_afterwards_everything_is_as_before() -> None:
    state, step = begun(TINY, DESIGNS["gaussian+condot"], "cpu")
    places = [(torch.Tensor, "backward"), (batches, "fetch"), (loop, "flow_matching_loss")]
    before = [getattr(owner, name) for owner, name in places]
    with regions_of(state):
        assert [getattr(owner, name) for owner, name in places] != before
        step()
    assert [getattr(owner, name) for owner, name in places] == before
    for owner, names in ((state.parts.prior, ("sample", "infer")), (state.parts.path, ("interpolate",))):
        assert not set(names) & set(vars(owner))
    assert not state.model._forward_hooks
    assert not state.model._forward_pre_hooks
    step()
    assert state.step == 2
