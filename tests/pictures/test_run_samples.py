"""Pictures of samples: which rows, from which source samples, and when there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.io import decode_image

from flowprior.data import TensorData
from flowprior.errors import CheckpointError
from flowprior.flow import Flow
from flowprior.pictures import beside
from flowprior.pictures.run_samples import COLUMNS, SampleImages
from flowprior.training import TrainingConfig
from tests.training.conftest import components, points, small_net

__all__ = ["points"]


class Still(nn.Module):
    """v = 0: samples are their source samples."""

    def __init__(self) -> None:
        super().__init__()
        self.conditions: list[Tensor | None] = []
        self.sources: list[Tensor] = []

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        self.conditions.append(cond)
        self.sources.append(x)
        return torch.zeros_like(x)


def pictures_of(data: TensorData, folder: Path, **options: Any) -> tuple[SampleImages, Flow, Still]:
    model = Still()
    parts = components(data, small_net())
    flow = Flow(model, parts.prior, parts.coupling, parts.path, data.condition)
    config = TrainingConfig(sample_nfe=1, **options)
    return SampleImages(data, folder, config, torch.device("cpu")), flow, model


def images(cond: Tensor | None, classes: int | None = None, channels: int = 1) -> TensorData:
    x = torch.rand(70, channels, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return TensorData(x, cond, is_image=True, classes=classes)


def test_one_row_a_class_from_the_same_source_samples_under_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[Any, Any]] = []
    data = images(torch.arange(70) % 3, 3)
    data.class_names = ["zero", "one", "two"]
    pictures, flow, model = pictures_of(data, tmp_path / "samples")
    monkeypatch.setattr(
        "flowprior.pictures.run_samples.beside",
        lambda panels, **words: drawn.append((panels, words)) or beside(panels, **words),
    )
    assert pictures.draw(flow, 500) == tmp_path / "samples" / "step-000500.png"
    ((panels, words),) = drawn
    assert {
        "columns": COLUMNS,
        "title": "tensors, step 500",
        "names": data.class_names,
    }.items() <= words.items()
    assert list(panels) == ["prior alone", "flow, 1 evaluation"]
    (source, labels), (x, _) = panels.values()
    assert torch.equal(source, x), "v = 0"
    assert torch.equal(labels, torch.arange(3).repeat_interleave(COLUMNS))
    assert torch.equal(model.conditions[0], labels)  # type: ignore[arg-type]


def test_a_square_of_conditions_of_the_data_where_there_are_no_classes(tmp_path: Path) -> None:
    cond = torch.randn(70, 4)
    pictures, flow, model = pictures_of(images(cond), tmp_path)
    pictures.draw(flow, 1)
    assert len(model.sources[0]) == COLUMNS**2
    seen = model.conditions[0]
    assert seen is not None
    assert all(bool((cond == row).all(1).any()) for row in seen)


def test_source_samples_depend_on_the_seed_alone(tmp_path: Path) -> None:
    before, sources = torch.random.get_rng_state(), []
    for seed in (0, 0, 1):
        pictures, flow, model = pictures_of(images(None), tmp_path, seed=seed)
        pictures.draw(flow, 1)
        sources.append(model.sources[0])
    assert torch.equal(sources[0], sources[1])
    assert not torch.equal(sources[0], sources[2])
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("data", [*(images(None, channels=count) for count in (2, 3, 4)), None])
def test_any_number_of_channels_and_points_make_a_picture_and_other_events_none(
    data: TensorData | None, points: TensorData, tmp_path: Path
) -> None:
    pictures, flow, _ = pictures_of(data or points, tmp_path)
    path = pictures.draw(flow, 1)
    assert path is not None
    assert decode_image(str(path)).float().std() > 1  # something is drawn
    pictures, flow, model = pictures_of(TensorData(torch.randn(20, 5)), tmp_path / "samples")
    assert pictures.draw(flow, 3) is None
    assert model.sources == []


def test_a_picture_that_cannot_be_written_leaves_advice_for_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    pictures, flow, _ = pictures_of(images(None), tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"cannot write .*step-000003\.png: .*earlier files are kept"):
        pictures.draw(flow, 3)
