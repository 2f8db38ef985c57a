"""The row at NFE 0: what it is made of, when it is refused, and that new cells have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.studies import digits, image_cells, prior_alone
from benchmarks.studies.ensemble import Budget, Member, train_members
from benchmarks.studies.prior_alone import FittedRun, Row, add_rows, twin_of, untrained, with_row
from benchmarks.studies.report.formatting import RESULTS, shown_at, worse_than_prior
from benchmarks.studies.sampling import draw_samples
from benchmarks.studies.settings import CONDOT, Setting
from flowprior.data import TensorData
from flowprior.training import train

OURS = ["cnn128 sha256 1"]


def points() -> TensorData:
    labels = torch.arange(120) % 3
    noise = torch.randn(120, 2, generator=torch.Generator().manual_seed(0))
    return TensorData(0.3 * noise + 4 * labels[:, None], labels, name="points", classes=3)


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "a-seed0.json"
    cell = {"features": OURS, "nfes": [4], "rows": [{"nfe": 4, "fid-cnn128": 2.0}], **changes}
    path.write_text(json.dumps(cell))
    return path


def test_at_nfe_0_the_samples_are_the_source_samples_that_the_flow_starts_from() -> None:
    flows, _ = train_members([Member(Setting("gmm"), points())], 0, Budget(steps=2, warmup=1))
    labels = torch.arange(30) % 3
    found = draw_samples(flows[0], labels, 0, generator=torch.Generator().manual_seed(3))
    moved = draw_samples(flows[0], labels, 4, generator=torch.Generator().manual_seed(3), sampler="euler")
    solution = flows[0].solve(labels, nfe=4, generator=torch.Generator().manual_seed(3), trajectory=True)
    assert solution.trajectory is not None
    torch.testing.assert_close(found, solution.trajectory[0])
    assert not torch.equal(found, moved)


def test_new_cells_begin_with_the_prior_alone() -> None:
    assert image_cells.NFES[0] == digits.NFES[0] == 0
    assert image_cells.can_spend("euler", 1)


def test_the_prior_of_a_run_comes_back(tmp_path: Path) -> None:
    """The prior that is fitted again is the one that training left, and so is its transport cost."""
    budget = {"steps": 2, "batch_size": 40, "sample_every": 0, "device": "cpu"}
    spec = "gmm:components=2,covariance=lowrank,rank=1"
    flow = train(
        points(), prior=spec, coupling="condot", path="condot", model="mlp:width=8,depth=1", seed=7,
        out=tmp_path / "run", **budget,
    )  # fmt: skip
    info = json.loads((tmp_path / "run" / "info.json").read_text(encoding="utf-8"))
    cell = {**Setting(spec).as_dict(), "seed": 7}
    run = FittedRun(cell, points(), budget)
    for name, tensor in flow.prior.state_dict().items():
        torch.testing.assert_close(run.flow.prior.state_dict()[name], tensor)
    assert run.transport_cost() == pytest.approx(info["transport_cost"], rel=1e-6)


def test_a_row_is_added_first_and_says_who_added_it(tmp_path: Path) -> None:
    path = write(tmp_path, prior_figures={"log_density": 1.0})
    add_rows(tmp_path, lambda *_: Row({"rows": {"fid-cnn128": 9.0}}, 1.0, 1.0), OURS)
    cell = json.loads(path.read_text())
    assert cell["rows"] == [{"nfe": 0, "fid-cnn128": 9.0}, {"nfe": 4, "fid-cnn128": 2.0}]
    assert cell["nfes"] == [0, 4]
    assert {"commit", "prior_said", "prior_found"} == cell["added"]["nfe 0"].keys()
    add_rows(tmp_path, lambda *_: Row({"rows": {"fid-cnn128": 5.0}}), OURS)
    assert json.loads(path.read_text()) == cell, "once is enough"


@pytest.mark.parametrize(
    ("row", "identities"),
    [
        (Row({"rows": {"fid-cnn128": 9.0}}, 1.0, 1.1), OURS),
        (Row({"rows": {}}), ["cnn128 sha256 2"]),
        (None, OURS),
    ],
    ids=["another prior", "another judge", "nothing"],
)
def test_another_prior_or_judge_gets_no_row(tmp_path: Path, row: Row | None, identities: list[str]) -> None:
    before = write(tmp_path).read_text()
    add_rows(tmp_path, lambda *_: row, identities)
    assert (tmp_path / "a-seed0.json").read_text() == before


def test_an_untrained_member_has_its_own_prior() -> None:
    flow = untrained(Member(CONDOT, points()), 0)
    assert isinstance(flow.model, nn.Identity)
    assert flow.prior.sample(torch.tensor([0, 1])).shape == (2, 2)


def test_where_a_flow_loses_to_its_prior_is_said() -> None:
    def group(alone: float, one: float, four: float) -> list[dict[str, Any]]:
        rows = zip((0, 1, 4), (alone, one, four), strict=True)
        return [{"rows": [{"nfe": nfe, "fid-cnn128": v, "accuracy": 1 / v} for nfe, v in rows]}]

    groups = {"good": group(9, 5, 4), "bad": group(3, 5, 2), "worst": group(1, 2, 2)}
    for metric in ("fid-cnn128", "accuracy"):
        said = worse_than_prior(groups, metric, (0, 1, 4))
        assert "`bad` at NFE 1; `worst` at every NFE" in said
        assert "`good`" not in said
    assert "every flow is better" in worse_than_prior({"good": groups["good"]}, "fid-cnn128", (1, 4))
    assert worse_than_prior({"old": [{"rows": [{"nfe": 4, "fid-cnn128": 1.0}]}]}, "fid-cnn128", (4,)) == ""
    assert shown_at(groups["good"], 8, "fid-cnn128", 1) == "–"


@pytest.mark.parametrize("folder", ["digits", "ablations", "unconditional-source", "eight-modes"])
def test_the_committed_cells_have_the_prior_alone(folder: str) -> None:
    paths = sorted((RESULTS / folder).glob("*.json"))
    assert paths
    for path in paths:
        assert json.loads(path.read_text())["rows"][0]["nfe"] == 0, path.name


def test_rows_of_every_list_are_added_together() -> None:
    cell = {"rows": [{"nfe": 1}], "validation": [{"nfe": 1}]}
    row = Row({"rows": {"x": 1.0}, "validation": {"x": 2.0}})
    changed = with_row(cell, row)
    assert changed["validation"][0] == {"nfe": 0, "x": 2.0}
    assert prior_alone.TOLERANCE < 0.01


def test_a_cell_of_the_same_source_samples_lends_its_row(tmp_path: Path) -> None:
    cell = {"prior": "gmm", "coupling": "ot", "seed": 0, "samples": 9, "features": OURS, "rows": [{"nfe": 1}]}
    twin = {**cell, "prediction": "residual", "rows": [{"nfe": 0, "fid-cnn128": 3.0}]}
    others = [{**twin, "seed": 1}, {**twin, "coupling": "condot"}, {**twin, "features": ["other"]}, cell]
    for number, other in enumerate(others):
        (tmp_path / f"{number}.json").write_text(json.dumps(other))
    assert twin_of(cell, [tmp_path]) is None
    (tmp_path / "9.json").write_text(json.dumps(twin))
    assert twin_of(cell, [tmp_path]) == twin
    noise = {**twin, "prior": "gaussian"}
    (tmp_path / "10.json").write_text(json.dumps(noise))
    assert twin_of({**cell, "prior": "gaussian", "coupling": "condot"}, [tmp_path]) == noise
