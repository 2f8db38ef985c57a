"""Distributions that a Gaussian does not fit: what the labels are, and what is measured."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from benchmarks.studies import awkward_laws, everything
from benchmarks.studies.awkward_laws import LAWS
from flowprior import Coupling, Prior
from flowprior.conditions import Condition
from flowprior.data import load_data
from flowprior.flow import Flow
from flowprior.paths import Path
from tests.benchmarks.studies.conftest import Still


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


def test_a_source_of_the_right_law_is_near_and_a_standard_normal_is_far(monkeypatch):
    monkeypatch.setattr(awkward_laws, "SAMPLES", 400)
    monkeypatch.setattr(awkward_laws, "NFES", (0, 1))
    train, test = (load_data("awkward-laws:each=400", split) for split in ("train", "test"))
    found = {}
    for name in ("gmm:covariance=full", "gaussian"):
        prior = Prior.registry.resolve(name).fit(everything(train))
        condition = Condition("labels", len(LAWS))
        flow = Flow(Still(), prior, Coupling.create("condot"), Path.create("condot"), condition)
        rows = awkward_laws.values(flow, SimpleNamespace(seed=0), SimpleNamespace(test=test))
        assert len(rows) == 2 * len(awkward_laws.GRIDS) * len(LAWS)
        found[name] = {row["metric"]: row["value"] for row in rows}
    assert found["gmm:covariance=full"]["energy-gaussian"] < 0.01
    assert found["gmm:covariance=full"]["energy-ring"] > 0.01, "a Gaussian is no ring"
    assert found["gaussian"]["energy-gaussian"] > 0.02
