"""A prior that the data choose is recorded as what it is, with three lines of why; a resumed run keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior import Flow, train
from flowprior.data import Data, TensorData
from flowprior.errors import OptionError
from flowprior.flow.prediction_kinds import suited_sampler
from flowprior.inspection import Choice, choice, choose_design
from flowprior.inspection.comparison import Comparison
from flowprior.training import RunConfig, RunDirectory, automatic
from flowprior.training.components import resolve_config
from tests.inspection.test_choice import few_rows
from tests.training.conftest import SAVED

PARTS: dict[str, Any] = {name: value for name, value in SAVED.items() if name not in ("prior", "coupling")}
DESIGNS = {
    "few": (choice.FEW, "ot", "velocity"),
    "gaussian": ("gmm", "ot", "velocity"),
    "correlated": ("gmm:covariance=full", "ot", "velocity"),
    "full": (choice.FULL, "ot", "velocity"),
    "normal": (choice.NORMAL, "ot", "velocity"),
    "several": ("gmm:components=8", "ot", "velocity"),
    "latent": (choice.LATENT, "posterior", "preconditioned"),
    "captions": (choice.CAPTIONS, "leave-one-out", "velocity"),
    "pictures": (choice.PICTURES, "condot", "residual"),
    "linear": (choice.LINEAR, "posterior", "preconditioned"),
    "network": (choice.NETWORK, "posterior", "preconditioned"),
    "blind": (choice.BLIND, "ot", "velocity"),
}
"""Everything that the rules can say, and the prediction that follows."""


@pytest.fixture
def points() -> TensorData:
    """Of which the choice is clear: Gaussians that borrow."""
    return few_rows()


@pytest.fixture(scope="module")
def choice_of_points() -> Choice:
    return choose_design(few_rows())


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice of the points is not made: what is looked at is what comes after it."""
    found = Choice(choice.FEW, "ot", "data: 60 examples", f"{choice.FEW} + ot: energy score 1")
    monkeypatch.setattr(automatic, "choose_design", lambda *_: found)


