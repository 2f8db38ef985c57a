"""How the stored values were made, and the rows that further values of a trained flow are kept as.

Labels are balanced (example i has label i mod the number of classes), and the source samples come from a
generator that is seeded by 1000 + the seed of the training, anew at every number of evaluations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowprior.data import Data
from flowprior.evaluation.result import table_row
from flowprior.flow import Flow
from flowprior.priors import Prior
from flowprior.study.table import facts_of, rows_of_run
from flowprior.training.run import describe_machine

SEED = 1000
STUDIES = Path(__file__).parent
RESULTS, CLASSIFIERS = STUDIES.parent / "results", STUDIES.parent / "classifiers"
Row = dict[str, Any]


def generator(seed: int) -> torch.Generator:
    """The generator of the source samples of a flow that was trained with ``seed``."""
    return torch.Generator().manual_seed(SEED + seed)


def everything(data: Data) -> tuple[Tensor, Tensor]:
    """All events of ``data`` and their conditions.

    Raises:
        TypeError: the data have no condition, or one of several parts.
    """
    x, cond = data.batch(torch.arange(len(data)))
    if not isinstance(cond, Tensor):
        raise TypeError(f"{data.name}: expected labels or embeddings, got {data.condition.describe()}")
    return x, cond


def draw(
    flow: Flow,
    cond: Tensor | None,
    nfe: int,
    seed: int,
    count: int | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """Samples ``[N, *event]`` by Euler, from the same source samples at every ``nfe``; 0 leaves these.

    N is ``count`` where there is no condition; ``batch_size`` samples are solved at once.
    """
    options = {"generator": generator(seed), "batch_size": batch_size}
    return flow.sample(cond, count, nfe=nfe, sampler="euler", **options).float()


def fit_prior(spec: str, data: Data, seed: int) -> Prior:
    """The prior that ``spec`` names, fitted."""
    prior: Prior = Prior.registry.resolve(spec)
    return prior.fit(data.batches(), generator=torch.Generator().manual_seed(seed))


def rows_of(values: dict[str, float], **columns: Any) -> list[Row]:
    """A row of the long table for each metric and its value, with these further columns.

    ``flow`` and ``seed`` of a trained cell's own values are filled in where the study keeps them.
    """
    return [table_row(metric, value, **columns) for metric, value in values.items()]


def own_run(name: str, setting: dict[str, Any], rows: list[Row], **facts: Any) -> list[Row]:
    """The rows of a run that no grid runs, such as a prior's that nothing is trained from.

    Args:
        name: of the run.
        setting: what decided its values.
        rows: of :func:`rows_of`.
        facts: what else is known of it, beside commit, versions and machine.
    """
    told = facts_of(describe_machine(torch.device("cpu"))) | facts
    return rows_of_run(name, setting, told, rows)
