"""Encoding once: the cache equals memory, survives a stop, and serves no other data or weights."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from flowprior.data import TensorData
from flowprior.data.base import Data, data_digest
from flowprior.data.folder import FolderData
from flowprior.errors import CheckpointError, InputError
from flowprior.extensions.latents import data as module
from flowprior.extensions.latents.data import EncodedImages
from flowprior.extensions.latents.vae import IdentityEncoder, VaeEncoder
from tests.extensions.latents.pictures import pictures, small_vae

BLOCK = 7


@pytest.fixture(scope="module")
def vae() -> VaeEncoder:
    return small_vae()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 7 pictures: 40 make five whole ones and a rest."""
    monkeypatch.setattr(module, "MOST_AT_ONCE", BLOCK)


class Stopping(VaeEncoder):
    """Raises after so many blocks, and counts those that it encoded."""

    calls = 0
    left = 1_000

    def _encode(self, x: Tensor) -> Tensor:
        if self.left == 0:
            raise KeyboardInterrupt
        self.calls, self.left = self.calls + 1, self.left - 1
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
    assert data.event_shape == (2, 2, 2)
    assert not data.is_image
    x, labels = data.batch(torch.tensor([5, 3, 5]))
    torch.testing.assert_close(x, vae.encode(pictures().x[[5, 3, 5]]))
    assert labels is not None
    assert labels.tolist() == [2, 0, 2]


def test_the_cache_is_what_memory_is_bit_for_bit(vae: VaeEncoder, tmp_path: Path) -> None:
    memory, cached = EncodedImages(pictures(), vae), EncodedImages(pictures(), vae, tmp_path / "cache")
    assert torch.equal(everything(memory), everything(cached))
    assert data_digest(memory) == data_digest(cached)
    assert names(tmp_path / "cache") == ["encoded.json", "latents.npy"]
    manifest = json.loads((tmp_path / "cache" / "encoded.json").read_text())
    assert set(manifest) == {"name", "format", "data", "encoder", "shape", "block", "file", "digest"}
    assert (manifest["format"], manifest["shape"]) == (1, [40, 2, 2, 2]), "what older versions read and wrote"


def test_it_is_a_memory_map_that_numpy_reads(vae: VaeEncoder, tmp_path: Path) -> None:
    data = EncodedImages(pictures(), vae, tmp_path).prepare()
    assert isinstance(data._latents, np.memmap)
    assert np.array_equal(np.load(tmp_path / "latents.npy"), everything(data).numpy())


def test_a_batch_is_a_copy_that_may_be_written_to(vae: VaeEncoder, tmp_path: Path) -> None:
    data = EncodedImages(pictures(), vae, tmp_path)
    first = data.batch(torch.arange(3))[0]
    first.zero_()
    assert data.batch(torch.arange(3))[0].abs().sum() > 0


def test_it_encodes_once(vae: VaeEncoder, tmp_path: Path) -> None:
    encoder = stopping(vae, after=1_000)
    everything(EncodedImages(pictures(), encoder, tmp_path))
    assert encoder.calls == 6
    again = EncodedImages(pictures(), encoder, tmp_path)
    everything(again)
    everything(again)
    assert encoder.calls == 6


def test_it_says_how_large_it_will_be_before_it_starts(vae: VaeEncoder, tmp_path: Path) -> None:
    told: list[str] = []
    encoder = stopping(vae, after=0)
    with pytest.raises(KeyboardInterrupt):
        EncodedImages(pictures(), encoder, tmp_path / "c").prepare(told.append)
    assert told == [f"encoding 40 latents [2, 2, 2] of pictures, 0.0 MB into {tmp_path / 'c'}"]
    EncodedImages(pictures(), vae).prepare(told.append)
    assert told[1] == "encoding 40 latents [2, 2, 2] of pictures, 0.0 MB in memory"


# -- stops and several processes ----------------------------------------------------------------


