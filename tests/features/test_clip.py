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
from tests.text_models import clip_spec, save_clip, transformers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"), whole=True)


def test_embeddings_are_those_of_the_whole_model(folder: Path, generator: torch.Generator) -> None:
    extractor = as_extractor(clip_spec(folder))
    assert extractor.features_name == "clip"
    model: Any = transformers().CLIPModel.from_pretrained(folder).eval()
    x = torch.rand(3, 3, 16, 16, generator=generator) * 2 - 1
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    with torch.no_grad():
        expected = model.get_image_features(pixel_values=((x + 1) / 2 - shift) / scale)
    expected = expected if isinstance(expected, torch.Tensor) else expected.pooler_output
    torch.testing.assert_close(extractor.features(x), expected, rtol=1e-4, atol=1e-5)


def test_pictures_of_other_sizes_are_scaled_and_cropped(folder: Path) -> None:
    extractor = as_extractor(clip_spec(folder))
    assert isinstance(extractor, ClipFeatures)
    for shape in ((1, 28, 28), (3, 40, 64), (3, 100, 32)):
        assert extractor.prepare(torch.zeros(2, *shape)).shape == (2, 3, 16, 16)
    wide = torch.ones(1, 3, 16, 48)
    wide[..., :16], wide[..., 32:] = -1, -1  # only the middle is white
    assert extractor.prepare(wide).amin() > 0


def test_the_folders_own_normalisation_is_taken(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "clip"
    shutil.copytree(folder, copy)
    (copy / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    )
    extractor = as_extractor(clip_spec(copy))
    assert isinstance(extractor, ClipFeatures)
    x = torch.full((1, 3, 16, 16), 0.5)
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
        (clip_spec(bare), DataNotFoundError, r"no .*config\.json"),
        (clip_spec(other), InputError, "holds no CLIP model"),
    ):
        with pytest.raises(error, match=words):
            as_extractor(given)


def test_without_transformers_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(OptionError, match=r"pip install transformers"):
        as_extractor(clip_spec(folder))
