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
    stored = sorted(map(tuple, np.round(vectors, 4).tolist()))
    found = train.annotation.stored(torch.cat([train.x, test.x]))
    assert sorted(map(tuple, np.round(found.double().numpy(), 4).tolist())) == stored


@pytest.mark.filterwarnings("ignore:expected 10 or more training cells of a type")
def test_labels_are_the_types_that_occur(file):
    train, test = load_data(file), load_data(file, "test")
    assert train.class_names == ["B", "NK", "T"]
    assert train.condition.size == 3
    assert torch.bincount(test.cond).tolist() == [4, 2, 6]
    assert torch.bincount(train.cond).tolist() == [16, 8, 24]


def test_labels_stay_with_their_cells(file, vectors):
    data = load_data(f"cells:path={file},test_fraction=0")
    np.testing.assert_allclose(data.annotation.stored(data.x).numpy(), vectors, rtol=1e-5)
    assert [data.class_names[label] for label in data.cond.tolist()] == TYPES


def test_the_condition_can_be_left_out_and_the_representation_chosen(tmp_path, vectors):
    path = write(tmp_path / "cells.h5ad", vectors, key="X_umap")
    data = load_data(f"cells:path={path},label=None,representation=X_umap")
    assert data.condition.kind == "none"
    assert len(data) == 48


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("label=louvain", "no column 'louvain' in obs; known: bulk_labels"),
        ("representation=X_tsne", "no representation 'X_tsne'; known: X, X_pca"),
        ("representation=X_pcs", "did you mean 'X_pca'"),
        ("label=bulk_label", "did you mean 'bulk_labels'"),
        ("split_by=donor", "no column 'donor' in obs; known: bulk_labels"),
    ],
)
def test_what_is_not_in_the_file_is_named_with_what_is(options, message, file):
    with pytest.raises(InputError, match=message):
        load_data(f"cells:path={file},{options}")


def test_non_finite_vectors_and_missing_labels_are_refused(tmp_path, vectors):
    vectors[5, 2] = np.nan
    with pytest.raises(InputError, match=r"X_pca has NaN .* first in row 5"):
        load_data(str(write(tmp_path / "nan.h5ad", vectors)))
    with pytest.raises(InputError, match="1 cells have no 'bulk_labels'"):
        load_data(str(write(tmp_path / "label.h5ad", np.ones((60, 4)), [None, *TYPES[1:]])))


def test_without_scanpy_the_error_names_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataNotFoundError, match="pip install --no-deps scanpy"):
        load_data("cells")


def test_the_file_of_scanpy_is_found_without_importing_it(tmp_path, monkeypatch, vectors):
    (tmp_path / "datasets").mkdir()
    write(tmp_path / "datasets" / PBMC_FILE, vectors)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "scanpy" else None)
    data = load_data("cells")
    assert data.name == "cells"
    assert len(data) == 48


def test_without_anndata_the_error_names_the_extra(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(DataNotFoundError, match="pip install anndata h5py pandas"):
        load_data(file)


def test_an_empty_matrix_that_unpacks_to_gigabytes_is_refused_unread(file):
    with h5py.File(file, "a") as hdf5:
        hdf5.create_dataset("obsm/X_empty", (60, 20_000_000), "f4", compression="gzip")
    with little_memory(), pytest.raises(InputError, match="bytes would unpack to 4,800,"):
        load_data(file)


@pytest.mark.parametrize("way", ["external storage", "external link", "virtual"])
def test_nothing_is_read_from_another_file(file, tmp_path, way):
    """HDF5 can name any file of the user, whose bytes would pass as numbers of cells."""
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as hdf5:
        hdf5["secret"] = np.zeros((60, 2), "f4")
    with h5py.File(file, "a") as hdf5:
        if way == "external storage":
            hdf5.create_dataset("obsm/X_other", (60, 2), "f4", external=[(str(other), 0, 480)])
        elif way == "external link":
            hdf5["obsm/X_other"] = h5py.ExternalLink(str(other), "secret")
        else:
            layout = h5py.VirtualLayout((60, 2), "f4")
            layout[:] = h5py.VirtualSource(str(other), "secret", (60, 2))
            hdf5.create_virtual_dataset("obsm/X_other", layout)
    with pytest.raises(InputError, match="'obsm/X_other' in another one, which is never read"):
        load_data(f"cells:path={file},representation=X_other")
