"""Latents on disk: every stored type, one file or parts, labels beside them, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flowprior.data import load_data
from flowprior.data.latents import LatentRows
from flowprior.errors import DataNotFoundError, InputError, OptionError

X = np.random.default_rng(0).standard_normal((20, 4, 2, 2)).astype(np.float32)
LABELS = np.arange(20) % 3


def save(folder, **arrays):
    folder.mkdir(exist_ok=True)
    for name, value in arrays.items():
        np.save(folder / f"{name.replace('_', '-')}.npy", value)
    return str(folder)


STORED = {
    "float16": X.astype(np.float16),
    # As ``ml_dtypes`` saves them: two bytes of a type that numpy does not know.
    "bfloat16": torch.from_numpy(X).bfloat16().view(torch.int16).numpy().view("V2"),
    "float32": X,
    "float64": X.astype(np.float64),
    "other bytes first": X.astype(">f4"),
    "columns first": np.asfortranarray(X),
}


@pytest.mark.parametrize("stored", STORED.values(), ids=STORED.keys())
def test_every_floating_point_type_comes_out_as_float32(stored, tmp_path):
    data = load_data(save(tmp_path, latents=stored, labels=LABELS), test_fraction=0)
    assert isinstance(data, LatentRows)
    order = torch.tensor([19, 0, 7, 7])
    x, cond = data.batch(order)
    assert x.dtype == torch.float32
    assert torch.allclose(x, torch.from_numpy(X)[order], atol=0.01, rtol=0.01)
    assert cond.tolist() == data.conditions(order).tolist() == LABELS[order].tolist()
    assert (data.event_shape, data.condition.size, data.is_image) == ((4, 2, 2), 3, False)


def test_images_as_bytes_are_mapped_and_come_out_in_minus_one_to_one(tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(20, 3, 4, 4), dtype=np.uint8)
    data = load_data(save(tmp_path, x=pixels, labels=LABELS), test_fraction=0)
    assert all(isinstance(array, np.memmap) for array in data.files.events.arrays)
    order = torch.tensor([19, 0, 7])
    torch.testing.assert_close(data.batch(order)[0], torch.from_numpy(pixels)[order] / 127.5 - 1)
    assert (data.event_shape, data.is_image) == ((3, 4, 4), True)


def test_parts_are_one_data_set(tmp_path):
    arrays = {"latents_0": X[:7], "latents_1": X[7:], "labels_0": LABELS[:7], "labels_1": LABELS[7:]}
    parts = load_data(save(tmp_path / "parts", **arrays), test_fraction=0)
    whole = load_data("latents", path=save(tmp_path / "whole", x=X, y=LABELS[:, None]), test_fraction=0)
    order = torch.randperm(20)
    for mine, theirs in zip(parts.batch(order), whole.batch(order), strict=True):
        assert torch.equal(mine, theirs)


def test_embeddings_are_mapped_too(tmp_path):
    data = load_data(save(tmp_path, latents=X, cond=X[:, 0, 0].astype(np.float16)), test_fraction=0)
    x, cond = data.batch(torch.tensor([3, 1]))
    assert data.condition.kind == "embeddings"
    assert torch.allclose(cond, x[:, 0, 0], atol=0.01)
    assert torch.equal(cond, data.conditions(torch.tensor([3, 1])))


def test_splits_are_disjoint_and_by_label_or_those_of_the_folder(tmp_path):
    path = save(tmp_path / "one", latents=X, labels=LABELS)
    parts = [load_data(f"latents:path={path},test_fraction=0.2", split) for split in ("train", "test")]
    assert sorted(
        torch.cat([part.batch(torch.arange(len(part)))[0] for part in parts])[:, 0, 0, 0].tolist()
    ) == (sorted(X[:, 0, 0, 0].tolist()))
    (tmp_path / "own").mkdir()
    save(tmp_path / "own" / "train", latents=X[:15], labels=LABELS[:15])
    save(tmp_path / "own" / "test", latents=X[15:17], labels=LABELS[15:17])
    test = load_data(str(tmp_path / "own"), "test")
    assert (len(test), test.condition.size) == (2, 3)


def test_one_file_may_have_labels_beside_it_which_may_be_left_out(tmp_path):
    save(tmp_path / "a", features=X, labels=LABELS)
    path = str(tmp_path / "a" / "features.npy")
    assert load_data(path, test_fraction=0).conditions(torch.arange(3)).tolist() == [0, 1, 2]
    assert load_data(path, test_fraction=0, labels=False).condition.kind == "none"


def test_a_row_that_is_not_finite_is_named(tmp_path):
    x, cond = X.copy(), np.arange(20.0)[:, None]
    x[4, 0, 0, 0], cond[5] = np.inf, np.nan
    data = load_data(save(tmp_path, latents=x, cond=cond), test_fraction=0)
    with pytest.raises(InputError, match=r"latents\.npy, row 4: it holds NaN or infinite numbers"):
        data.batch(torch.arange(5))
    with pytest.raises(InputError, match=r"latents\.npy, row 5: its embedding holds NaN"):
        data.conditions(torch.arange(6))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"latents": LABELS}, "expected floating-point numbers, got int64"),
        ({"latents": np.zeros((20, 4, 4), np.uint8)}, "expected floating-point numbers, got uint8"),
        ({"x_0": X[:, :3], "x_1": np.zeros((9, 3, 2, 2), np.uint8)}, "as in the first file, got uint8"),
        ({"latents": X.view(np.uint16)}, r"store the bits of bfloat16 as array\.view\('V2'\)"),
        ({"latents": X[:, 0, 0, 0]}, r"expected data samples \[N, \*event\]"),
        ({"latents": np.array([{"a": 1}] * 3)}, "cannot be read as .npy .*Python objects"),
        ({"latents": X.astype(np.complex64)}, "got complex64"),
        ({"latents": X, "labels": LABELS[:5]}, r"expected labels \[20\] .*got int64 \[5\]"),
        ({"latents": X, "labels": LABELS - 1}, "expected labels from 0 on, got -1"),
        ({"latents": X, "labels": LABELS + 10**6}, "too high"),
        ({"latents_0": X, "latents_1": X[:, :2]}, r"expected data samples \[4, 2, 2\] as in the first file"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load_data(save(tmp_path, **arrays))


def test_a_broken_header_is_one_line(tmp_path):
    """A bracket that is never closed, of which numpy says something else than of other damage."""
    save(tmp_path, latents=X)
    content = (tmp_path / "latents.npy").read_bytes()
    (tmp_path / "latents.npy").write_bytes(content.replace(b")", b" ", 1))
    with pytest.raises(InputError, match=r"latents\.npy: cannot be read as \.npy \(") as caught:
        load_data(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{}/absent.npy", "nothing at"),
        ("latents:path={}", r"no latents\.npy or x\.npy in"),
        ("latents", "path is missing"),
        ("{}/parts", "no labels beside"),
    ],
)
def test_files_that_are_not_there(spec, message, tmp_path):
    save(tmp_path / "parts", latents_0=X, latents_1=X, labels_0=LABELS)
    with pytest.raises((DataNotFoundError, OptionError), match=message):
        load_data(spec.format(tmp_path))
