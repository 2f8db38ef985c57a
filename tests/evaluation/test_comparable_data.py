"""Data in other units, or with labels in another order, are refused in place of being compared."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from flowprior import Coupling, Flow, Path, Prior, evaluate
from flowprior.conditions import Condition
from flowprior.data import TensorData
from flowprior.errors import InputError
from flowprior.streams.data import Annotation

CELLS = Annotation("X_pca", ("PC1", "PC2"), (2.0,), (0.0,), "cell_type")
NAMES = ["A", "B", "C"]


def cells(annotation: Annotation = CELLS, names: list[str] | None = None) -> TensorData:
    found = names or NAMES
    labels = torch.arange(120) % len(found)
    data = TensorData(torch.randn(120, 2), labels, classes=len(found), class_names=found)
    data.annotation = annotation
    return data


@pytest.fixture
def flow() -> Flow:
    """Of cells with three types; its network stands still."""
    prior = Prior.create("gmm").fit(cells())
    facts = {"class_names": NAMES, "annotation": CELLS.as_dict()}
    parts = prior, Coupling.create("condot"), Path.create("condot"), Condition("labels", 3)
    return Flow(lambda x, t, cond: torch.zeros_like(x), *parts, metadata={"data": facts})


def compared(flow: Flow, reference: TensorData, data: TensorData | None = None) -> float:
    """The sliced W2² that an evaluation finds."""
    options = {"nfe": [1], "samples": 60, "metrics": ["sliced-w2"], "progress": False}
    found = evaluate(flow, data or cells(), reference=reference, **options)
    return next(row["value"] for row in found.rows if row["nfe"] == 1)


def test_data_of_the_same_units_and_names_or_the_first_of_them_are_compared(flow: Flow) -> None:
    assert compared(flow, cells()) >= 0
    assert compared(flow, cells(dataclasses.replace(CELLS, scale=(2.0, 2.0)))) >= 0
    assert compared(flow, cells(names=["A", "B"]), cells(names=["A", "B"])) >= 0


@pytest.mark.parametrize(
    "change",
    [
        {"scale": (6.0,)},
        {"scale": (2.0, 2.1)},
        {"shift": (0.5,)},
        {"key": "X_umap"},
        {"names": ("PC2", "PC1")},
    ],
)
def test_other_units_are_refused(flow: Flow, change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="expected events in the units of the flow's data"):
        compared(flow, cells(dataclasses.replace(CELLS, **change)))


@pytest.mark.parametrize("names", [["B", "C"], ["A", "C", "B"]])
def test_labels_in_another_order_are_refused(flow: Flow, names: list[str]) -> None:
    with pytest.raises(InputError, match=r"expected labels A, B, C in this order, got .* with"):
        compared(flow, cells(names=names))
