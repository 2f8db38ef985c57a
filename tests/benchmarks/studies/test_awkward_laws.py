"""Distributions that a Gaussian does not fit: what the labels are, and what is measured."""

from __future__ import annotations

import pytest
import torch

from benchmarks.studies import everything
from benchmarks.studies.awkward_laws import LAWS
from flowprior.data import load_data


@pytest.mark.parametrize("dim", [2, 5])
def test_labels_follow_their_laws_wherever_they_lie(dim):
    x, labels = everything(load_data(f"awkward-laws:dim={dim},each=500,seed=3"))
    assert x.shape == (500 * len(LAWS), dim)
    parts = {law: x[labels == label].double() for label, law in enumerate(LAWS)}
    _, again = parts["point-mass"].unique(dim=0, return_counts=True)
    assert 200 < int(again.max()) < 300, "half of the cloud is one point"
    eigenvalues = torch.linalg.eigvalsh(parts["ring"].T.cov()).flip(0)
    torch.testing.assert_close(eigenvalues[:2], torch.full((2,), 0.5).double(), rtol=0.15, atol=0)
    if dim == 2:
        radius = (parts["ring"] - parts["ring"].mean(0)).norm(dim=1)
        assert radius.std() < 0.12
    kurtosis = {law: float(((p - p.mean(0)) / p.std(0)).pow(4).mean()) for law, p in parts.items()}
    assert kurtosis["student-t"] > 3 * kurtosis["gaussian"]
