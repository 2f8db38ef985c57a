"""What the experiments on scikit-learn's digits share: data, network, budget and figures.

Digits (1,797 pictures of 8 × 8, ten classes) and a small MLP: a busy core trains hundreds of them.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from benchmarks.studies.ensemble import Budget
from benchmarks.studies.judge import Judge
from benchmarks.studies.sampling import draw_samples
from benchmarks.studies.validation import everything
from flowprior.data import Data, TensorData, load_data
from flowprior.errors import InputError
from flowprior.flow import Flow
from flowprior.metrics import wasserstein2_per_condition

CLASSES = 10
NFES = (0, 1, 4, 15)
SAMPLES = 500
BUDGET = Budget()


@cache
def splits() -> tuple[TensorData, TensorData]:
    """Training and test split."""
    train, test = load_data("digits"), load_data("digits", "test")
    assert isinstance(train, TensorData)
    assert isinstance(test, TensorData)
    return train, test


@cache
def judge() -> Judge:
    """Features of the digits' own classifier, against the test split."""
    train, test = splits()
    return Judge(train, {"test": test}, SAMPLES, with_lite0=False)


def balanced_labels(count: int = SAMPLES) -> Tensor:
    """``count`` labels, each class equally often."""
    return torch.arange(count) % CLASSES


def with_pictures(x: Tensor, labels: Tensor | None, name: str) -> TensorData:
    """Pictures x ``[N, 1, 8, 8]`` as a data set of the digits' kind."""
    classes = None if labels is None else CLASSES
    return TensorData(x, labels, name=name, classes=classes, is_image=True)


def first_of_each(data: Data, count: int, seed: int) -> TensorData:
    """``count`` examples of each class, or all where a class has fewer; chosen by ``seed``."""
    x, labels = everything(data)
    assert labels is not None
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    rows = torch.cat([order[labels[order] == label][:count] for label in range(CLASSES)])
    return with_pictures(x[rows], labels[rows], f"digits-{count}-of-each")


def measure(
    flow: Flow, seed: int, sampler: str = "euler", nfes: tuple[int, ...] = NFES
) -> list[dict[str, float]]:
    """One row of figures for each number of evaluations, from the same source samples.

    Features-FID and accuracy by the digits' classifier, and W2² in the space of pictures, averaged over
    classes where the flow has labels.
    """
    labels = None if flow.condition.kind == "none" else balanced_labels()
    rows = []
    for nfe in nfes:
        generator = torch.Generator().manual_seed(1000 + seed)
        count = SAMPLES if labels is None else None
        x = draw_samples(flow, labels, nfe, count=count, generator=generator, sampler=sampler)
        rows.append({"nfe": nfe, **figures(x, labels)})
    return rows


def figures(x: Tensor, labels: Tensor | None) -> dict[str, float]:
    """Figures of samples x ``[N, 1, 8, 8]`` against the test split.

    Raises:
        InputError: samples that are not finite.
    """
    if not x.isfinite().all():
        raise InputError("digits: expected finite samples")
    real, real_labels = everything(splits()[1])
    found = judge().figures(x, labels)["test"]
    distances = wasserstein2_per_condition(
        x.clamp(-1, 1), labels, real, None if labels is None else real_labels, 360
    )
    return {**found, "w2_squared": sum(distances.values()) / len(distances)}


@cache
def floor(with_labels: bool = True) -> dict[str, float]:
    """Figures of real training pictures in place of samples."""
    x, labels = everything(splits()[0])
    labels = labels if with_labels else None
    return figures(x[:SAMPLES], None if labels is None else labels[:SAMPLES])
