"""The paper's own components at toy size, by the commands that a user of the real ones would type.

A CLIP and an AutoencoderKL, random and of a few numbers, in folders as their libraries save them; COCO's
files, small and in their own format. What the commands leave is compared
with what diffusers, transformers and Pillow make of the same files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from flowprior.flow import Flow
from flowprior.priors import Prior
from flowprior.storage.digests import file_sha256
from flowprior.training.batches import Randomness
from tests.cli.conftest import SHORT, Answer, call_app, succeed
from tests.data_folders import write_coco
from tests.diffusers_models import save_kl
from tests.text_models import save_clip, transformers

PICTURES, SIDE = 6, 16
SCALE, SHIFT = 0.5, 0.25
SCORES = ("fid-clip", "kid-clip", "clip-score")
PRIOR = "learned-mean:sigma=0.7,epochs=3,hidden=16,depth=1,holdout=0"
NETWORK = ["--model", "unet:widths=8-16,patch=1", "--steps", "3", *SHORT]
NETWORK += ["--set", "training.sample_every=0"]


@dataclass(frozen=True)
class Paper:
    """Folders of everything, and the run that was trained on COCO."""

    coco: Path
    clip: Path
    vae: Path
    cache: Path
    run: Path
    said: str

    @property
    def data(self) -> str:
        """As a user names them."""
        return f"coco:path={self.coco},size={SIDE},encoder=clip:path={self.clip}"

    @property
    def features(self) -> str:
        """CLIP's image tower, by its folder and digest."""
        return f"clip:path={self.clip},sha256='{file_sha256(self.clip / 'model.safetensors')}'"

    def train(self, run: Path, *options: str | Path, seed: int = 0) -> Answer:
        """The paper's prior and pairing in the latents of the autoencoder."""
        latent = ["--latent", f"autoencoder-kl:path={self.vae}", "--cache", self.cache]
        parts = ["--prior", PRIOR, "--coupling", "condot", "--seed", str(seed)]
        return call_app("train", "--data", self.data, *latent, *parts, *NETWORK, "--out", run, *options)


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Paper:
    root = tmp_path_factory.mktemp("paper")
    save_clip(root / "clip", whole=True)
    save_kl(root / "vae", scaling_factor=SCALE, shift_factor=SHIFT)
    folders = write_coco(root / "coco", PICTURES), root / "clip", root / "vae", root / "cache", root / "run"
    answer = Paper(*folders, "").train(root / "run")
    assert answer.code == 0, answer.err
    return Paper(*folders, " ".join(answer.err.split()))


# -- by other roads: Pillow, diffusers, transformers ---------------------------------------------


def numbers_of(paper: Paper, part: str) -> list[int]:
    stored = json.loads((paper.coco / "annotations" / f"captions_{part}2017.json").read_text())
    return sorted(image["id"] for image in stored["images"])


def captions_of(paper: Paper, part: str) -> dict[int, list[str]]:
    """The five captions of each picture, by its number."""
    stored = json.loads((paper.coco / "annotations" / f"captions_{part}2017.json").read_text())
    found: dict[int, list[str]] = {number: [] for number in numbers_of(paper, part)}
    for entry in stored["annotations"]:
        found[entry["image_id"]].append(entry["caption"].strip())
    return found


def pictures_of(paper: Paper, part: str) -> Tensor:
    """``[N, 3, side, side]`` in [-1, 1], by Pillow and NumPy."""
    found = []
    for number in numbers_of(paper, part):
        with Image.open(paper.coco / f"{part}2017" / f"{number:012}.jpg") as picture:
            fitted = ImageOps.fit(picture.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS)
            found.append(np.asarray(fitted, dtype=np.float32) / 127.5 - 1)
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


@torch.no_grad()
def latents_of(paper: Paper, pictures: Tensor) -> Tensor:
    """What diffusers' own model makes of pictures."""
    import diffusers

    model: Any = diffusers.AutoencoderKL.from_pretrained(paper.vae, local_files_only=True)
    return (model.encode(pictures).latent_dist.mean - SHIFT) * SCALE


@torch.no_grad()
def decoded(paper: Paper, latents: Tensor) -> Tensor:
    import diffusers

    model: Any = diffusers.AutoencoderKL.from_pretrained(paper.vae, local_files_only=True)
    return model.decode(latents / SCALE + SHIFT).sample


@torch.no_grad()
def embedded(paper: Paper, captions: list[str]) -> Tensor:
    """Projected embeddings ``[N, 24]`` of captions, one by one, by transformers' own CLIP."""
    model, tokenizer = own_clip(paper), transformers().AutoTokenizer.from_pretrained(paper.clip)
    rows = [tokenizer([caption], return_tensors="pt") for caption in captions]
    return torch.cat([model.text_projection(model.text_model(**row).pooler_output) for row in rows])


