"""Captions and pictures that do not fit, by the command line: one clear line each, nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import SHORT, Answer, Call, call_app
from tests.data_folders import write_captions, write_coco, write_metadata, write_texts
from tests.diffusers_models import save_kl
from tests.pictures_on_disk import damage, paint, truncate
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
    answer = call_app("train", "--data", found.data(pictures), *options, *PARTS)
    assert answer.code == 0, answer.err
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


# -- a folder of pictures and texts, or of COCO, that is wrong in one way ------------------------


def picture_alone(folder: Path) -> Path:
    write_texts(folder, CAPTIONS)
    paint(folder / "alone.png")
    return folder


def caption_alone(folder: Path) -> Path:
    write_texts(folder, CAPTIONS)
    (folder / "alone.txt").write_text("a cat that nobody drew")
    return folder


def line_alone(folder: Path) -> Path:
    write_metadata(folder, CAPTIONS)
    (folder / "002.png").unlink()
    return folder


def picture_of_no_line(folder: Path) -> Path:
    paint(write_metadata(folder, CAPTIONS) / "alone.png")
    return folder


def picture_that_is_none(folder: Path) -> Path:
    damage(write_texts(folder, CAPTIONS) / "001.png")
    return folder


def picture_cut_short(folder: Path) -> Path:
    """Its header can be read, so that it is found out when it is decoded."""
    truncate(write_texts(folder, CAPTIONS) / "001.png")
    return folder


def caption_of_bytes(folder: Path) -> Path:
    (write_texts(folder, CAPTIONS) / "001.txt").write_bytes(b"\xff\xfe\x00")
    return folder


FOLDERS = [
    (picture_alone, ["1 picture (alone.png) has no caption", "add it, or remove the picture"]),
    (caption_alone, ["1 text (alone.txt) has no picture", "add it, or remove the text"]),
    (line_alone, ["line 3: caption without its picture", "002.png", "add it, or remove the line"]),
    (picture_of_no_line, ["1 picture (alone.png) has no caption: metadata.jsonl has no line"]),
    (picture_that_is_none, ["001.png: cannot be decoded as a picture", "repair or remove it"]),
    (picture_cut_short, ["001.png: cannot be decoded as a picture", "repair or remove it"]),
    (caption_of_bytes, ["001.txt: expected text in UTF-8", "save it anew"]),
]


@pytest.mark.parametrize("latent", [False, True], ids=["pixels", "latents"])
@pytest.mark.parametrize(("write", "words"), FOLDERS, ids=[write.__name__ for write, _ in FOLDERS])
def test_folders(
    call: Call,
    models: Models,
    tmp_path: Path,
    write: Callable[[Path], Path],
    words: list[str],
    latent: bool,
) -> None:
    data = models.data(write(tmp_path / "data"))
    before = contents(tmp_path)
    encoded = [*models.latent, "--cache", tmp_path / "cache"] if latent else []
    one_line(call("train", "--data", data, *encoded, "--out", tmp_path / "run", *PARTS), *words)
    assert contents(tmp_path) == before


def coco_picture_alone(root: Path) -> None:
    stored = json.loads((root / "annotations" / "captions_train2017.json").read_text())
    stored["annotations"] = [entry for entry in stored["annotations"] if entry["image_id"] != 93]
    write_captions(root, stored)


def coco_caption_alone(root: Path) -> None:
    stored = json.loads((root / "annotations" / "captions_train2017.json").read_text())
    stored["annotations"].append({"image_id": 5, "id": 1, "caption": "a cat"})
    write_captions(root, stored)


def coco_picture_gone(root: Path) -> None:
    (root / "train2017" / "000000000093.jpg").unlink()


def coco_picture_cut_short(root: Path) -> None:
    truncate(root / "train2017" / "000000000093.jpg")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (coco_picture_alone, ["1 picture (000000000093.jpg) has no caption", "download the file again"]),
        (coco_caption_alone, ["caption without its picture, there is none of number 5"]),
        (coco_picture_gone, ["1 picture (000000000093.jpg) has no file", "unpack the pictures again"]),
        (coco_picture_cut_short, ["000000000093.jpg: cannot be decoded", "repair or remove it"]),
    ],
)
def test_coco(
    call: Call, models: Models, tmp_path: Path, spoil: Callable[[Path], None], words: list[str]
) -> None:
    spoil(write_coco(tmp_path / "coco"))
    before = contents(tmp_path)
    data = f"coco:path={tmp_path / 'coco'},size=8,encoder=clip:path={models.clip}"
    one_line(call("train", "--data", data, *models.latent, "--out", tmp_path / "run", *PARTS), *words)
    assert contents(tmp_path) == before


def test_a_mended_picture_is_encoded_into_the_same_cache(call: Call, models: Models, tmp_path: Path) -> None:
    data = models.data(picture_cut_short(tmp_path / "data"))
    options = [*models.latent, "--cache", tmp_path / "cache", "--out", tmp_path / "run", *PARTS]
    one_line(call("train", "--data", data, *options), "cannot be decoded")
    paint(tmp_path / "data" / "001.png")
    answer = call("train", "--data", data, *options)
    assert answer.code == 0, answer.err


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


def test_a_clip_of_another_width_gives_no_samples(call: Call, models: Models, tmp_path: Path) -> None:
    encoder = ["--encoder", f"clip:path={models.clip}"]
    answer = call("sample", models.run, "--text", "a cat", *encoder, "--out", tmp_path / "s.png")
    one_line(answer, "encoder 'clip' gives 24 numbers", "embeddings [B, 32]", "--encoder")
    assert contents(tmp_path) == {}


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
    call: Call, models: Models, tmp_path: Path, caption: str, warning: str | None
) -> None:
    data = models.data(write_texts(tmp_path / "data", [caption, *CAPTIONS[1:]]))
    answer = call("train", "--data", data, "--out", tmp_path / "run", *PARTS)
    assert answer.code == 0, answer.err
    lines = [line for line in answer.err.splitlines() if "warning" in line]
    assert len(lines) == (warning is not None), answer.err
    assert warning is None or warning in lines[0]
    options = ["--text", caption, "--n", "1", "--nfe", "1", "--out", tmp_path / "s.png"]
    answer = call("sample", tmp_path / "run", *options)
    assert answer.code == 0, answer.err
    assert len(answer.err.splitlines()) == (warning is not None)