def test_after_a_stop_everything_is_encoded_anew(vae: VaeEncoder, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        EncodedImages(pictures(), stopping(vae, 3), tmp_path).prepare()
    assert names(tmp_path) == []
    (tmp_path / ".latents.npy.1a2b3c4d.tmp").write_bytes(b"of a killed process")
    data = EncodedImages(pictures(), vae, tmp_path).prepare()
    assert torch.equal(everything(data), everything(EncodedImages(pictures(), vae)))
    assert names(tmp_path) == ["encoded.json", "latents.npy"]


def _encode_into(folder: Path, weights: Path) -> None:
    from flowprior.models import Encoder

    torch.set_num_threads(1)
    EncodedImages(pictures(), Encoder.create("vae", weights=str(weights)), folder).prepare()


@pytest.mark.slow
def test_two_processes_encode_once(vae: VaeEncoder, tmp_path: Path) -> None:
    vae.save(tmp_path / "vae.safetensors")
    target = (tmp_path / "cache", tmp_path / "vae.safetensors")
    both = [multiprocessing.get_context("spawn").Process(target=_encode_into, args=target) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert names(tmp_path / "cache") == ["encoded.json", "latents.npy"]


# -- what is refused --------------------------------------------------------------------------


def test_a_cache_of_other_data_weights_or_shape_is_refused(vae: VaeEncoder, tmp_path: Path) -> None:
    EncodedImages(pictures(), vae, tmp_path).prepare()
    other = {
        "data": (pictures(seed=1), vae),
        "weights": (pictures(), small_vae(seed=1)),
    }
    for what, (data, encoder) in other.items():
        with pytest.raises(
            CheckpointError, match=f"holds latents of other {what} .*choose another cache"
        ) as caught:
            EncodedImages(data, encoder, tmp_path).prepare()
        assert "\n" not in str(caught.value)
    before = (tmp_path / "latents.npy").read_bytes()
    with pytest.raises(CheckpointError, match="other data"):
        EncodedImages(pictures(39), vae, tmp_path).prepare()
    assert (tmp_path / "latents.npy").read_bytes() == before


def test_conditions_may_change_for_only_the_events_are_encoded(vae: VaeEncoder, tmp_path: Path) -> None:
    EncodedImages(pictures(), vae, tmp_path).prepare()
    bare = TensorData(pictures().x, name="pictures", is_image=True)
    assert EncodedImages(bare, vae, tmp_path).batch(torch.arange(2))[1] is None


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "manifest"])
def test_a_damaged_cache_is_refused_in_one_line(vae: VaeEncoder, tmp_path: Path, damage: str) -> None:
    EncodedImages(pictures(), vae, tmp_path).prepare()
    path = tmp_path / ("encoded.json" if damage == "manifest" else "latents.npy")
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-1] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data if damage == "flip" else data[:-5])
    with pytest.raises(
        CheckpointError, match=r"(truncated|damaged) .*choose another cache, or delete .* to encode anew"
    ) as caught:
        EncodedImages(pictures(), vae, tmp_path).prepare()
    assert "\n" not in str(caught.value)


def test_a_folder_with_other_files_is_left_alone(vae: VaeEncoder, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"which holds 'notes\.txt' and no encoded\.json"):
        EncodedImages(pictures(), vae, tmp_path).prepare()
    assert names(tmp_path) == ["notes.txt"]
    with pytest.raises(CheckpointError, match="which is a file"):
        EncodedImages(pictures(), vae, tmp_path / "notes.txt").prepare()


def test_too_little_room_is_said_before_anything_is_encoded(
    vae: VaeEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = type("Usage", (), {"free": 100})()
    monkeypatch.setattr("flowprior.extensions.latents.cache.shutil.disk_usage", lambda path: free)
    encoder = stopping(vae, after=0)
    with pytest.raises(CheckpointError, match=r"do not fit into .*: 0\.0 MB are free"):
        EncodedImages(pictures(), encoder, tmp_path / "cache").prepare()


def test_latents_that_are_not_finite_are_refused_and_nothing_is_put_in_place(
    vae: VaeEncoder, tmp_path: Path
) -> None:
    data = pictures()
    data.x[9] = float("nan")
    with pytest.raises(InputError, match="the latents of images 7 to 13 of 'pictures' are not finite"):
        EncodedImages(data, vae, tmp_path).prepare()
    assert "encoded.json" not in names(tmp_path)


def test_data_that_are_no_pictures_are_refused() -> None:
    with pytest.raises(InputError, match="expected images, 'points' has 5 events"):
        EncodedImages(TensorData(torch.zeros(5, 2), name="points"), IdentityEncoder())


# -- pictures in files ------------------------------------------------------------------------


def folder_of(path: Path) -> FolderData:
    from PIL import Image

    files = []
    for number in range(5):
        file = path / f"{number}.png"
        if not file.exists():
            Image.new("RGB", (8, 8), (50 * number, 0, 0)).save(file)
        files.append(file)
    return FolderData(files, torch.arange(5) % 2, class_names=["a", "b"])


def test_conditions_of_files_are_known_without_decoding_them(
    vae: VaeEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = EncodedImages(folder_of(tmp_path), vae).prepare()
    monkeypatch.setattr(FolderData, "_decode", lambda *_: pytest.fail("a picture was decoded"))
    _, labels = data.batch(torch.tensor([1, 2]))
    assert labels is not None
    assert labels.tolist() == [1, 0]


def test_a_changed_file_is_other_data(tmp_path: Path) -> None:
    from PIL import Image

    before = folder_of(tmp_path).fingerprint()
    assert folder_of(tmp_path).fingerprint() == before
    Image.new("RGB", (8, 8), (0, 9, 0)).save(tmp_path / "3.png")
    assert folder_of(tmp_path).fingerprint() != before
