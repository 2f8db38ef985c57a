"""CLIP score and CLIP-FID through evaluate, by a tiny random CLIP from a folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.errors import DataNotFoundError, InputError
from flowprior.evaluation import Result, evaluate
from flowprior.features.base import as_extractor
from flowprior.flow import Flow
from flowprior.metrics import Setup
from flowprior.metrics.setup import Reference
from flowprior.paths import Path as FlowPath
from flowprior.priors import Prior
from tests.expected_warnings import FEW_REFERENCES
from tests.text_models import clip_spec, save_clip, transformers

pytestmark = FEW_REFERENCES

CAPTIONS = [f"a {colour} cat of the {mood} dog" for colour in ("red", "blue") for mood in ("sleepy", "happy")]
OPTIONS: dict[str, Any] = {"nfe": [0], "samples": 40, "sampler": "euler"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"), whole=True)


def captioned(count: int, cond: Tensor | None = None, **more: Any) -> TensorData:
    """Pictures of noise with captions in turn; conditions that say nothing of them."""
    generator = torch.Generator().manual_seed(count)
    x = torch.rand(count, 3, 16, 16, generator=generator) * 2 - 1
    cond = torch.randn(count, 3, generator=generator) if cond is None else cond
    data = TensorData(x, cond, name="noise", is_image=True, **more)
    data.captions = [CAPTIONS[number % len(CAPTIONS)] for number in range(count)]
    return data


def scored(folder: Path, train: TensorData, test: TensorData | None = None) -> Result:
    """The evaluation of a flow of noise."""
    metrics = {"metrics": "image-text", "features": [clip_spec(folder)]}
    return evaluate(noise_flow(train), train, reference=test, **metrics, **OPTIONS)


def noise_flow(data: TensorData) -> Flow:
    prior = Prior.create("gaussian").fit(data.batches(), generator=torch.Generator().manual_seed(0))
    parts = (prior, Coupling.create("condot"), FlowPath.create("condot"), data.condition)
    return Flow(lambda x, t, cond: torch.zeros_like(x), *parts)


def cosines(folder: Path, x: Tensor, texts: list[str]) -> Tensor:
    """Of every picture and text, by transformers' whole model, which knows nothing of this library."""
    library, extractor = transformers(), as_extractor(clip_spec(folder))
    model = library.CLIPModel.from_pretrained(folder).eval()
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model(pixel_values=extractor.prepare(x), **tokens).logits_per_image / model.logit_scale.exp()  # type: ignore[attr-defined]


def test_the_score_is_that_of_the_whole_model_on_the_stored_texts(folder: Path) -> None:
    train, test = captioned(30), captioned(24)
    found = scored(folder, train, test)
    assert list(found.quality_metrics) == ["clip-score", "caption-top1-clip"], "four captions have no top 5"
    setup = Setup(noise_flow(train), Reference(train, "training"), Reference(test, "test"), 40, 0, None)
    x = setup.held_out.x
    table, own = cosines(folder, x, CAPTIONS), torch.tensor([int(index) % 4 for index in setup.indices])
    expected = 100 * table.gather(1, own[:, None]).clamp_min(0).mean().item()
    assert found.real_data_score("clip-score") == pytest.approx(expected, abs=1e-3)
    nearest = (table.argmax(1) == own).double().mean().item()
    assert found.real_data_score("caption-top1-clip") == pytest.approx(nearest, abs=1e-6)


def test_the_names_of_classes_stand_for_captions_that_are_not_there(folder: Path) -> None:
    data = captioned(24, torch.arange(24) % 2, class_names=["cat", "dog"])
    stored, data.captions = scored(folder, data), None
    named, split = scored(folder, data), Reference(data, "training")
    labels: Any = Setup(noise_flow(data), split, split, 40, 0, None).cond
    x = noise_flow(data).sample(labels, nfe=0, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    table = cosines(folder, x, ["a photo of a cat", "a photo of a dog"])
    expected = 100 * table.gather(1, labels[:, None]).clamp_min(0).mean().item()
    assert named.value("clip-score", 0) == pytest.approx(expected, abs=1e-3)
    assert stored.value("clip-score", 0) != pytest.approx(expected, abs=1e-3)


def test_a_folder_without_a_tokenizer_is_refused_before_anything_is_generated(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("model.safetensors", "config.json"):
        shutil.copy(folder / name, tmp_path)
    monkeypatch.setattr(Flow, "solve", lambda *_, **__: pytest.fail("something was generated"))
    with pytest.raises(DataNotFoundError, match="no tokenizer in"):
        scored(tmp_path, captioned(12))


def test_weights_that_no_digest_vouches_for_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "clip")
    shutil.copy(folder / "model.safetensors", copy / "other.safetensors")
    with pytest.raises(InputError, match="as the only"):
        scored(copy, captioned(12))
