"""The energy statistic against its definition, its p-value, and what it is blind to."""

from __future__ import annotations

import json

import pytest
import torch

from flowprior.couplings import Coupling, SourceMismatch, source_mismatch
from flowprior.couplings.mismatch import compare_samples
from flowprior.errors import InputError

from .laws import fitted, two_classes


def energy(x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """2E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖ and 2E‖X − Y‖, by the definition."""
    x, y = x.flatten(1).double(), y.flatten(1).double()
    cross = 2 * float(torch.cdist(x, y).mean())
    return cross - float(torch.cdist(x, x).mean()) - float(torch.cdist(y, y).mean()), cross


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistic_against_its_definition(dtype: torch.dtype) -> None:
    x, y = torch.randn(2, 40, 2, 3, dtype=dtype) + torch.tensor([0.0, 0.5]).view(2, 1, 1, 1)
    gap = compare_samples(x, y.to(dtype), None, permutations=1)
    expected, cross = energy(x, y)
    assert gap.energy == pytest.approx(expected, rel=1e-5)
    assert gap.coefficient == pytest.approx(expected / cross, rel=1e-5)
    assert gap.samples == 40
    assert gap.conditions == 1


def test_within_labels_it_is_the_mean_over_the_classes() -> None:
    labels = torch.tensor([0] * 10 + [1] * 30)[torch.randperm(40)]
    x, y = torch.randn(2, 40, 3, dtype=torch.float64)
    parts = {k: energy(x[labels == k], y[labels == k]) for k in (0, 1)}
    gap = compare_samples(x, y, labels, permutations=1)
    assert gap.energy == pytest.approx(0.25 * parts[0][0] + 0.75 * parts[1][0])
    assert gap.coefficient == pytest.approx(gap.energy / (0.25 * parts[0][1] + 0.75 * parts[1][1]))
    assert gap.conditions == 2


def test_a_difference_within_labels_is_seen_where_the_pooled_laws_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    sign = 2.0 * labels[:, None] - 1
    noise = torch.randn(2, 200, 1, generator=generator)
    x, y = noise[0] + sign, noise[1] - sign
    assert compare_samples(x, y, labels, generator=generator, permutations=99).p_value == 0.01
    assert compare_samples(x, y, None, generator=generator, permutations=99).p_value > 0.05


def test_p_values_are_uniform_where_the_laws_agree() -> None:
    """200 tests at level 0.1: 20 rejections expected, 5 standard deviations (21) allowed either way."""
    generator = torch.Generator().manual_seed(4)
    labels = torch.arange(30) % 3
    values = torch.tensor(
        [
            compare_samples(
                *torch.randn(2, 30, 2, generator=generator), labels, generator=generator, permutations=99
            ).p_value
            for _ in range(200)
        ]
    )
    assert abs(int((values <= 0.1).sum()) - 20) < 5 * (200 * 0.1 * 0.9) ** 0.5
    assert abs(int((values <= 0.5).sum()) - 100) < 5 * (200 * 0.25) ** 0.5


def test_of_a_coupling() -> None:
    x1, labels = two_classes(400, 0)
    prior = fitted("gaussian")
    same = [
        source_mismatch(
            Coupling.create("condot"), prior, x1, labels, generator=torch.Generator().manual_seed(3)
        )
        for _ in range(2)
    ]
    assert same[0] == same[1]
    assert same[0].permutations == 200
    assert same[0].p_value > 0.005
    assert isinstance(same[0], SourceMismatch)
    assert json.loads(json.dumps(same[0].as_dict()))["coefficient"] == same[0].coefficient


def test_one_example_of_a_class_is_no_trouble() -> None:
    x1, labels = two_classes(20, 0)
    labels = torch.where(torch.arange(20) == 3, 1, 0)
    gap = source_mismatch(Coupling.create("ot"), fitted("gmm"), x1, labels)
    assert 0.0 <= gap.coefficient <= 1.0
    assert gap.conditions == 2


def test_samples_that_are_all_one_point_agree() -> None:
    gap = compare_samples(torch.ones(6, 2), torch.ones(6, 2), None, permutations=3)
    assert (gap.energy, gap.coefficient, gap.p_value) == (0.0, 0.0, 1.0)


def test_nothing_to_compare() -> None:
    x1, labels = two_classes(10, 0)
    with pytest.raises(InputError, match="got 0 rows"):
        source_mismatch(Coupling.create("condot"), fitted("gmm"), x1[:0], labels[:0])
    with pytest.raises(InputError, match="permutations=0"):
        source_mismatch(Coupling.create("condot"), fitted("gmm"), x1, labels, permutations=0)
    with pytest.raises(InputError, match="no latent variables"):
        source_mismatch(Coupling.create("posterior"), fitted("gaussian"), x1, labels)
