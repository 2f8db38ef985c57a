"""Sample files: arrays that read back, and names that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flowprior.cli.samples_file import save_samples
from flowprior.data import load_data
from flowprior.errors import CheckpointError, OptionError


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_arrays_read_back_as_a_data_set(tmp_path: Path, generator: torch.Generator, suffix: str) -> None:
    x, cond = torch.randn(20, 3, generator=generator), torch.arange(20) % 4
    file = tmp_path / "new" / f"s{suffix}"
    save_samples(file, x, cond)
    data = load_data(f"arrays:path={file},test_fraction=0")
    read, labels = data.batch(torch.arange(20))
    assert torch.equal(read, x)
    assert labels is not None
    assert torch.equal(labels, cond)


def test_samples_without_condition_hold_none(tmp_path: Path) -> None:
    save_samples(tmp_path / "s.npz", torch.zeros(3, 2))
    with np.load(tmp_path / "s.npz") as stored:
        assert stored.files == ["x"]


def test_other_files_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"cannot write '.*s\.txt'; choose a name that ends in \.png"):
        save_samples(tmp_path / "s.txt", torch.zeros(3, 2))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot write"):
        save_samples(tmp_path / "file" / "s.npz", torch.zeros(3, 2))