@pytest.fixture
def no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at the data fails."""

    def fail(*_: Any, **__: Any) -> Choice:
        raise AssertionError("the data were looked at")

    monkeypatch.setattr(automatic, "choose_design", fail)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Data]:
    """The data that were looked at."""
    looked: list[Data] = []

    def note(data: Data, *pilot: Any) -> Choice:
        looked.append(data)
        return choose_design(data, *pilot)

    monkeypatch.setattr(automatic, "choose_design", note)
    return looked


@pytest.mark.slow
def test_the_choice_is_recorded_with_what_follows_from_it(
    points: TensorData, choice_of_points: Choice, tmp_path: Path
) -> None:
    expected = choice_of_points
    flow = train(points, prior="auto", out=tmp_path / "run", **PARTS)
    config = RunDirectory(tmp_path / "run").read_config()
    assert (config.prior, config.coupling) == (expected.prior, expected.coupling) == (choice.FEW, "ot")
    assert (config.training.prediction, config.training.time) == ("velocity", "uniform")
    follows = "so: prediction velocity, times uniform, sampled by euler"
    assert flow.metadata["choice"] == [expected.data, expected.reason, follows]


@pytest.mark.usefixtures("known")
def test_the_flow_keeps_the_reasons_and_its_card_tells_them(points: TensorData, tmp_path: Path) -> None:
    train(points, prior="auto", out=tmp_path / "run", **PARTS)
    card = (tmp_path / "run" / "flow" / "README.md").read_text(encoding="utf-8")
    assert "gmm:shrinkage=2.0 + ot: energy score" in card
    assert len(Flow.load(tmp_path / "run").metadata["choice"]) == 3


def test_of_many_points_small_flows_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))

    def told(designs: Sequence[tuple[str, str]], data: Data, seed: int) -> Comparison:
        assert len(data) == 2000
        distances = {" + ".join(design): float(place) for place, design in enumerate(designs)}
        return Comparison({name: torch.full((5,), at).double() for name, at in distances.items()}, fitted=20)

    monkeypatch.setattr(automatic, "compare_flows", told)
    flow = train(TensorData(x, torch.arange(2000) % 2), prior="auto", **PARTS)
    config = flow.metadata["config"]
    assert (config["prior"], config["coupling"]) == ("gaussian", "condot")
    assert flow.metadata["choice"][1].startswith("gaussian + condot: sliced W2² 0 after a short training")


def test_a_named_prior_has_no_reasons(points: TensorData) -> None:
    assert "choice" not in train(points, prior="gmm", coupling="ot", **PARTS).metadata


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("prior", ["auto", choice.FEW])
def test_a_resumed_run_keeps_choice_and_reasons(
    points: TensorData, tmp_path: Path, prior: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(points, prior="auto", out=tmp_path / "run", **PARTS)
    other = Choice("gaussian", "condot", "data: others", "gaussian + condot: for a test")
    monkeypatch.setattr(automatic, "choose_design", lambda *_: other)
    longer = train(points, prior=prior, out=tmp_path / "run", resume=True, **{**PARTS, "steps": 6})
    assert longer.metadata["step"] == 6
    assert longer.metadata["config"]["prior"] == choice.FEW
    assert longer.metadata["choice"] == first.metadata["choice"]


@pytest.mark.usefixtures("no_look")
def test_a_run_that_stands_there_is_refused_before_the_data_are_looked_at(
    points: TensorData, tmp_path: Path
) -> None:
    train(points, out=tmp_path / "run", **SAVED)
    with pytest.raises(OptionError, match="already holds a run"):
        train(points, prior="auto", out=tmp_path / "run", **PARTS)


@pytest.mark.usefixtures("known")
def test_what_is_named_beside_it_stays(points: TensorData) -> None:
    flow = train(points, prior="auto", coupling="condot", time="logit-normal", **PARTS)
    config = flow.metadata["config"]
    assert (config["coupling"], config["training"]["time"]) == ("condot", "logit-normal")
    assert flow.metadata["choice"][2].startswith("so: coupling condot as given, prediction velocity")


@pytest.mark.slow
def test_events_that_are_held_out_are_not_looked_at(points: TensorData, seen: list[Data]) -> None:
    train(points, prior="auto", validation=12, **PARTS)
    assert [len(data) for data in seen] == [48]


@pytest.mark.usefixtures("known")
def test_a_configuration_file_may_ask_for_it(points: TensorData, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('prior = "auto"\n', encoding="utf-8")
    assert train(points, config=path, **PARTS).metadata["config"]["prior"] == choice.FEW


def test_until_the_data_are_read_the_configuration_stays_open() -> None:
    config = resolve_config(RunConfig(), {}, prior="auto")
    assert (config.prior, config.coupling, config.training.prediction) == ("auto", "auto", "auto")


def made_for(design: str) -> TensorData:
    """A few events under a condition that the design takes."""
    generator = torch.Generator().manual_seed(0)
    x, count = torch.randn(48, 1, 4, 4, generator=generator).clamp(-1, 1), 48
    if design in ("few", "gaussian", "correlated", "full", "normal", "several", "latent"):
        return TensorData(x, torch.arange(count) % 2, classes=2, is_image=True)
    if design == "pictures":
        return TensorData(x, torch.randn(count, 1, 2, 2, generator=generator), is_image=True)
    rows = torch.randn(12, 3, generator=generator).repeat_interleave(4, 0)
    return TensorData(x, rows, is_image=True)


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
def test_every_choice_that_the_rules_can_make_trains_two_steps(
    design: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior, coupling, prediction = DESIGNS[design]
    found = Choice(prior, coupling, "data: made for it", "for a test")
    monkeypatch.setattr(automatic, "choose_design", lambda *_: found)
    flow = train(made_for(design), prior="auto", **{**PARTS, "steps": 2})
    config = flow.metadata["config"]
    assert (config["prior"], config["coupling"]) == (prior, coupling)
    assert config["training"]["prediction"] == prediction
    assert flow.default_sampler == suited_sampler(prediction, flow.coupling)
    assert flow.metadata["choice"][2].endswith(f"sampled by {flow.default_sampler}")


@pytest.mark.slow
def test_of_a_flow_in_latents_these_are_looked_at(seen: list[Data]) -> None:
    flow = train("digits", prior="auto", latent="identity", **{**PARTS, "model": "auto", "steps": 2})
    assert [type(data).__name__ for data in seen] == ["EncodedData"]
    assert flow.metadata["config"]["prior"] == choice.LATENT
