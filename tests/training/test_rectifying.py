"""A round of rectification: straighter than the flow that it comes from, and free of it afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from flowprior import Flow, evaluate, train
from flowprior.couplings.reflow import ReflowCoupling
from flowprior.data import load_data
from flowprior.errors import CheckpointError, CouplingError, TrainingInterrupted
from flowprior.metrics.transport import wasserstein2_per_condition
from flowprior.priors import Prior
from flowprior.storage.digests import file_sha256
from flowprior.training import RunDirectory
from flowprior.training.rectifying import FlowTeacher, with_origin

DATA = "moons"
SMALL: dict[str, Any] = {
    "model": "mlp:width=48,depth=2",
    "steps": 300,
    "batch_size": 128,
    "sample_every": 0,
    "checkpoint_every": 0,
    "device": "cpu",
}
TINY: dict[str, Any] = {**SMALL, "model": "mlp:width=8,depth=1", "batch_size": 16, "steps": 4, "warmup": 1}
LATENT = {"prior": "latent-gmm:rank=2,components=2", "coupling": "posterior"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run from N(0, I)."""
    out = tmp_path_factory.mktemp("base") / "run"
    train(DATA, prior="gaussian", coupling="condot", out=out, **SMALL)
    return out


@pytest.fixture(scope="module")
def designed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps from a designed prior."""
    out = tmp_path_factory.mktemp("designed") / "run"
    train(DATA, out=out, **LATENT, **TINY)
    return out


def distance(flow: Flow, nfe: int) -> float:
    """Exact W2² between 600 samples and as many test points, averaged over the labels."""
    x, labels = load_data(DATA, "test").batch(torch.arange(600))
    generated = flow.sample(labels, nfe=nfe, generator=torch.Generator().manual_seed(1))
    return fmean(wasserstein2_per_condition(generated, labels, x, labels).values())


def test_a_coupling_that_is_given_is_recorded_like_one_that_is_named(designed: Path, tmp_path: Path) -> None:
    """So that its flow can be loaded."""
    options = {**TINY, "prior": LATENT["prior"]}
    given = ReflowCoupling(flow=str(designed), pool=40, nfe=2)
    train(DATA, coupling=given, out=tmp_path / "given", **options)
    train(DATA, coupling=f"reflow:flow={designed},pool=40,nfe=2", out=tmp_path / "named", **options)
    of_given, of_named = (RunDirectory(tmp_path / name).read_config() for name in ("given", "named"))
    assert of_given == of_named
    assert of_named.coupling == f"reflow:flow={designed},pool=40,nfe=2,origin=posterior"
    assert with_origin("ot:ot_batch=32") == "ot:ot_batch=32"
    labels = torch.tensor([0, 1])
    samples = [
        Flow.load(tmp_path / name).sample(labels, nfe=1, generator=torch.Generator().manual_seed(0))
        for name in ("given", "named")
    ]
    assert torch.equal(*samples)


def test_one_evaluation_is_enough_after_a_round(base: Path, tmp_path: Path) -> None:
    first = Flow.load(base)
    parts = {"coupling": f"reflow:flow={base},pool=4000", "out": tmp_path / "run"}
    second = train(DATA, prior="gaussian", **parts, **SMALL)
    assert distance(second, 1) < 0.25 * distance(first, 1)
    assert distance(second, 1) < 2 * distance(first, 15)
    info = json.loads((tmp_path / "run" / "info.json").read_text())
    before = json.loads((base / "info.json").read_text())
    assert info["transport_cost"] < 0.8 * before["transport_cost"]


@pytest.mark.parametrize("pool", [0, 60])
def test_a_run_in_pieces_is_the_run_in_one(designed: Path, tmp_path: Path, pool: int) -> None:
    coupling = f"reflow:flow={designed},pool={pool},nfe=2,real=0.5"
    parts = {"prior": LATENT["prior"], "coupling": coupling, **TINY}
    whole = train(DATA, out=tmp_path / "whole", **parts)
    for _ in range(2):
        with pytest.raises(TrainingInterrupted):
            train(DATA, out=tmp_path / "run", resume=True, max_minutes=1e-9, **parts)
    pieces = train(DATA, out=tmp_path / "run", resume=True, **parts)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, pieces.state_dict()[name]), name


def test_a_run_notes_its_flow_and_does_not_go_on_with_another(
    base: Path, designed: Path, tmp_path: Path
) -> None:
    shutil.copytree(designed, tmp_path / "first")
    coupling = f"reflow:flow={tmp_path / 'first'},pool=20,nfe=2"
    parts = {"prior": LATENT["prior"], "coupling": coupling, "out": tmp_path / "run", "resume": True}
    train(DATA, **parts, **TINY)
    noted = json.loads((tmp_path / "run" / "info.json").read_text())["teacher"]
    weights = next((tmp_path / "first" / "flow").glob("weights-*.safetensors"))
    assert noted == {"flow": str(tmp_path / "first"), "weights_sha256": file_sha256(weights)}
    train(DATA, **parts, **{**TINY, "steps": 6})
    train(DATA, out=tmp_path / "first", resume=True, **LATENT, **{**TINY, "steps": 5})
    with pytest.raises(CouplingError, match="expected the flow that the run began with, of weights sha256"):
        train(DATA, **parts, **{**TINY, "steps": 8})
    assert json.loads((tmp_path / "run" / "info.json").read_text())["step"] == 6
    train(DATA, **{**parts, "out": tmp_path / "other"}, **TINY)
    assert "teacher" not in json.loads((base / "info.json").read_text())


def test_it_begins_as_the_flow_that_it_comes_from(designed: Path) -> None:
    """What the network is shown is the same, so that its weights mean the same."""
    parts = {"coupling": f"reflow:flow={designed},pool=20,nfe=2", "init": str(designed), "seed": 7}
    still = train(DATA, prior=LATENT["prior"], **parts, **{**TINY, "steps": 1, "lr": 1e-12, "warmup": 0})
    first = Flow.load(designed)
    assert first.prediction == still.prediction == "preconditioned"
    for name, value in first.prior.state_dict().items():
        assert torch.equal(value, still.prior.state_dict()[name]), "of the flow, whatever the seed"
    x, labels = load_data(DATA, "test").batch(torch.arange(50))
    t = torch.linspace(0, 1, 50)
    with torch.no_grad():
        torch.testing.assert_close(*(flow.velocity(x, t, labels) for flow in (first, still)))


def test_the_flow_that_is_left_needs_the_other_one_no_more(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "first")
    coupling = f"reflow:flow={tmp_path / 'first'},pool=20,nfe=2"
    for out in ("second", "third"):
        made = train(DATA, prior="gaussian", coupling=coupling, out=tmp_path / out, **TINY)
        coupling = f"reflow:flow={tmp_path / out},pool=20,nfe=2"
    shutil.rmtree(tmp_path / "first")
    loaded = Flow.load(tmp_path / "third")
    assert loaded.coupling.origin == "condot"  # type: ignore[attr-defined]
    labels = torch.arange(6) % 2
    samples = [f.sample(labels, nfe=2, generator=torch.Generator().manual_seed(0)) for f in (made, loaded)]
    torch.testing.assert_close(samples[0], samples[1])
    found = evaluate(loaded, DATA, nfe=[1], samples=50, metrics=["sliced-w2"])
    metrics = {row["metric"] for row in found.rows}
    assert "transport_cost_unpaired" in metrics
    assert "transport_cost" not in metrics, "its pairs are the other flow's"


def test_another_prior_data_or_coupling_is_refused(base: Path, designed: Path) -> None:
    spec = f"reflow:flow={base},pool=20,nfe=2"

    def refused(data: Any = DATA, prior: Any = "gaussian", coupling: str = spec) -> str:
        with pytest.raises(CouplingError) as caught:
            train(data, prior=prior, coupling=coupling, **TINY)
        return str(caught.value)

    x, labels = load_data(DATA, "train").batch(torch.arange(100))
    assert "expected a trained flow, got none" in refused(coupling="reflow")
    assert "expected a trained flow, got none" in refused(coupling="reflow:origin=condot")
    assert "expected a prior gaussian, which the flow in" in refused(prior="gmm")
    assert "expected events of shape [2]" in refused((torch.cat([x, x], 1), labels))
    assert "expected the condition Condition(kind='labels', size=2)" in refused((x, None))
    assert "expected a coupling of origin condot" in refused(coupling=f"{spec},origin=ot")
    own = Prior.create(LATENT["prior"]).fit((x, labels), generator=torch.Generator().manual_seed(9))
    assert "expected the fitted prior of the flow" in refused(
        prior=own, coupling=f"reflow:flow={designed},pool=20,nfe=2"
    )


def test_a_flow_that_is_not_there_or_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no run"):
        train(DATA, prior="gaussian", coupling=f"reflow:flow={tmp_path / 'none'}", **TINY)
    with pytest.raises(TrainingInterrupted):
        train(DATA, prior="gaussian", coupling="condot", out=tmp_path / "run", max_minutes=1e-9, **TINY)
    with pytest.raises(CouplingError, match="expected a flow that stays as it is, got one that is trained"):
        train(DATA, prior="gaussian", coupling=f"reflow:flow={tmp_path / 'run'}", **TINY)
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("step-*")
    train(DATA, prior="gaussian", coupling=f"reflow:flow={checkpoint},pool=20,nfe=2", **TINY)


def test_a_datum_that_is_carried_back_is_carried_to_itself(base: Path) -> None:
    teacher, (x, labels) = FlowTeacher(Flow.load(base)), load_data(DATA, "test").batch(torch.arange(200))
    x0 = teacher.back(x, labels, nfe=100, guidance=1.0)
    missed = teacher.forth(x0, labels, nfe=500, guidance=1.0) - x
    assert float(missed.square().mean().sqrt()) < 0.01
