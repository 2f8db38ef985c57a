"""scikit-learn's digits as the studies take them, and what is measured of a label that no training has seen.

data = "digits-without-nines"
values = "benchmarks.studies.digits:unseen"
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies import CLASSIFIERS, Row, draw, everything, rows_of
from flowprior.data import DATA, Data, TensorData, load_data
from flowprior.features import load_classifier
from flowprior.features.classifier import Classifier
from flowprior.flow import Flow
from flowprior.metrics import wasserstein2_squared

CLASSES = 10
SAMPLES = 500
UNSEEN = 9
"""The label that the training split of ``digits-without-nines`` lacks."""
BALANCED = torch.arange(SAMPLES) % CLASSES
"""Labels, each class equally often."""


@cache
def split(name: str) -> TensorData:
    """The ``"train"`` or ``"test"`` split."""
    data = load_data("digits", name)  # type: ignore[arg-type]
    assert isinstance(data, TensorData)
    return data


@cache
def classifier() -> Classifier:
    """The committed classifier, whose features the stored distances are of."""
    return load_classifier(CLASSIFIERS / "digits-f607d1b6.safetensors", split("train"))


@DATA.register("digits-without-nines")
def without_nines(split: Any = "train") -> Data:
    """Digits whose training split lacks a class."""
    data = load_data("digits", split)
    if split != "train":
        return data
    x, labels = everything(data)
    seen = labels != UNSEEN
    return TensorData(x[seen], labels[seen], name="digits-without-nines", classes=CLASSES, is_image=True)


def unseen(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Return the classifier's answers for samples of the unseen and of a seen label, and their W2²."""
    rows = []
    test, labels = everything(split("test"))
    seen, _ = everything(without_nines())
    for label in (UNSEEN, 0):
        x = draw(flow, torch.full((SAMPLES,), label), 15, cell.seed).clamp(-1, 1)
        found = classifier()(x).argmax(1).bincount(minlength=CLASSES) / len(x)
        values = {f"share_seen_as_{digit}": share for digit, share in enumerate(found.tolist())}
        values["w2_squared_unseen_class"] = wasserstein2_squared(x[:360], test[labels == UNSEEN])
        values["w2_squared_seen_classes"] = wasserstein2_squared(x[:360], seen[:360])
        rows += rows_of(values, nfe=15, sampler="euler", condition=label)
    return rows


def within_class_deviation(x: Tensor, labels: Tensor) -> Tensor:
    """Root mean square distance to the own class's mean, a dimension."""
    parts = [x[labels == label].flatten(1) for label in labels.unique().tolist()]
    return torch.cat([(part - part.mean(0)).square().mean(1) for part in parts]).mean().sqrt()
