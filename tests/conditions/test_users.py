"""What looks at a flow or its data takes parts, too: evaluation, studies, files, inspection."""

from __future__ import annotations

import pytest
import torch

from flowprior import Flow, evaluate
from flowprior.cli.samples_file import save_samples
from flowprior.conditions import Condition, Parts
from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.data.base import as_data
from flowprior.errors import InputError
from flowprior.inspection import inspect_priors
from flowprior.models import build_model
from flowprior.paths import Path
from flowprior.priors import Prior
from tests.conditions.test_flows import conditions, points
from tests.expected_warnings import FEW_REFERENCES

COND = Parts(conditions())


@pytest.fixture(scope="module")
def flow() -> Flow:
    prior = Prior.create("gmm").fit((points(), {"style": COND["style"]}))
    condition = Condition.of(COND)
    parts = (Coupling.create("condot"), Path.create("condot"), condition)
    return Flow(build_model("mlp:width=8,depth=1", torch.Size([2]), condition), prior, *parts)


@pytest.fixture(scope="module")
def data() -> TensorData:
    return TensorData(points(), COND, name="points")


@FEW_REFERENCES
def test_a_flow_is_evaluated_for_the_conditions_of_the_data(flow, data):
    names = ("w2", "sliced-w2", "curvature", "path-energy", "truncation", "nll")
    found = evaluate(flow, data, nfe=(1,), samples=8, metrics=list(names))
    values = {row["metric"] for row in found.rows}
    assert {"w2_squared", "sliced_w2_squared", "curvature", "path_energy", "nll_bits"} <= values
    other = TensorData(points(), COND.only(("style",)))
    with pytest.raises(InputError, match=r"the flow makes events .* from parts caption"):
        evaluate(flow, other, nfe=(1,), samples=8, metrics="w2")


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_samples_are_written_with_their_parts_and_read_as_data(suffix, tmp_path):
    path = tmp_path / f"samples{suffix}"
    save_samples(path, points(), COND)
    _, cond = as_data(path).batch(torch.arange(36))
    stored = as_data(path)
    assert stored.condition == Condition.of(COND)
    assert isinstance(cond, Parts)


def test_a_prior_is_inspected_on_parts(data):
    found = inspect_priors(data, ["gmm"], ["condot", "ot"], steps=1)
    assert len(found.pairings) == 2
