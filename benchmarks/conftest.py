"""What every benchmark shares: two threads, real data, and ratios taken in the same run."""

from __future__ import annotations

import pytest
import torch

from flowprior.data import load_data
from flowprior.errors import DataNotFoundError

THREADS = 2


@pytest.fixture(autouse=True)
def two_threads():
    """Two threads, as the figures of docs/results.md say."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def fashion_mnist():
    """All training pictures ``[60000, 784]`` with labels, and all test pictures with theirs."""
    try:
        splits = [load_data("fashion-mnist", split) for split in ("train", "test")]
    except DataNotFoundError as error:
        pytest.skip(str(error))
    (x, y), (x_test, y_test) = (data.batch(torch.arange(len(data))) for data in splits)
    return x.flatten(1), y, x_test.flatten(1), y_test
