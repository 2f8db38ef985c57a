"""The paper's two tables as studies, rehearsed on folders of the same layout and a few pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies import STUDIES
from flowprior.errors import DataNotFoundError
from flowprior.study.grid import Grid, load_grid
from flowprior.study.running import run_grid
from flowprior.study.runs import variants
from tests.benchmarks.studies.conftest import cells_of
from tests.data_folders import write_coco, write_imagenet64
from tests.expected_warnings import FEW_REFERENCES
from tests.markdown_blocks import REPOSITORY

TABLES = ["imagenet64", "coco"]
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


def rehearse(name: str, out: Path, *overrides: str) -> dict[str, Any]:
    outcome = run_grid(grid(name, *TINY, *overrides), out)
    assert outcome.failed == {}
    return cells_of(out)


def save_vq_model(folder: Path) -> Path:
    """A VQModel of a few channels, which halves the sides."""
    diffusers = pytest.importorskip("diffusers")
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    sizes = {"block_out_channels": [4, 8], "norm_num_groups": 2, "latent_channels": 3, "num_vq_embeddings": 7}
    diffusers.VQModel(**blocks, **sizes, sample_size=8).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_the_four_methods_of_the_paper_at_15_evaluations(name: str) -> None:
    found = {v.label: (v.prior, v.coupling, v.path, v.prediction) for v in variants(grid(name))}
    paper = {"imagenet64": ("class-gaussians", "gmm"), "coco": ("caption-means", "learned-mean:sigma=0.7")}
    label, prior = paper[name]
    assert found["condot"] == ("gaussian", "condot", "condot", "velocity")
    assert found["batchot"] == ("gaussian", "ot:condition=ignore", "condot", "velocity")
    assert found["ddpm"] == ("gaussian", "condot", "vp", "epsilon")
    assert found[label] == (prior, "condot", "condot", "velocity")
    assert 15 in grid(name).nfe
    assert {"fid", "kid"} <= set(grid(name).evaluation["metrics"])


@pytest.mark.parametrize("name", TABLES)
def test_where_the_data_are_not_there_one_line_says_so(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWPRIOR_DATA", str(tmp_path))
    with pytest.raises(DataNotFoundError, match=rf"{name}: no .*; unpack ") as caught:
        run_grid(grid(name, *TINY), tmp_path / "out")
    assert "\n" not in str(caught.value)


@FEW_REFERENCES
@pytest.mark.slow
def test_imagenet64_is_rehearsed(tmp_path: Path) -> None:
    data = f"data=imagenet64:path={write_imagenet64(tmp_path / 'data', batches=1, rows=16)},batches=1"
    small = ["model=unet:widths=8-16,patch=4", "samples=3"]
    cells = rehearse("imagenet64", tmp_path / "out", data, *small)
    assert len(cells) == 5
    for label, cell in cells.items():
        assert len(cell.select(flow=label, metric="sliced_w2_squared")) == 2


@FEW_REFERENCES
@pytest.mark.slow
@pytest.mark.usefixtures("words")
def test_coco_is_rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    data = f"data=coco:path={write_coco(tmp_path / 'data', 8)},size=8,encoder=words"
    latent = f"latent=vq-model:path={save_vq_model(tmp_path / 'weights')}"
    cells = rehearse("coco", tmp_path / "out", data, latent, "model=unet:widths=8-16,patch=1")
    assert len(cells) == 5
    assert (tmp_path / "out" / "latents").is_dir()
    for label, cell in cells.items():
        assert len(cell.select(flow=label, metric="sliced_w2_squared")) == 2
