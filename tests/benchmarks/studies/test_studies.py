"""The studies are grids that can be run; a new run gives what is stored; the paper's tables are rehearsed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.data_sets.imagenet64 import write_arrays
from benchmarks.studies import STUDIES, toys
from benchmarks.studies.headline import comparison, grids, runs
from benchmarks.studies.tables import select
from flowprior.errors import DataNotFoundError
from flowprior.ops.backend import native_devices
from flowprior.study.grid import Grid, load_grid
from flowprior.study.hooks import load_hooks
from flowprior.study.running import run_grid
from flowprior.study.runs import variants
from tests.benchmarks.studies.conftest import cells_of
from tests.data_folders import write_coco, write_imagenet64
from tests.expected_warnings import FEW_REFERENCES
from tests.markdown_blocks import REPOSITORY

GRIDS = sorted(path.name for path in STUDIES.glob("*.toml"))


@pytest.mark.parametrize("name", GRIDS)
def test_a_study_is_a_grid_whose_functions_are_there(name: str) -> None:
    grid = load_grid(STUDIES / name)
    found = variants(grid)
    assert found
    assert all(variant.skipped is None for variant in found)
    load_hooks(grid.hooks)


@pytest.mark.parametrize("label", ["default", "gmm+ot"])
def test_the_prior_alone_is_as_stored(label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Source samples and their values hang on no training: the protocol is the one of the stored runs.

    Stored values are of the native draws; pure torch draws others from the same distribution.
    """
    monkeypatch.chdir(REPOSITORY)
    asked = next(own for own in grids.study()["runs"] if own["name"] == "digits-1000")
    short = {"steps": 2, "seeds": [0], "nfe": [0], "values": ""}
    grid = runs.run_grid_of(asked | short | {"evaluation": {"features": [], "metrics": ["fid", "accuracy"]}})
    assert run_grid(replace(grid, variants={label: grid.variants[label]}), tmp_path).failed == {}
    stored = comparison.results("digits", steps=asked["steps"], flow=label, nfe=0, seed=0)
    for metric in ("fid-cnn128", "accuracy"):
        value = select(stored, metric=metric)["value"].item()
        found = cells_of(tmp_path)[label].value(metric, 0)
        assert found == pytest.approx(value, rel=1e-4 if native_devices() else 0.1)


SHORT_TOYS = [
    "training.steps=3",
    "training.warmup=1",
    "samples=16",
    "nfe=[0, 1]",
    "model=mlp:width=8,depth=1",
]


def test_the_eight_modes_have_distances_errors_and_curvature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("OF_EACH_MODE", 5), ("TRAJECTORIES", 2), ("NFES", (0, 2))):
        monkeypatch.setattr(toys, name, value)
    monkeypatch.chdir(REPOSITORY)
    every = load_grid(STUDIES / "eight_modes.toml").variants
    given = {"variants": {label: every[label] for label in ("designed+ot", "ddpm")}}
    given |= {"data": "eight-modes:n=2200,seed=0,radius=5.0"}
    outcome = run_grid(load_grid(STUDIES / "eight_modes.toml", given, SHORT_TOYS), tmp_path)
    assert (outcome.failed, outcome.finished) == ({}, 2)
    ours, ddpm = (cells_of(tmp_path)[label] for label in ("designed+ot", "ddpm"))
    assert ours.value("w2_squared", 0) < ddpm.value("w2_squared", 0), "the priors alone"
    assert {row["sampler"] for row in ddpm.select(metric="travelled")} == {"ancestral"}
    assert ours.value("curvature") > 0
    assert ours.value("local_error", 2) > 0
    assert ours.value("w2_squared", flow="real data") > 0


def test_moons_start_from_eight_gaussians_whatever_the_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toys, "MOONS", 60)
    data = {"data": "8gaussians-to-moons:n=500,seed=0"}
    outcome = run_grid(load_grid(STUDIES / "moons.toml", data, SHORT_TOYS), tmp_path)
    assert (outcome.failed, outcome.finished) == ({}, 3)
    rows = cells_of(tmp_path)["FM"].select(metric="w2_squared")
    assert [(row["sampler"], row["nfe"]) for row in rows] == [("euler", 1), ("dopri5", None)]


TINY = [
    "training.steps=2",
    "training.warmup=1",
    "training.batch_size=4",
    "training.precision=float32",
    "nfe=[0, 2]",
    "samples=8",
    "evaluation.features=[]",
    "evaluation.metrics=['sliced-w2']",
]


def grid(name: str, *overrides: str) -> Grid:
    return load_grid(STUDIES / f"{name}.toml", {}, overrides)


def rehearse(name: str, out: Path, *overrides: str) -> list[int]:
    """Run a study, and return how many distances of each variant there are."""
    outcome = run_grid(grid(name, *TINY, *overrides), out)
    assert outcome.failed == {}
    return [len(cell.select(flow=label, metric="sliced_w2_squared")) for label, cell in cells_of(out).items()]


def save_vq_model(folder: Path) -> Path:
    """A VQModel of a few channels, which halves the sides."""
    diffusers = pytest.importorskip("diffusers")
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    sizes = {"block_out_channels": [4, 8], "norm_num_groups": 2, "latent_channels": 3, "num_vq_embeddings": 7}
    diffusers.VQModel(**blocks, **sizes, sample_size=8).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "label", "prior"),
    [("imagenet64", "class-gaussians", "gmm"), ("coco", "caption-means", "learned-mean:sigma=0.7")],
)
def test_a_table_has_the_four_methods_of_the_paper_at_15_evaluations(
    name: str, label: str, prior: str
) -> None:
    found = {v.label: (v.prior, v.coupling, v.path, v.prediction) for v in variants(grid(name))}
    assert found["condot"] == ("gaussian", "condot", "condot", "velocity")
    assert found["batchot"] == ("gaussian", "ot:condition=ignore", "condot", "velocity")
    assert found["ddpm"] == ("gaussian", "condot", "vp", "epsilon")
    assert found[label] == (prior, "condot", "condot", "velocity")
    assert 15 in grid(name).nfe
    assert {"fid", "kid"} <= set(grid(name).evaluation["metrics"])


@pytest.mark.parametrize(
    ("name", "message"), [("imagenet64", "latents: nothing at"), ("coco", "coco: no .*; unpack ")]
)
def test_where_the_data_are_not_there_one_line_says_so(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWPRIOR_DATA", str(tmp_path))
    with pytest.raises(DataNotFoundError, match=rf"\A{message}.*\Z"):
        run_grid(grid(name, *TINY), tmp_path / "out")


@FEW_REFERENCES
@pytest.mark.slow
def test_imagenet64_is_rehearsed(tmp_path: Path) -> None:
    write_arrays(write_imagenet64(tmp_path / "official"), tmp_path / "data")
    small = [f"data=latents:path={tmp_path / 'data'}", "model=unet:widths=8-16,patch=4", "samples=3"]
    assert rehearse("imagenet64", tmp_path / "out", *small) == [2] * 5


@FEW_REFERENCES
@pytest.mark.slow
@pytest.mark.usefixtures("words")
def test_coco_is_rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    data = f"data=coco:path={write_coco(tmp_path / 'data', 8)},size=8,encoder=words"
    latent = f"latent=vq-model:path={save_vq_model(tmp_path / 'weights')}"
    assert rehearse("coco", tmp_path / "out", data, latent, "model=unet:widths=8-16,patch=1") == [2] * 5
    assert (tmp_path / "out" / "latents").is_dir()
