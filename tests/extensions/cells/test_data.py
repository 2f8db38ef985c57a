"""Cells from small .h5ad files that the test writes: representations, genes, counts, donors, types."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import torch

from flowprior.data import TensorData, load_data
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


# -- genes, counts, donors and rare types ---------------------------------------------------------


CELLS, GENES = 120, 30
THREE_TYPES = ["B cell", "NK cell", "T cell"] * 40
DONORS = ["d1", "d2", "d3", "d4"] * 30


def counts() -> np.ndarray:
    rates = 1 + np.arange(GENES) % 7 * (1 + np.arange(CELLS)[:, None] % 3)
    return np.random.default_rng(0).poisson(rates).astype(np.float32)


def write_genes(path, x, *, types=THREE_TYPES, column="cell_type", **parts):
    rows = [str(row) for row in range(len(types))]
    obs = pandas.DataFrame({column: types, "donor": DONORS, "depth": np.linspace(0, 1, CELLS)}, index=rows)
    var = pandas.DataFrame(index=[f"gene{number}" for number in range(x.shape[1])])
    anndata.AnnData(x, obs=obs, var=var, **parts).write_h5ad(path)
    return path


def silent(spec: str, split: str = "train") -> TensorData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_data(spec, split)  # type: ignore[return-value]


def expected_log(raw: np.ndarray) -> np.ndarray:
    return np.log1p(raw / raw.sum(1, keepdims=True) * 10_000)


@pytest.mark.parametrize("layout", [np.asarray, scipy.sparse.csr_matrix, scipy.sparse.csc_matrix])
def test_expression_is_read_dense_or_sparse(layout, tmp_path):
    path = write_genes(tmp_path / "c.h5ad", layout(expected_log(counts())))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load_data(f"cells:path={path},test_fraction=0")
    np.testing.assert_allclose(data.annotation.stored(data.x), expected_log(counts()), rtol=1e-4)
    assert data.annotation.names[:2] == ("gene0", "gene1")
    assert (data.annotation.key, data.annotation.label) == ("X", "cell_type")


def test_raw_counts_are_taken_as_they_are_and_a_warning_says_so(tmp_path):
    path = write_genes(tmp_path / "c.h5ad", counts())
    with pytest.warns(RuntimeWarning, match="got raw counts, taken as they are; normalise them first"):
        data = load_data(f"cells:path={path},test_fraction=0")
    np.testing.assert_allclose(data.annotation.stored(data.x), counts(), rtol=1e-4, atol=1e-4)


def test_the_first_numbers_of_a_representation_and_standardised_ones(tmp_path):
    vectors = np.random.default_rng(1).normal(3, [[1, 5, 9]], (CELLS, 3))
    path = write_genes(tmp_path / "c.h5ad", np.zeros((CELLS, GENES), np.float32), obsm={"X_pca": vectors})
    data = silent(f"cells:path={path},components=2,standardise=true,test_fraction=0")
    torch.testing.assert_close(data.x.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.x.std(0, correction=0), torch.ones(2))
    np.testing.assert_allclose(data.annotation.stored(data.x), vectors[:, :2], rtol=1e-4)


def test_whole_donors_are_held_out(tmp_path):
    path = write_genes(tmp_path / "c.h5ad", expected_log(counts()))
    named = [silent(f"cells:path={path},split_by=donor,held_out=d2", s) for s in ("train", "test")]
    stored = expected_log(counts())[np.asarray(DONORS) == "d2"]
    np.testing.assert_allclose(named[1].annotation.stored(named[1].x), stored, rtol=1e-4)
    assert (len(named[0]), len(named[1])) == (90, 30)
    drawn = [
        silent(f"cells:path={path},split_by=donor,test_fraction=0.5,seed=3", s) for s in ("train", "test")
    ]
    assert [len(part) for part in drawn] == [60, 60]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("held_out=d1", "add split_by=NAME"),
        ("split_by=donor,held_out=d9", "no 'd9' in 'donor'.* known: d1, d2, d3, d4"),
        ("split_by=donor,held_out=d1+d2+d3+d4", "leaves no cell to train on"),
        (
            "split_by=donor,held_out=d2,test_fraction=0",
            "holds cells out and test_fraction=0 holds none",
        ),
        ("split_by=donors", "no column 'donors' in obs; did you mean 'donor'"),
        ("label=louvain", "no column 'louvain' in obs; known: cell_type, donor, depth"),
        ("label=depth", "expected names in the column 'depth' of obs, got measured numbers"),
        ("representation=X_tsne", "no representation 'X_tsne'; known: X"),
        ("representation=X_pcs", "did you mean 'X_pca'"),
        ("min_cells=41", "expected a type of 41 or more cells, got at most 40, of 'B cell'"),
        ("components=0", "components=0"),
        ("components=9", "components=9 is not possible; expected a whole number, from 1 to 3"),
        ("test_fraction=2,split_by=donor", "expected test_fraction to be a number from 0 to 1"),
    ],
)
def test_options_that_are_not_possible(options, message, tmp_path):
    path = write_genes(tmp_path / "c.h5ad", expected_log(counts()), obsm={"X_pca": np.ones((CELLS, 3))})
    with refused(message):
        load_data(f"cells:path={path},{options}")


def sparse_nan() -> scipy.sparse.csr_matrix:
    """Expression with one number that is none."""
    x = scipy.sparse.csr_matrix(expected_log(counts()))
    x.data[x.indptr[7]] = np.nan
    return x


@pytest.mark.parametrize(
    ("x", "parts", "message"),
    [
        (sparse_nan(), {}, "X has NaN or infinite numbers in 1 of 120 rows, first in row 7"),
        (counts(), {"types": [None, *THREE_TYPES[1:]]}, "1 cells have no 'cell_type'"),
        (
            counts(),
            {"column": "kind"},
            "found none of cell_type, .*; known: kind, .*label=NAME",
        ),
        (
            np.zeros((CELLS, (1 << 14) + 1), np.float32),
            {},
            "at most 16,384 numbers of a cell in",
        ),
    ],
    ids=["NaN", "no type", "no types", "many genes"],
)
def test_files_that_cannot_be_used_are_refused(x, parts, message, tmp_path):
    with refused(message, InputError):
        load_data(str(write_genes(tmp_path / "c.h5ad", x, **parts)))


def test_rare_types_are_warned_of_and_can_be_left_out(tmp_path):
    types = ["rare"] * 4 + THREE_TYPES[4:]
    path = write_genes(tmp_path / "c.h5ad", expected_log(counts()), types=types)
    with pytest.warns(RuntimeWarning, match="expected 10 or more training cells of a type, got 'rare' 3"):
        assert load_data(str(path)).condition.size == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load_data(f"cells:path={path},min_cells=5")
    assert data.class_names == ["B cell", "NK cell", "T cell"]


def test_types_of_no_training_cell_are_left_out_with_a_warning(tmp_path):
    types = ["mast" if donor == "d2" else kind for kind, donor in zip(THREE_TYPES, DONORS, strict=True)]
    path = write_genes(tmp_path / "c.h5ad", expected_log(counts()), types=types)
    path = f"cells:path={path},split_by=donor,held_out=d2+d3"
    with pytest.warns(RuntimeWarning, match=r"no training cell is of 'mast' \(30\)"):
        train = load_data(path)
    assert train.class_names == ["B cell", "NK cell", "T cell"]
    assert len(load_data(path, "test")) == 30


def test_a_layer_that_is_called_raw_has_the_genes_of_the_layer(tmp_path):
    path, x = tmp_path / "a.h5ad", counts()
    write_genes(path, x, layers={"raw": np.log1p(x)})
    data = silent(f"cells:path={path},representation=raw,test_fraction=0")
    assert len(data.annotation.names) == x.shape[1]
    torch.testing.assert_close(data.annotation.stored(data.x), torch.from_numpy(np.log1p(x)).float())


def test_what_varies_by_rounding_alone_keeps_its_units(tmp_path):
    """Divided by its own rounding a test cell one unit away would lie 10¹⁶ deviations off."""
    x = np.random.default_rng(0).normal(size=(CELLS, GENES))
    x[:, 1] = 0.1
    write_genes(tmp_path / "a.h5ad", x)
    data = silent(f"cells:path={tmp_path / 'a.h5ad'},representation=X,standardise=true")
    assert data.annotation.scale[1] == 1.0
    assert float(data.x[:, 1].abs().max()) < 1e-6