def own_clip(paper: Paper) -> Any:
    return transformers().CLIPModel.from_pretrained(paper.clip, local_files_only=True).eval()


def cached_latents(paper: Paper) -> Tensor:
    return torch.from_numpy(np.load(paper.cache / "latents.npy"))


# -- encode and train ----------------------------------------------------------------------------


def test_the_cache_holds_what_diffusers_makes_of_the_pictures(paper: Paper) -> None:
    assert f"encoding {PICTURES} latents [3, 8, 8] of coco, 0.0 MB into" in paper.said
    expected = latents_of(paper, pictures_of(paper, "train"))
    torch.testing.assert_close(cached_latents(paper), expected, rtol=1e-4, atol=1e-5)
    assert not (paper.run / "latents").exists(), "the cache was asked for elsewhere"


def test_the_priors_mean_is_that_of_a_fit_to_the_latents_of_every_caption(paper: Paper) -> None:
    captions = captions_of(paper, "train")
    flat = [text for texts in captions.values() for text in texts]
    cond = embedded(paper, flat)
    # As they were encoded in batches: a millionth more or less in them becomes a thousandth in the mapper.
    latents = cached_latents(paper).repeat_interleave(5, 0)
    assert len(flat) == len(latents) == 5 * PICTURES
    name, _, options = PRIOR.partition(":")
    values = dict(option.split("=") for option in options.split(","))
    kinds: dict[str, Callable[[str], float]] = {"sigma": float, "holdout": float}
    prior = Prior.create(name, **{key: kinds.get(key, int)(value) for key, value in values.items()})
    prior.fit((latents, cond), generator=Randomness(0, torch.device("cpu")).generator("prior fit"))
    flow = Flow.load(paper.run)
    torch.testing.assert_close(flow.prior.mean(cond), prior.mean(cond), rtol=1e-4, atol=1e-5)
    apart = flow.prior.mean(cond).flatten(1).std(0).mean()
    assert apart > 1e-4, "captions have means of their own"


def test_the_flow_says_what_it_was_made_of(paper: Paper) -> None:
    stored = json.loads((paper.run / "flow" / "flow.json").read_text())
    assert stored["encoder"]["spec"] == f"autoencoder-kl:path={paper.vae}"
    text = stored["metadata"]["text_encoder"]
    assert text["spec"] == f"clip:path={paper.clip}"
    assert text["identity"].endswith(file_sha256(paper.clip / "model.safetensors"))
    assert stored["metadata"]["config"]["training"]["condition_dropout"] == 0.1
    assert stored["event_shape"] == [3, 8, 8]


# -- sample --------------------------------------------------------------------------------------


def test_a_caption_becomes_pictures_that_diffusers_decodes_alike(paper: Paper, tmp_path: Path) -> None:
    caption = "a cat on a mat"
    options = ["--text", caption, "--n", "3", "--nfe", "2", "--guidance", "2", "--seed", "4"]
    succeed("sample", paper.run, *options, "--out", tmp_path / "cat.npz")
    found = np.load(tmp_path / "cat.npz")
    assert found["x"].shape == (3, 3, SIDE, SIDE)
    torch.testing.assert_close(torch.from_numpy(found["cond"]), embedded(paper, [caption] * 3))
    latents = Flow.load(paper.run).sample(
        torch.from_numpy(found["cond"]),
        nfe=2,
        guidance=2,
        decode=False,
        generator=torch.Generator().manual_seed(4),
    )
    expected = decoded(paper, latents)
    torch.testing.assert_close(torch.from_numpy(found["x"]), expected, rtol=1e-4, atol=1e-4)


# -- evaluate ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(paper: Paper) -> list[dict[str, Any]]:
    metrics = ["--metrics", "fid,kid,image-text", "--features", paper.features]
    counts = ["--nfe", "0,2", "--samples", str(PICTURES), "--guidance", "1,2"]
    answer = succeed("evaluate", paper.run, *counts, *metrics, "--json")
    return json.loads(answer.out)["rows"]


def test_evaluate_counts_samples_and_names_what_they_are_compared_with(rows: list[dict[str, Any]]) -> None:
    drawn = [row for row in rows if row["metric"] in SCORES and row["flow"] != "real data"]
    found = {(row["metric"], row["nfe"], row["guidance"]) for row in drawn}
    expected = {(name, 2, guidance) for name in SCORES for guidance in (1, 2)}
    assert found == expected | {(name, 0, guidance) for name in SCORES for guidance in (1, 2)}
    assert {row["samples"] for row in drawn} == {PICTURES}
    assert {row["reference"] for row in drawn} == {f"{PICTURES} test examples of coco"}
    assert {row["features"].split()[0] for row in drawn} == {"clip"}
    assert all(np.isfinite(row["value"]) for row in drawn)
