"""Labels with few examples: the data, and what is measured of the flows.

values = "benchmarks.studies.few_labels:values"

Labels are judged one by one: the other labels of a data set may have all of their examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies import CLASSIFIERS, Row, everything, generator, rows_of
from flowprior.data import DATA, Data, TensorData, load_data
from flowprior.features import load_classifier
from flowprior.flow import Flow
from flowprior.metrics.kernel import polynomial_mmd2
from flowprior.registry import parse_spec

GRIDS: Mapping[str, str] = {
    "uniform": "euler",
    "power": "euler:grid=power,exponent=0.5",
    "last-0.7": "euler:grid=last,at=0.7",
}
NFES = (0, 1, 4, 15)
SAMPLES = 500
CLASSES = 10
DISTANCE = "kernel-distance"
NEAREST = "nearest-q05"
CLOSE = 0.05
"""Quantile of the distances to the nearest training example."""
JUDGES: Mapping[str, str] = {
    "few-digits": "digits-f607d1b6",
    "few-fashion-mnist": "fashion-mnist-train55000-3e318618",
}
"""Data set -> the committed classifier whose features distances are of."""


def few_of_each(data: Data, split: str, count: int, seed: int, alone: int | None) -> tuple[Tensor, Tensor]:
    """Events and labels of ``count`` examples of each label, or of the label ``alone`` and all of the others.

    Labels with fewer have all of theirs, and the ``"test"`` split is whole. Another ``seed`` chooses others.
    """
    x, labels = everything(data)
    if split != "train":
        return x, labels
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    classes = range(int(labels.max()) + 1)
    most = [count if alone in (None, label) else len(labels) for label in classes]
    order = torch.cat([order[labels[order] == label][: most[label]] for label in classes])
    return x[order], labels[order]


def _few_of(name: str, split: Any, count: int, seed: int, alone: int | None) -> TensorData:
    x, labels = few_of_each(load_data(name, split), split, count, seed, alone)
    whose = "each" if alone is None else alone
    return TensorData(x, labels, name=f"{name}-{count}-of-{whose}", classes=CLASSES, is_image=True)


@DATA.register("few-digits")
def few_digits(split: Any = "train", count: int = 5, seed: int = 0, alone: int | None = None) -> TensorData:
    """Digits with ``count`` training examples of each class, or of the class ``alone``; the whole test split.

    Args:
        split: ``"train"`` or ``"test"``.
        count: examples of each class.
        seed: another seed chooses others.
        alone: the only class that has so few, beside the others with all of theirs; None for every class.
    """
    return _few_of("digits", split, count, seed, alone)


@DATA.register("few-fashion-mnist")
def few_fashion_mnist(
    split: Any = "train", count: int = 5, seed: int = 0, alone: int | None = None
) -> TensorData:
    """Fashion-MNIST, as :func:`few_digits` takes digits."""
    return _few_of("fashion-mnist", split, count, seed, alone)


def values(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Of the labels with the fewest examples, at every number of evaluations and with every grid of times.

    ``kernel-distance``: unbiased squared kernel distance (Bińkowski et al. 2018) between samples and test
    pictures of a label on a classifier's features, the mean over the labels. ``nearest-q05``: the
    5 % quantile of the samples' distances to the nearest training example of their label, over that of its
    test pictures; the mean over the labels. 1: as far as pictures that are new; 0: copies.
    """
    judge = JUDGES[parse_spec(cell.config.data, "data").name]
    features = load_classifier(CLASSIFIERS / f"{judge}.safetensors", data.train).features
    (x, labels), (test, test_labels) = everything(data.train), everything(data.test)
    count = torch.bincount(labels)
    few = (count == count.min()).nonzero()[:, 0]
    cond = few[torch.arange(SAMPLES) % len(few)]
    rows = []
    for nfe in NFES:
        for name, sampler in GRIDS.items():
            drawn = flow.sample(cond, nfe=nfe, sampler=sampler, generator=generator(cell.seed)).clamp(-1, 1)
            distances, nearest = [], []
            for label in few:
                own, real = drawn[cond == label], test[test_labels == label]
                distances.append(polynomial_mmd2(features(own), features(real)))
                nearest.append(_nearness(own, real, x[labels == label]))
            for metric, found in ((DISTANCE, distances), (NEAREST, nearest)):
                mean = sum(found) / len(found)
                rows += rows_of({metric: mean}, nfe=nfe, sampler=name, samples=SAMPLES, split="test")
    return rows


def _nearness(drawn: Tensor, real: Tensor, known: Tensor) -> float:
    """Quantile of the distances to the nearest ``known`` event, of ``drawn`` over ``real`` ones."""
    drawn, real = (torch.cdist(x.flatten(1), known.flatten(1)).amin(1).quantile(CLOSE) for x in (drawn, real))
    return float(drawn / real)
