"""Cells from the command line: types by name, samples as .h5ad in the units of the file, titles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flowprior.cli.conditions import LABEL, SampleRequest
from flowprior.cli.samples_file import title_of
from flowprior.flow import Flow
from tests.cli.conftest import SHORT, call_app, drawn, succeed

anndata = pytest.importorskip("anndata")
pandas = pytest.importorskip("pandas")

TYPES = ["B cell", "CD4-positive, alpha-beta T cell", "NK cell"] * 40


@pytest.fixture(scope="module")
def cells_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    vectors = np.random.default_rng(0).normal(5, 2, (120, 4))
    obs = pandas.DataFrame({"cell_type": TYPES}, index=[str(row) for row in range(120)])
    annotated = anndata.AnnData(np.zeros((120, 2), np.float32), obs=obs, obsm={"X_pca": vectors})
    annotated.write_h5ad(folder / "cells.h5ad")
    parts = ["--data", folder / "cells.h5ad", "--prior", "gmm", "--coupling", "ot", "--model", "mlp:width=16"]
    answer = call_app("train", *parts, "--out", folder / "run", "--steps", "2", *SHORT)
    assert answer.code == 0, answer.err
    assert (
        "96 training cells of 3 types (obs column cell_type): X_pca as it is, PC1 … PC4, divided by"
        in answer.err
    )
    assert answer.out.splitlines()[-2].endswith("run --out samples.h5ad")
    return folder / "run"


def test_types_are_asked_for_by_name_and_come_back_by_name_in_the_units_of_the_file(cells_run, tmp_path):
    short = ["--n", "3", "--nfe", "2"]
    succeed("sample", cells_run, "--cond", f"NK cell,{TYPES[1]}", *short, "--out", tmp_path / "s.h5ad")
    cells = anndata.read_h5ad(tmp_path / "s.h5ad")
    assert cells.obs["cell_type"].tolist() == ["NK cell"] * 3 + [TYPES[1]] * 3
    assert cells.var_names.tolist() == ["PC1", "PC2", "PC3", "PC4"]
    np.testing.assert_array_equal(cells.X, cells.obsm["X_pca"])
    assert cells.uns["flowprior"]["nfe"] == "2"
    found, flow = drawn(cells_run, tmp_path / "s.npz", "--cond", "2,1", *short), Flow.load(cells_run)
    scale = flow.metadata["data"]["annotation"]["scale"][0]
    np.testing.assert_allclose(found["x"] * scale, cells.X, rtol=1e-5)
    assert found["cond"].tolist() == [2] * 3 + [1] * 3
    words = [name for name in ("NK cell", TYPES[1]) for _ in range(3)]
    x = flow.sample(words, nfe=2, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(x.numpy() * scale, cells.X, rtol=1e-4, atol=1e-4)


def test_samples_are_read_back_as_data(cells_run, tmp_path):
    succeed("sample", cells_run, "--cond", "all", "--n", "3", "--nfe", "2", "--out", tmp_path / "s.h5ad")
    parts = ["--prior", "gaussian", "--coupling", "condot", "--model", "mlp:width=8", "--steps", "1", *SHORT]
    succeed("train", "--data", f"cells:path={tmp_path / 's.h5ad'}", *parts, "--out", tmp_path / "again")
    known = [Flow.load(run).words.label_names() for run in (cells_run, tmp_path / "again")]
    assert known[0] == known[1] != []


@pytest.mark.parametrize(
    ("cond", "message"),
    [
        ("B cel", "no label is named 'B cel'; did you mean 'B cell'?"),
        ("7", f"no label is named '7'; known: B cell, {TYPES[1]}, NK cell, and their numbers 0..2"),
    ],
)
def test_a_name_that_no_label_has_is_answered_by_the_nearest(cond, message, cells_run, tmp_path):
    answer = call_app("sample", cells_run, "--cond", cond, "--out", tmp_path / "s.h5ad")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert message in answer.err


def test_a_picture_of_one_type_names_it_in_its_title():
    settings = {"sampler": "euler", "temperature": None, "prior_guidance": None, "guidance": 1.0}
    one, both = (SampleRequest(None, words={LABEL: names}) for names in (["NK cell"], ["B cell", "NK cell"]))
    assert title_of("cells", one, 4, settings) == "cells: NK cell, 4 evaluations, euler"
    assert title_of("cells", both, 1, settings) == "cells: 1 evaluation, euler"


def test_cells_hold_vectors_alone(run: Path, tmp_path: Path) -> None:
    answer = call_app("sample", run, "--cond", "3", "--nfe", "1", "--out", tmp_path / "s.h5ad")
    assert (answer.code, "expected vectors for" in answer.err) == (2, True)
