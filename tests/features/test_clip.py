"""CLIP's image tower from a folder: transformers' own embeddings, preprocessing, and what is refused.

The real weights cannot be had here; a small random CLIP from a local configuration stands in for them.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from flowprior.errors import DataNotFoundError, InputError, OptionError
from flowprior.features.base import as_extractor
from flowprior.features.pretrained import CLIP_MEAN, CLIP_STD, ClipFeatures
from flowprior.storage.digests import file_sha256

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def model() -> Any:
    transformers = pytest.importorskip("transformers", reason="the test extra is not installed")
    vision = {**SIZES, "image_size": 32, "patch_size": 8}
    text = {**SIZES, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=16)
        return transformers.CLIPModel(config).eval()


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip")
    model.save_pretrained(path)
    return path


def spec(folder: Path) -> str:
    return f"clip:path={folder},sha256='{file_sha256(folder / 'model.safetensors')}'"


def test_embeddings_are_those_of_the_whole_model(
    model: Any, folder: Path, generator: torch.Generator
) -> None:
    extractor = as_extractor(spec(folder))
    assert extractor.features_name == "clip"
    x = torch.rand(3, 3, 32, 32, generator=generator) * 2 - 1
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    with torch.no_grad():
        expected = model.get_image_features(pixel_values=((x + 1) / 2 - shift) / scale)
    expected = expected if isinstance(expected, torch.Tensor) else expected.pooler_output
    torch.testing.assert_close(extractor.features(x), expected, rtol=1e-4, atol=1e-5)


def test_pictures_of_other_sizes_are_scaled_and_cropped(folder: Path) -> None:
    extractor = as_extractor(spec(folder))
    assert isinstance(extractor, ClipFeatures)
    for shape in ((1, 28, 28), (3, 40, 64), (3, 100, 32)):
        assert extractor.prepare(torch.zeros(2, *shape)).shape == (2, 3, 32, 32)
    wide = torch.ones(1, 3, 32, 96)
    wide[..., :32], wide[..., 64:] = -1, -1  # only the middle is white
    assert extractor.prepare(wide).amin() > 0


def test_the_folders_own_normalisation_is_taken(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "clip"
    shutil.copytree(folder, copy)
    (copy / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    )
    extractor = as_extractor(spec(copy))
    assert isinstance(extractor, ClipFeatures)
    x = torch.full((1, 3, 32, 32), 0.5)
    torch.testing.assert_close(extractor.prepare(x), x)


def test_files_are_checked(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    save_file({"weight": torch.zeros(2)}, bare / "model.safetensors")
    other = shutil.copytree(bare, tmp_path / "other")
    shutil.copy(folder / "config.json", other)
    for given, error, words in (
        (f"clip:path={tmp_path},sha256='0123456789'", DataNotFoundError, "no file"),
        (f"clip:path={folder},sha256='0123456789'", InputError, "expected 0123456789"),
        (spec(bare), DataNotFoundError, r"no .*config\.json"),
        (spec(other), InputError, "holds no CLIP model"),
    ):
        with pytest.raises(error, match=words):
            as_extractor(given)


def test_without_transformers_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(OptionError, match=r"pip install transformers"):
        as_extractor(spec(folder))
