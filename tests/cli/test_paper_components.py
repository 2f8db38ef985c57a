"""The paper's own components at toy size, by the commands that a user of the real ones would type.

A CLIP and an AutoencoderKL, random and of a few numbers, in folders as their libraries save them; COCO's
files, small and in their own format. Samples are compared with what diffusers and transformers make of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowprior.flow import Flow
from flowprior.storage.digests import file_sha256
from tests.cli.conftest import SHORT, drawn, succeed
from tests.data_folders import write_coco
from tests.diffusers_models import save_kl
from tests.text_models import save_clip, transformers

PICTURES, SIDE = 6, 16
SCALE, SHIFT = 0.5, 0.25
SCORES = ("fid-clip", "kid-clip", "clip-score")
PRIOR = "learned-mean:sigma=0.7,epochs=3,hidden=16,depth=1,holdout=0"
NETWORK = ["--model", "unet:widths=8-16,patch=1", "--steps", "3", *SHORT, "--set", "training.sample_every=0"]


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of everything: the run of the paper's prior and coupling, trained on COCO in latents."""
    root = tmp_path_factory.mktemp("paper")
    save_clip(root / "clip", whole=True)
    save_kl(root / "vae", scaling_factor=SCALE, shift_factor=SHIFT)
    data = f"coco:path={write_coco(root / 'coco', PICTURES)},size={SIDE},encoder=clip:path={root / 'clip'}"
    latent = ["--latent", f"autoencoder-kl:path={root / 'vae'}", "--cache", root / "cache"]
    parts = ["--data", data, *latent, "--prior", PRIOR, "--coupling", "condot", *NETWORK]
    answer = succeed("train", *parts, "--out", root / "run")
    assert f"encoding {PICTURES} latents [3, 8, 8] of coco" in " ".join(answer.err.split())
    return root


@torch.no_grad()
def test_a_caption_becomes_pictures_that_the_libraries_make_alike(paper: Path, tmp_path: Path) -> None:
    import diffusers

    caption = "a cat on a mat"
    options = ["--text", caption, "--n", "3", "--nfe", "2", "--guidance", "2", "--seed", "4"]
    found = drawn(paper / "run", tmp_path / "cat.npz", *options)
    clip = transformers().CLIPModel.from_pretrained(paper / "clip", local_files_only=True).eval()
    tokens = transformers().AutoTokenizer.from_pretrained(paper / "clip")([caption], return_tensors="pt")
    embedding = clip.text_projection(clip.text_model(**tokens).pooler_output)
    cond = torch.from_numpy(found["cond"])
    torch.testing.assert_close(cond, embedding.expand(3, -1))
    generator = torch.Generator().manual_seed(4)
    latents = Flow.load(paper / "run").sample(cond, nfe=2, guidance=2, decode=False, generator=generator)
    vae: Any = diffusers.AutoencoderKL.from_pretrained(paper / "vae", local_files_only=True)
    expected = vae.decode(latents / SCALE + SHIFT).sample
    torch.testing.assert_close(torch.from_numpy(found["x"]), expected, rtol=1e-4, atol=1e-4)


def test_an_evaluation_counts_samples_and_names_their_reference(paper: Path) -> None:
    features = f"clip:path={paper / 'clip'},sha256='{file_sha256(paper / 'clip' / 'model.safetensors')}'"
    metrics = ["--metrics", "fid,kid,image-text", "--features", features]
    counts = ["--nfe", "0,2", "--samples", str(PICTURES), "--guidance", "1,2"]
    rows = json.loads(succeed("evaluate", paper / "run", *counts, *metrics, "--json").out)["rows"]
    scores = [row for row in rows if row["metric"] in SCORES and row["flow"] != "real data"]
    found = {(row["metric"], row["nfe"], row["guidance"]) for row in scores}
    assert found == {(name, nfe, guidance) for name in SCORES for nfe in (0, 2) for guidance in (1, 2)}
    assert {row["samples"] for row in scores} == {PICTURES}
    assert {row["reference"] for row in scores} == {f"{PICTURES} test examples of coco"}
    assert {row["features"].split()[0] for row in scores} == {"clip"}
    assert all(np.isfinite(row["value"]) for row in scores)
