"""Data that the rules of ``--prior auto`` were not made on, and the distance that its choice is judged by.

data = "table:of=breast-cancer"
values = "benchmarks.studies.auto:values"

Four tables of scikit-learn's, each column in standard deviations from its mean over the training split: 569
biopsies under 2 labels; 150 irises under 3; of 442 people six serum measurements under age, sex, body mass
and blood pressure; 178 wines under 3 labels, on which the rules were made. And a roll in three dimensions,
under the quarter of its length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies import Row, everything, generator, rows_of
from flowprior.data import DATA, TensorData
from flowprior.data.base import Split
from flowprior.data.splits import split_indices
from flowprior.flow import Flow
from flowprior.inspection import energy_coefficient
from flowprior.registry import choose

NFES = (0, 1, 4, 15)
TIMES = 10
"""Samples for each test event."""
QUARTERS = 4
Table = tuple[Tensor, Tensor]


def breast_cancer() -> Table:
    """Thirty numbers of each biopsy, and whether it is benign."""
    from sklearn.datasets import load_breast_cancer

    return _labelled(*load_breast_cancer(return_X_y=True))


def wine() -> Table:
    """Thirteen numbers of each wine, and its cultivar."""
    from sklearn.datasets import load_wine

    return _labelled(*load_wine(return_X_y=True))


def iris() -> Table:
    """Four lengths of each flower, and its species."""
    from sklearn.datasets import load_iris

    return _labelled(*load_iris(return_X_y=True))


def diabetes() -> Table:
    """Six serum measurements of each person, under age, sex, body mass index and blood pressure."""
    from sklearn.datasets import load_diabetes

    x = torch.from_numpy(load_diabetes(return_X_y=True, scaled=False)[0]).float()
    return x[:, 4:], x[:, :4]


def swiss_roll() -> Table:
    """Two thousand points of a rolled-up sheet, under the quarter of its length that they lie in."""
    from sklearn.datasets import make_swiss_roll

    x, along = make_swiss_roll(2000, noise=0.3, random_state=0)
    place = torch.from_numpy(along).argsort().argsort()
    return torch.from_numpy(x).float(), place * QUARTERS // len(place)


def _labelled(x: Any, y: Any) -> Table:
    return torch.from_numpy(x).float(), torch.from_numpy(y).long()


TABLES: Mapping[str, Callable[[], Table]] = {
    "breast-cancer": breast_cancer,
    "wine": wine,
    "iris": iris,
    "diabetes": diabetes,
    "swiss-roll": swiss_roll,
}


@DATA.register("table")
def table(split: Split = "train", of: str = "breast-cancer", seed: int = 0) -> TensorData:
    """A table of scikit-learn's, its columns in standard deviations; three in ten rows are the test split.

    Args:
        split: ``"train"`` or ``"test"``.
        of: which table.
        seed: another seed gives another split.
    """
    choose("table", "of", of, tuple(TABLES))
    x, cond = TABLES[of]()
    options: Any = {"test_fraction": 0.3, "seed": seed}
    options["labels"] = None if cond.is_floating_point() else cond
    known, rows = (split_indices(len(x), part, **options) for part in ("train", split))
    x = _in_deviations(x, known)
    cond = _in_deviations(cond, known) if cond.is_floating_point() else cond
    return TensorData(x[rows], cond[rows], name=of, classes=_classes(cond))


def _in_deviations(x: Tensor, rows: Tensor) -> Tensor:
    return (x - x[rows].mean(0)) / x[rows].std(0)


def _classes(cond: Tensor) -> int | None:
    return None if cond.is_floating_point() else int(cond.max()) + 1


def values(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """``energy-distance`` at every number of evaluations, by the sampler that suits the flow.

    Unbiased, as a share of the largest it could be, averaged over labels; of events and conditions together
    where these are numbers.
    """
    x, cond = everything(data.test)
    rows = []
    for nfe in NFES:
        drawn = flow.sample(
            cond.repeat(TIMES, *[1] * (cond.dim() - 1)), nfe=nfe, generator=generator(cell.seed)
        )
        found = {"energy-distance": energy_distance(drawn, x, cond)}
        rows += rows_of(found, nfe=nfe, sampler=flow.default_sampler, samples=len(drawn), split="test")
    return rows


def energy_distance(drawn: Tensor, x: Tensor, cond: Tensor) -> float:
    """Between ``drawn`` ``[TIMES · N, D]``, for the conditions one after another, and events x ``[N, D]``."""
    told = cond.repeat(len(drawn) // len(cond), *[1] * (cond.dim() - 1))
    if cond.is_floating_point():
        joint = torch.cat([drawn, told], 1).double()
        return energy_coefficient(joint, torch.cat([x, cond], 1).double())
    labels = cond.unique().tolist()
    found = [energy_coefficient(drawn[told == label].double(), x[cond == label].double()) for label in labels]
    return sum(found) / len(labels)
