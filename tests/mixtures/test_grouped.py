"""Products with the matrix of each row's group are those of a loop, whichever way is taken."""

from __future__ import annotations

import pytest
import torch

from flowprior import Prior
from flowprior.mixtures import grouped
from flowprior.mixtures.grouped import gathers, times_table


@pytest.mark.parametrize(("groups", "rows", "size"), [(40, 50, (5, 3)), (2, 300, (60, 40)), (1, 7, (4, 2))])
def test_each_row_meets_the_matrix_of_its_group(groups, rows, size, generator):
    tables = torch.randn(groups, *size, generator=generator, dtype=torch.float64)
    x = torch.randn(rows, size[0], generator=generator, dtype=torch.float64)
    place = torch.randint(groups, (rows,), generator=generator)
    expected = torch.stack([row @ tables[i] for row, i in zip(x, place.tolist(), strict=True)])
    torch.testing.assert_close(times_table(x, place, tables), expected, rtol=1e-12, atol=1e-12)
    assert times_table(x[:0], place[:0], tables).shape == (0, size[1])


def test_many_small_groups_are_gathered_in_parts(monkeypatch, generator):
    assert gathers(1000, 1000, 64 * 8)
    assert not gathers(128, 10, 784 * 64)
    monkeypatch.setattr(grouped, "GATHERED", 40)
    test_each_row_meets_the_matrix_of_its_group(40, 50, (5, 3), generator)


@pytest.mark.parametrize("covariance", ["full", "tied", "lowrank"])
def test_a_mixture_of_many_labels_is_that_of_each_alone(covariance, generator, monkeypatch):
    labels = torch.arange(600) % 60
    x = torch.randn(600, 3, generator=generator, dtype=torch.float64) + labels[:, None] / 10
    options = {"components": 2, "covariance": covariance, "shrinkage": 4.0, "max_iter": 3}
    prior = Prior.create("gmm", **options).fit((x, labels), generator=generator)

    def both():
        drawn = prior.sample(labels, generator=torch.Generator().manual_seed(0))
        return (
            prior.log_prob(x, labels),
            prior.infer(x, labels, generator=torch.Generator().manual_seed(0)),
            drawn,
        )

    gathered = both()
    monkeypatch.setattr(grouped, "NUMBERS_OF_A_CALL", 0)
    for one, other in zip(gathered, both(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
