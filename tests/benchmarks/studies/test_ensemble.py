"""Flows that are trained side by side: members, their prior, and that they learn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.studies.digits import OtherPriorData, unlabelled
from benchmarks.studies.ensemble import train_cells
from flowprior.data import TensorData
from flowprior.flow import Flow
from flowprior.training import TrainingConfig
from flowprior.training.config import RunConfig

BUDGET: dict[str, Any] = {"steps": 12, "batch_size": 16, "warmup": 2, "lr": 5e-3, "ema": 0.99}
CONDOT, DIAGONAL = ("gaussian", "condot"), ("gmm:reg_covar=0.01", "ot")


def points(classes: int | None = 3) -> TensorData:
    labels = torch.arange(90) % 3
    noise = torch.randn(90, 2, generator=torch.Generator().manual_seed(0))
    cond = None if classes is None else labels
    return TensorData(0.3 * noise + 4 * labels[:, None], cond, name="points", classes=classes)


def trained(
    *pairs: tuple[str, str],
    data: Any = None,
    seeds: tuple[int, ...] = (0,),
    model: str = "mlp:width=16,depth=1",
    **budget: Any,
) -> list[tuple[Any, Flow]]:
    """The cells of these priors and couplings with their flows."""
    cells = [
        SimpleNamespace(
            seed=seed,
            config=RunConfig(
                prior=prior,
                coupling=coupling,
                model=model,
                training=TrainingConfig(**{**BUDGET, **budget}, seed=seed),
            ),
        )
        for seed in seeds
        for prior, coupling in pairs
    ]
    return list(train_cells(cells, data or points()))


def samples(flow: Flow, labels: torch.Tensor) -> torch.Tensor:
    return flow.sample(labels, nfe=4, generator=torch.Generator().manual_seed(0))


def test_a_member_is_the_same_alone_and_in_company() -> None:
    labels = torch.arange(30) % 3
    for (_, flow), pair in zip(trained(CONDOT, DIAGONAL), (CONDOT, DIAGONAL), strict=True):
        ((_, alone),) = trained(pair)
        torch.testing.assert_close(samples(flow, labels), samples(alone, labels), rtol=1e-3, atol=1e-3)


def test_every_cell_comes_with_the_flow_of_its_seed_and_parts() -> None:
    found = trained(CONDOT, DIAGONAL, seeds=(0, 1))
    assert [(cell.config.prior, cell.seed) for cell, _ in found] == [
        ("gaussian", 0),
        ("gmm:reg_covar=0.01", 0),
        ("gaussian", 1),
        ("gmm:reg_covar=0.01", 1),
    ]
    labels = torch.arange(30) % 3
    first, _, second, _ = (samples(flow, labels) for _, flow in found)
    assert not torch.allclose(first, second)


def test_members_learn() -> None:
    """From N(0, I) the samples have moved to their classes, which lie at 0, 4 and 8."""
    labels = torch.arange(300) % 3
    ((_, flow),) = trained(CONDOT, model="mlp:width=32,depth=1", steps=100, lr=3e-2, ema=0.9)
    means = torch.stack([samples(flow, labels)[labels == k].mean(0) for k in range(3)])
    assert means[0].max() < means[1].min() < means[1].max() < means[2].min()
    assert means[2].min() > 3


def test_data_without_a_condition_train_flows_without_one() -> None:
    ((_, flow),) = trained(("gmm", "independent"), data=points(None))
    assert flow.sample(None, 7, nfe=2).shape == (7, 2)


def test_a_prior_is_fitted_to_the_data_that_are_meant_for_it() -> None:
    data = OtherPriorData(unlabelled(), "digits")
    ((_, flow),) = trained(("gmm", "independent"), data=data, steps=2, warmup=1)
    assert flow.condition.kind == "labels"
    ((_, plain),) = trained(("gmm", "independent"), data=unlabelled(), steps=2, warmup=1)
    assert torch.equal(flow.prior.get_buffer("loc"), plain.prior.get_buffer("loc"))
