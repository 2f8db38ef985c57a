"""Encoding once: the cache equals memory, survives a stop, and serves no other data or weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from flowprior.data import TensorData
from flowprior.data.base import Data, data_digest
from flowprior.data.folder import FolderData
from flowprior.errors import OptionError
from flowprior.extensions.latents import cache
from flowprior.extensions.latents import data as module
from flowprior.extensions.latents.data import EncodedImages
from flowprior.extensions.latents.vae import VaeEncoder
from flowprior.storage.lock import NAME as LOCK
from flowprior.storage.lock import FolderLock
from tests.extensions.conftest import refused
from tests.extensions.latents.pictures import pictures, small_vae
from tests.pictures_on_disk import paint

BLOCK = 7


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 7 pictures: 40 make five whole ones and a rest."""
    monkeypatch.setattr(module, "MOST_AT_ONCE", BLOCK)


class Stopping(VaeEncoder):
    """Raises after so many blocks."""

    left = 0

    def _encode(self, x: Tensor) -> Tensor:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super()._encode(x)


def stopping(vae: VaeEncoder, after: int) -> Stopping:
    found = Stopping(vae.network, vae.shift, vae.scale)
    found.left = after
    return found


def everything(data: Data) -> Tensor:
    return torch.cat([x for x, _ in data.batches(9)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- what it is -------------------------------------------------------------------------------


def test_events_are_latents_and_everything_else_is_the_pictures(vae: VaeEncoder) -> None:
    data = vae.encoded(pictures())
    assert (data.name, data.condition, len(data)) == ("pictures", pictures().condition, 40)
    assert (data.event_shape, data.is_image) == ((2, 2, 2), False)
    x, labels = data.batch(torch.tensor([5, 3, 5]))
    torch.testing.assert_close(x, vae.encode(pictures().x[[5, 3, 5]]))
    assert labels is not None
    assert labels.tolist() == [2, 0, 2]


def test_the_cache_is_what_memory_is_bit_for_bit(vae: VaeEncoder, tmp_path: Path) -> None:
    memory, cached = EncodedImages(pictures(), vae), EncodedImages(pictures(), vae, tmp_path / "cache")
    assert torch.equal(everything(memory), everything(cached))
    assert data_digest(memory) == data_digest(cached)
    assert names(tmp_path / "cache") == ["encoded.json", "latents.npy"]
    assert isinstance(cached._latents, np.memmap)
    assert np.array_equal(np.load(tmp_path / "cache" / "latents.npy"), everything(memory).numpy())
    manifest = json.loads((tmp_path / "cache" / "encoded.json").read_text())
    assert set(manifest) == {"name", "format", "data", "encoder", "shape", "block", "file", "digest"}
    assert (manifest["format"], manifest["shape"]) == (1, [40, 2, 2, 2]), "what older versions read and wrote"
    first = cached.batch(torch.arange(3))[0].zero_()
    assert not torch.equal(cached.batch(torch.arange(3))[0], first), "a batch is a copy"


def test_it_encodes_once_whatever_the_conditions(vae: VaeEncoder, tmp_path: Path) -> None:
    encoder, told = stopping(vae, after=6), []
    everything(EncodedImages(pictures(), encoder, tmp_path).prepare(told.append))
    assert told == [f"encoding 40 latents [2, 2, 2] of pictures, 0.0 MB into {tmp_path}"]
    bare = EncodedImages(TensorData(pictures().x, name="pictures", is_image=True), encoder, tmp_path)
    assert len(everything(bare)) == len(everything(bare)) == 40
    assert bare.batch(torch.arange(2))[1] is None


# -- stops and several processes ----------------------------------------------------------------


def test_after_a_stop_everything_is_encoded_anew(vae: VaeEncoder, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        EncodedImages(pictures(), stopping(vae, 3), tmp_path).prepare()
    assert names(tmp_path) == []
    (tmp_path / ".latents.npy.1a2b3c4d.tmp").write_bytes(b"of a killed process")
    data = EncodedImages(pictures(), vae, tmp_path).prepare()
    assert torch.equal(everything(data), everything(EncodedImages(pictures(), vae)))
    assert names(tmp_path) == ["encoded.json", "latents.npy"]


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "seed", "place", "message"),
    [
        (pictures(seed=1), 0, "cache", "holds latents of other data .*choose another cache"),
        (pictures(39), 0, "cache", "holds latents of other data .*choose another cache"),
        (pictures(), 1, "cache", "holds latents of other weights .*choose another cache"),
        (pictures(), 0, "notes", r"which holds 'notes\.txt' and no encoded\.json"),
        (pictures(), 0, "notes/notes.txt", "which is a file"),
        (TensorData(torch.zeros(5, 2), name="points"), 0, "new", "expected images, 'points' has 5 events"),
        (TensorData(torch.full((9, 3, 8, 8), torch.nan), name="gone", is_image=True), 0, "new",
         "the latents of images 0 to 6 of 'gone' are not finite"),
    ],
)  # fmt: skip
def test_other_data_and_folders_of_others_are_refused_and_left_alone(
    vae: VaeEncoder, tmp_path: Path, data: TensorData, seed: int, place: str, message: str
) -> None:
    EncodedImages(pictures(), vae, tmp_path / "cache").prepare()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    encoder = vae if seed == 0 else small_vae(seed)
    with refused(message):
        EncodedImages(data, encoder, tmp_path / place).prepare()
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != LOCK}
    assert after == {path: content for path, content in before.items() if path.name != LOCK}


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("latents.npy", lambda path: path.write_bytes(path.read_bytes()[:-5])),
        ("latents.npy", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x")),
        ("latents.npy", Path.unlink),
        ("encoded.json", lambda path: path.write_bytes(path.read_bytes()[:-5])),
    ],
)
def test_a_damaged_cache_is_refused_in_one_line(vae: VaeEncoder, tmp_path: Path, file: str, damage) -> None:
    EncodedImages(pictures(), vae, tmp_path).prepare()
    damage(tmp_path / file)
    with refused(r"(truncated|damaged) .*choose another cache, or delete .* to encode anew"):
        EncodedImages(pictures(), vae, tmp_path).prepare()


# -- pictures in files ------------------------------------------------------------------------


def test_conditions_of_files_are_known_without_decoding_them(
    vae: VaeEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [paint(tmp_path / f"{number}.png", (50 * number, 0, 0)) for number in range(5)]
    data = EncodedImages(FolderData(files, torch.arange(5) % 2, class_names=["a", "b"]), vae).prepare()
    monkeypatch.setattr(FolderData, "_decode", lambda *_: pytest.fail("a picture was decoded"))
    _, labels = data.batch(torch.tensor([1, 2]))
    assert labels is not None
    assert labels.tolist() == [1, 0]


def test_a_process_waits_for_another_one_that_encodes_there(
    vae: VaeEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "PATIENCE", 0.01)
    with FolderLock(tmp_path), refused("another process", OptionError):
        EncodedImages(pictures(), vae, tmp_path).prepare()
