"""Cells from a small .h5ad file that the test writes."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from flowprior.data import load_data
from flowprior.errors import DataNotFoundError, InputError
from flowprior.extensions.cells.data import PBMC_FILE
from tests.extensions.conftest import refused
from tests.little_memory import little_memory

h5py = pytest.importorskip("h5py")
anndata = pytest.importorskip("anndata")
pandas = pytest.importorskip("pandas")

TYPES = ["B", "NK", "B", "T", "T", "T"] * 10


@pytest.fixture
def vectors():
    scales = np.array([5.0, 2.0, 0.5, 0.1])
    return np.random.default_rng(0).normal(size=(60, 4)) * scales


@pytest.fixture
def file(tmp_path, vectors):
    return str(write(tmp_path / "cells.h5ad", vectors))


def write(path, vectors, types=TYPES, key="X_pca"):
    kinds = pandas.Categorical(types, categories=["B", "Mast", "NK", "T"])
    obs = pandas.DataFrame({"bulk_labels": kinds}, index=[str(index) for index in range(len(vectors))])
    anndata.AnnData(np.zeros((len(vectors), 2), dtype=np.float32), obs=obs, obsm={key: vectors}).write_h5ad(
        path
    )
    return path


@pytest.mark.filterwarnings("ignore:expected 10 or more training cells of a type")
def test_one_number_scales_the_training_split_to_mean_variance_one(file, vectors):
    train, test = load_data(file), load_data(file, "test")
    assert float(train.x.var(dim=0, correction=0).mean()) == pytest.approx(1, rel=1e-5)
    assert train.annotation == test.annotation
    found = train.annotation.stored(torch.cat([train.x, test.x])).double().numpy()
    order = [rows[np.lexsort(rows.T)] for rows in (found, vectors)]
    np.testing.assert_allclose(*order, atol=1e-4)
    assert train.class_names == ["B", "NK", "T"], "the types that occur"
    assert [torch.bincount(data.cond).tolist() for data in (train, test)] == [[16, 8, 24], [4, 2, 6]]


def test_labels_stay_with_their_cells(file, vectors):
    data = load_data(f"cells:path={file},test_fraction=0")
    np.testing.assert_allclose(data.annotation.stored(data.x).numpy(), vectors, rtol=1e-5)
    assert [data.class_names[label] for label in data.cond.tolist()] == TYPES


def test_the_condition_can_be_left_out_and_the_representation_chosen(tmp_path, vectors):
    path = write(tmp_path / "cells.h5ad", vectors, key="X_umap")
    data = load_data(f"cells:path={path},label=None,representation=X_umap")
    assert data.condition.kind == "none"
    assert len(data) == 48


def test_the_file_of_scanpy_is_found_without_importing_it(tmp_path, monkeypatch, vectors):
    (tmp_path / "datasets").mkdir()
    write(tmp_path / "datasets" / PBMC_FILE, vectors)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "scanpy" else None)
    data = load_data("cells")
    assert (data.name, len(data)) == ("cells", 48)


def test_what_is_not_installed_is_named(file, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with refused("pip install --no-deps scanpy", DataNotFoundError):
        load_data("cells")
    monkeypatch.setitem(sys.modules, "anndata", None)
    with refused("pip install anndata h5py pandas", DataNotFoundError):
        load_data(file)


def test_an_empty_matrix_that_unpacks_to_gigabytes_is_refused_unread(file):
    with h5py.File(file, "a") as hdf5:
        hdf5.create_dataset("obsm/X_empty", (60, 20_000_000), "f4", compression="gzip")
    with little_memory(), pytest.raises(InputError, match="bytes would unpack to 4,800,"):
        load_data(file)


def virtual(hdf5: h5py.File, other: str) -> None:
    """Add a matrix that is a view into another file."""
    layout = h5py.VirtualLayout((60, 2), "f4")
    layout[:] = h5py.VirtualSource(other, "secret", (60, 2))
    hdf5.create_virtual_dataset("obsm/X_other", layout)


@pytest.mark.parametrize(
    "add",
    [
        lambda hdf5, other: hdf5.create_dataset("obsm/X_other", (60, 2), "f4", external=[(other, 0, 480)]),
        lambda hdf5, other: hdf5.__setitem__("obsm/X_other", h5py.ExternalLink(other, "secret")),
        virtual,
    ],
    ids=["external storage", "external link", "virtual"],
)
def test_nothing_is_read_from_another_file(file, tmp_path, add):
    """HDF5 can name any file of the user, whose bytes would pass as numbers of cells."""
    with h5py.File(tmp_path / "other.h5", "w") as hdf5:
        hdf5["secret"] = np.zeros((60, 2), "f4")
    with h5py.File(file, "a") as hdf5:
        add(hdf5, str(tmp_path / "other.h5"))
    with refused("'obsm/X_other' in another one, which is never read", InputError):
        load_data(f"cells:path={file},representation=X_other")
