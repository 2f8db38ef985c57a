"""The evaluation of the flows of a run, as rows of the long table; and what is checked of it beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowprior.errors import CheckpointError, OptionError
from flowprior.evaluation.evaluating import evaluate, joined
from flowprior.evaluation.result import COLUMNS, REAL_DATA, Result
from flowprior.features.base import as_extractor
from flowprior.flow import Flow
from flowprior.metrics.base import select
from flowprior.registry.options import did_you_mean
from flowprior.study.folder import RunFolder
from flowprior.study.grid import Curve, Grid
from flowprior.study.hooks import load_hook
from flowprior.study.runs import StudyRun
from flowprior.study.splits import Splits
from flowprior.training.components import resolve_device

Rows = list[dict[str, Any]]


def check_evaluation(grid: Grid) -> None:
    """Check, before any training, that metrics and features are known and installed and give ``metric``.

    Raises:
        OptionError: they are not, or no metric gives a value of this name.
    """
    options = grid.evaluation
    for name in ("metrics", "features"):
        if not isinstance(options.get(name, ""), str | list | tuple):
            raise OptionError(
                f"compare: evaluation.{name}={options[name]!r} is not possible; give a list of names"
            )
    for feature in options.get("features", ()):
        as_extractor(feature)
    names = [metric.names for metric in select(options.get("metrics", "quick"))]
    if not grid.metric or grid.values or None in names:
        return  # a function of the grid's, or a metric of another package, may give it
    known = [name for own in names for name in own or ()]
    if not any(grid.metric == name or grid.metric.startswith(f"{name}-") for name in known):
        raise OptionError(
            f"compare: metric='{grid.metric}' is not measured{did_you_mean(grid.metric, known)} the metrics "
            f"of this grid give {', '.join(known) or 'none that can be ranked'}"
        )


def evaluate_run(run: StudyRun, place: RunFolder, splits: Splits) -> Result:
    """Return the values of a run: of its flow by every sampler, and of the flows on the way by the first one.

    A trainer of the grid's may have kept none on the way.
    """
    own, shown = {"seed": run.seed}, {"flow": run.variant.label, "seed": run.seed}
    flow = load_flow(place, None, run.config.training.device)
    found = evaluate_flow(run, flow, splits, run.variant.specs, run.grid)
    rows = [row | (own if row["flow"] == REAL_DATA else shown) for row in found.rows]
    metrics = dict(found.metrics)
    for step in run.curve:
        is_last = step == run.config.training.steps
        if run.variant.trainer and not is_last and not place.flow_at(step).is_dir():
            continue
        reached = flow if is_last else load_flow(place, step, run.config.training.device)
        part = evaluate_flow(run, reached, splits, run.variant.specs[:1], run.grid.curve)
        rows += [row | shown | {"step": step} for row in part.rows if row["flow"] != REAL_DATA]
        metrics = part.metrics | metrics
    if run.grid.values:
        function = load_hook("values", run.grid.values)
        metrics |= getattr(function, "metrics", {})
        empty = dict.fromkeys(COLUMNS) | shown
        for row in function(flow, run, splits):
            rows.append(empty | {name: value for name, value in row.items() if value is not None})
    return Result(rows, metrics, found.settings, found.notes)


def evaluate_flow(
    run: StudyRun, flow: Flow, splits: Splits, samplers: Sequence[str], counts: Grid | Curve
) -> Result:
    """Evaluate a flow as a run asks for it, by these samplers.

    Each split that the grid names and each further reference get samples for their own conditions.
    """
    grid = run.grid
    terms: dict[str, Any] = {
        "nfe": counts.nfe,
        "sampler": samplers,
        "samples": counts.samples,
        "guidance": grid.guidance,
        "seed": run.seed + grid.evaluation_seed,
        "conditions": grid.conditions,
        **grid.evaluation,
    }
    own = {"test": splits.test, "validation": splits.validation}
    references = {name: own[name] for name in grid.splits} | dict(splits.references)
    return joined(
        {
            name: evaluate(flow, splits.train, reference=data, split=name, **terms)
            for name, data in references.items()
            if data is not None
        }
    )


def load_flow(place: RunFolder, step: int | None, device: str) -> Flow:
    """Return the flow of a run after ``step`` steps (None: the trained one), on ``device``."""
    path = place.flow_at(step)
    if not path.is_dir():
        raise CheckpointError(f"{path} is missing; remove {place.path} and run the comparison again")
    # By the run, which says whether the flow in it is its own.
    return Flow.load(place.run if step is None else path, device=resolve_device(device))
