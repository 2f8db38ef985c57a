"""AutoencoderKL and VQModel, built from tiny local configurations and saved as folders."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.errors import DataNotFoundError, InputError, OptionError
from flowprior.models import Encoder, LatentEncoder
from tests.diffusers_models import SMALL, save_kl

diffusers = pytest.importorskip("diffusers")

X = torch.rand(2, 3, 8, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1


def saved_vq(folder: Path, **options: Any) -> Any:
    torch.manual_seed(0)
    model = diffusers.VQModel(**SMALL, num_vq_embeddings=7, **options).eval()
    model.save_pretrained(folder)
    return model


def load(name: str, folder: Path) -> LatentEncoder:
    return Encoder.create(name, path=str(folder))


@pytest.mark.parametrize(
    ("options", "scale", "shift"),
    [({}, 0.18215, 0.0), ({"scaling_factor": 0.5, "shift_factor": 0.25}, 0.5, 0.25)],
)
def test_kl_latents_are_the_mean_less_the_shift_times_the_scale(
    tmp_path: Path, options: dict[str, float], scale: float, shift: float
) -> None:
    model = save_kl(tmp_path, **options)
    encoder = load("autoencoder-kl", tmp_path)
    with torch.no_grad():
        mean = model.encode(X).latent_dist.mean
        torch.testing.assert_close(encoder.encode(X), (mean - shift) * scale)
        torch.testing.assert_close(encoder.decode(encoder.encode(X)), model.decode(mean).sample)
    assert encoder.latent_shape(X.shape[1:]) == mean.shape[1:] == (3, 4, 3)
    assert encoder.latent_shape(torch.Size([3, 7, 5])) == (3, 4, 3)


def test_vq_latents_are_those_before_quantisation_and_decoding_quantises(tmp_path: Path) -> None:
    model = saved_vq(tmp_path, vq_embed_dim=2, scaling_factor=2.0)
    encoder = load("vq-model", tmp_path)
    z = encoder.encode(X)
    with torch.no_grad():
        torch.testing.assert_close(z, 2 * model.encode(X).latents)
        torch.testing.assert_close(encoder.decode(z), model.decode(z / 2).sample)
        assert not torch.allclose(encoder.decode(z), model.decode(z / 2, force_not_quantize=True).sample)
    assert z.shape[1:] == encoder.latent_shape(X.shape[1:]) == (2, 4, 3)
    # A move within the cell of a code word does not change the picture.
    torch.testing.assert_close(encoder.decode(z), encoder.decode(z + 1e-6))


def test_a_pipelines_folder_will_do(tmp_path: Path) -> None:
    save_kl(tmp_path / "vae")
    assert load("autoencoder-kl", tmp_path).identity() == load("autoencoder-kl", tmp_path / "vae").identity()


def test_the_identity_tells_weights_and_factors_apart(tmp_path: Path) -> None:
    save_kl(tmp_path / "a")
    save_kl(tmp_path / "b", seed=1)
    save_kl(tmp_path / "c", shift_factor=0.5)
    found = {load("autoencoder-kl", tmp_path / name).identity() for name in "abc"}
    assert len(found) == 3
    assert all(identity.startswith("autoencoder-kl sha256 ") for identity in found)


def test_without_a_path_an_encoder_is_listed_and_refused_at_its_first_use() -> None:
    for name in ("autoencoder-kl", "vq-model"):
        encoder = Encoder.create(name)
        with pytest.raises(OptionError, match="path is missing; write"):
            encoder.encode(X)
        with pytest.raises(OptionError, match="path is missing; write"):
            encoder.identity()


def test_folders_that_hold_no_such_model_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"no .*config\.json"):
        load("autoencoder-kl", tmp_path / "nothing")
    saved_vq(tmp_path / "vq")
    with pytest.raises(InputError, match=r"expected a model of class AutoencoderKL in .*, got VQModel"):
        load("autoencoder-kl", tmp_path / "vq")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "config.json").write_text("[1]")
    with pytest.raises(InputError, match="cannot be read"):
        load("vq-model", tmp_path / "list")


def test_damaged_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    save_kl(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    config = tmp_path / "config.json"
    wider = json.loads(config.read_text()) | {"layers_per_block": 2}
    whole = config.read_text()
    config.write_text(json.dumps(wider))
    with pytest.raises(InputError, match=r"does not fit config\.json") as caught:
        load("autoencoder-kl", tmp_path)
    assert "\n" not in str(caught.value)
    config.write_text(whole)
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read") as caught:
        load("autoencoder-kl", tmp_path)
    assert "\n" not in str(caught.value)
    weights.unlink()
    with pytest.raises(DataNotFoundError, match=r"diffusion_pytorch_model\.safetensors"):
        load("autoencoder-kl", tmp_path)


def test_without_the_library_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_kl(tmp_path)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(OptionError, match="pip install diffusers"):
        load("autoencoder-kl", tmp_path)
