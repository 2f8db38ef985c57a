"""Functions that the grids of test_hooks.py name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowprior.evaluation.result import table_row
from flowprior.flow import Flow
from flowprior.metrics import MetricInfo
from flowprior.study import Splits
from flowprior.study.runs import StudyRun
from flowprior.training import RunConfig, train

trained: list[str] = []
"""The runs that were trained since a test cleared it."""


def trainer(config: RunConfig, data: Any, out: Path) -> Flow:
    """Trains as the library does, on the training split that it is given."""
    trained.append(f"{config.prior} {config.training.seed} {len(data)}")
    return train(data, config=config, out=out)


def secretive_trainer(config: RunConfig, data: Any, out: Path) -> Flow:
    """Trains and keeps nothing."""
    return train(data, config=config)


def values(flow: Flow, cell: StudyRun, data: Splits) -> list[dict[str, Any]]:
    """The number of test events, once at each NFE."""
    return [table_row("events", float(len(data.test)), sampler="euler", nfe=nfe) for nfe in (0, 2)]


values.metrics = {"events": MetricInfo("test events", 1, better="higher")}  # type: ignore[attr-defined]
