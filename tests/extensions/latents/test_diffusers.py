"""AutoencoderKL and VQModel, built from tiny local configurations and saved as folders."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flowprior.errors import OptionError
from flowprior.models import Encoder, LatentEncoder
from tests.diffusers_models import SMALL, save_kl
from tests.extensions.conftest import refused

diffusers = pytest.importorskip("diffusers")

X = torch.rand(2, 3, 8, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1


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
    torch.manual_seed(0)
    model = diffusers.VQModel(**SMALL, num_vq_embeddings=7, vq_embed_dim=2, scaling_factor=2.0).eval()
    model.save_pretrained(tmp_path)
    encoder = load("vq-model", tmp_path)
    z = encoder.encode(X)
    with torch.no_grad():
        torch.testing.assert_close(z, 2 * model.encode(X).latents)
        torch.testing.assert_close(encoder.decode(z), model.decode(z / 2).sample)
        assert not torch.allclose(encoder.decode(z), model.decode(z / 2, force_not_quantize=True).sample)
    assert z.shape[1:] == encoder.latent_shape(X.shape[1:]) == (2, 4, 3)
    # A move within the cell of a code word does not change the picture.
    torch.testing.assert_close(encoder.decode(z), encoder.decode(z + 1e-6))


def test_the_identity_tells_weights_and_factors_apart(tmp_path: Path) -> None:
    for name, options in {"a/vae": {}, "b": {"seed": 1}, "c": {"shift_factor": 0.5}}.items():
        save_kl(tmp_path / name, **options)
    found = {name: load("autoencoder-kl", tmp_path / name).identity() for name in ("a", "a/vae", "b", "c")}
    assert found["a"] == found["a/vae"], "a pipeline's folder will do"
    assert len(set(found.values())) == 3
    assert all(identity.startswith("autoencoder-kl sha256 ") for identity in found.values())


@pytest.mark.parametrize("name", ["autoencoder-kl", "vq-model"])
def test_without_a_path_an_encoder_is_listed_and_refused_at_its_first_use(name: str) -> None:
    encoder = Encoder.create(name)
    for use in (encoder.identity, lambda: encoder.encode(X)):
        with refused("path is missing; write", OptionError):
            use()


WEIGHTS, CONFIG = "diffusion_pytorch_model.safetensors", "config.json"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (CONFIG, lambda content: None, r"no .*config\.json"),
        (WEIGHTS, lambda content: None, r"diffusion_pytorch_model\.safetensors"),
        (CONFIG, lambda content: b"[1]", "cannot be read"),
        (WEIGHTS, lambda content: content[:100], "cannot be read"),
        (CONFIG, lambda content: content.replace(b"AutoencoderKL", b"VQModel"), "of class AutoencoderKL"),
        (CONFIG, lambda content: content.replace(b'block": 1', b'block": 2'), r"does not fit config\.json"),
    ],
)  # fmt: skip
def test_folders_that_hold_no_such_model_are_refused_in_one_line(
    tmp_path: Path, file: str, change: Callable[[bytes], bytes | None], message: str
) -> None:
    save_kl(tmp_path)
    content = change((tmp_path / file).read_bytes())
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with refused(message):
        load("autoencoder-kl", tmp_path)


def test_without_the_library_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_kl(tmp_path)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with refused("pip install diffusers", OptionError):
        load("autoencoder-kl", tmp_path)
