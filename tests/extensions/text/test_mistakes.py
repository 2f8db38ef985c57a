"""Captions and pictures that do not fit, by the command line: one clear line each, nothing half-written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import SHORT, Answer, Call, succeed
from tests.data_folders import write_texts
from tests.diffusers_models import save_kl
from tests.pictures_on_disk import paint, truncate
from tests.text_models import BERT_LIMIT, save_bert, save_clip

CAPTIONS = [f"a {colour} {animal}" for colour in ("red", "blue") for animal in ("cat", "dog")]
PARTS = ["--prior", "learned-mean:epochs=2,hidden=8,depth=1,holdout=0", "--coupling", "condot"]
PARTS += ["--model", "mlp:width=8,depth=1", "--steps", "2", *SHORT, "--set", "training.sample_every=0"]


@dataclass(frozen=True)
class Models:
    """Folders of models and of a run that was trained with two of them."""

    bert: Path
    clip: Path
    vae: Path
    other_vae: Path
    pictures: Path
    cache: Path
    run: Path

    def data(self, folder: Path, encoder: str | None = None) -> str:
        return f"image-text:path={folder},size=8,test_fraction=0,encoder={encoder or self.text}"

    @property
    def text(self) -> str:
        return f"hugging-face:path={self.bert}"

    @property
    def latent(self) -> list[str]:
        return ["--latent", f"autoencoder-kl:path={self.vae}"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    root = tmp_path_factory.mktemp("models")
    save_kl(root / "vae")
    save_kl(root / "other", seed=1)
    pictures = write_texts(root / "pictures", CAPTIONS)
    found = Models(
        save_bert(root / "bert"),
        save_clip(root / "clip"),
        root / "vae",
        root / "other",
        pictures,
        root / "cache",
        root / "run",
    )
    options = [*found.latent, "--cache", found.cache, "--out", found.run]
    succeed("train", "--data", found.data(pictures), *options, *PARTS)
    return found


def contents(root: Path) -> dict[Path, bytes]:
    """Every file below ``root``, and empty folders too."""
    return {path: path.read_bytes() if path.is_file() else b"" for path in root.rglob("*")}


def one_line(answer: Answer, *words: str) -> None:
    assert (answer.code, answer.out) == (2, ""), answer
    (line,) = [line for line in answer.err.splitlines() if not line.startswith("encoding ")]
    assert line.startswith("flowprior: error: ")
    assert "Traceback" not in answer.err
    for word in words:
        assert word in line


def test_a_mended_picture_is_encoded_into_the_same_cache(call: Call, models: Models, tmp_path: Path) -> None:
    data = models.data(write_texts(tmp_path / "data", CAPTIONS))
    truncate(tmp_path / "data" / "001.png")
    options = [*models.latent, "--cache", tmp_path / "cache", "--out", tmp_path / "run", *PARTS]
    before = contents(tmp_path)
    one_line(call("train", "--data", data, *options), "cannot be decoded")
    assert contents(tmp_path) == before
    paint(tmp_path / "data" / "001.png")
    succeed("train", "--data", data, *options)


# -- a cache of others, and folders that are no model --------------------------------------------


def test_a_cache_of_other_data(call: Call, models: Models, tmp_path: Path) -> None:
    data = models.data(write_texts(tmp_path / "data", [*CAPTIONS, "a sleepy cat"]))
    before = contents(tmp_path), contents(models.cache)
    options = [*models.latent, "--cache", models.cache, "--out", tmp_path / "run", *PARTS]
    words = ["holds latents of other data", "choose another cache, or delete"]
    one_line(call("train", "--data", data, *options), *words)
    assert (contents(tmp_path), contents(models.cache)) == before


def test_a_cache_of_other_weights(call: Call, models: Models, tmp_path: Path) -> None:
    before = contents(tmp_path), contents(models.cache)
    latent = ["--latent", f"autoencoder-kl:path={models.other_vae}", "--cache", models.cache]
    answer = call("train", "--data", models.data(models.pictures), *latent, "--out", tmp_path / "run", *PARTS)
    one_line(answer, "holds latents of other weights", "expected", "choose another cache, or delete")
    assert (contents(tmp_path), contents(models.cache)) == before


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("hugging-face", ["config.json", "pass the folder of a transformers model"]),
        ("clip", ["config.json", "pass the folder of a transformers model"]),
    ],
)
@pytest.mark.parametrize("command", ["train", "sample"])
def test_a_folder_that_is_no_text_model(
    call: Call, models: Models, tmp_path: Path, kind: str, words: list[str], command: str
) -> None:
    encoder = f"{kind}:path={models.pictures}"
    before = contents(tmp_path)
    if command == "train":
        options = ["--data", models.data(models.pictures, encoder), "--out", tmp_path / "run", *PARTS]
    else:
        options = [models.run, "--text", "a cat", "--encoder", encoder, "--out", tmp_path / "s.png"]
    one_line(call(command, *options), f"encoder '{kind}'", *words)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("pictures", ["config.json", "pass path= the folder of a saved model"]),
        ("bert", ["expected a model of class AutoencoderKL", "got None"]),
    ],
)
def test_a_folder_that_is_no_autoencoder(
    call: Call, models: Models, tmp_path: Path, folder: str, words: list[str]
) -> None:
    latent = ["--latent", f"autoencoder-kl:path={getattr(models, folder)}"]
    before = contents(tmp_path)
    answer = call("train", "--data", models.data(models.pictures), *latent, "--out", tmp_path / "run", *PARTS)
    one_line(answer, "encoder 'autoencoder-kl'", *words)
    assert contents(tmp_path) == before


# -- a text encoder that does not fit the flow ---------------------------------------------------


def test_a_clip_of_another_width_gives_no_evaluation(call: Call, models: Models, tmp_path: Path) -> None:
    data = models.data(models.pictures, f"clip:path={models.clip}")
    before = contents(models.run)
    answer = call("evaluate", models.run, "--data", data, "--samples", "4", "--out", tmp_path / "r.json")
    one_line(answer, "embeddings [B, 32]", "embeddings [B, 24]")
    assert (contents(models.run), contents(tmp_path)) == (before, {})


def test_an_encoder_of_the_same_width_and_other_weights_gives_no_evaluation(
    call: Call, models: Models, tmp_path: Path
) -> None:
    data = models.data(models.pictures, f"hugging-face:path={save_bert(tmp_path / 'other', seed=1)}")
    before = contents(models.run)
    one_line(call("evaluate", models.run, "--data", data, "--samples", "4"), "trained on embeddings of")
    assert contents(models.run) == before


# -- captions that are strange and right ---------------------------------------------------------

STRANGE = [
    ("", None),
    (("a sleepy red cat " * 600)[:10_000], f"more than the {BERT_LIMIT} tokens that the model takes"),
    ("眠い犬", "knows no word of 1 of 4 texts"),
    ("a 猫", None),
]


@pytest.mark.parametrize(("caption", "warning"), STRANGE, ids=["empty", "long", "unknown", "known"])
def test_captions_that_are_strange_are_trained_on_with_one_line_at_most(
    models: Models, tmp_path: Path, caption: str, warning: str | None
) -> None:
    data = models.data(write_texts(tmp_path / "data", [caption, *CAPTIONS[1:]]))
    answer = succeed("train", "--data", data, "--out", tmp_path / "run", *PARTS)
    lines = [line for line in answer.err.splitlines() if "warning" in line]
    assert len(lines) == (warning is not None), answer.err
    assert warning is None or warning in lines[0]
    options = ["--text", caption, "--n", "1", "--nfe", "1", "--out", tmp_path / "s.png"]
    answer = succeed("sample", tmp_path / "run", *options)
    assert len(answer.err.splitlines()) == (warning is not None)
