"""Evaluate the flows of a cell: rows of the long table, with the samples behind them kept in files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from flowprior.errors import CheckpointError, OptionError
from flowprior.evaluation import sweep
from flowprior.evaluation.result import COLUMNS, REAL_DATA, Result
from flowprior.features import as_extractor
from flowprior.flow import Flow
from flowprior.metrics.base import select
from flowprior.metrics.setup import Generate
from flowprior.samplers import Sampler
from flowprior.study.cell_file import CellFolder
from flowprior.study.cells import Cell
from flowprior.study.grid import Grid, check_evaluation
from flowprior.study.hooks import load_hook
from flowprior.study.samples import Recorder
from flowprior.study.splits import Splits
from flowprior.training.components import resolve_device

Request = Mapping[str, Any]
"""What an evaluation is asked: sampler, nfe, samples, guidance, seed, conditions, and options of the grid."""


def check_evaluation_parts(options: Mapping[str, Any]) -> None:
    """Check that metrics and features of ``[evaluation]`` can be had, before anything is trained.

    Raises:
        FlowpriorError: an unknown name, an impossible option, or an extra that is not installed.
    """
    for name in ("metrics", "features"):
        if not isinstance(options.get(name, ""), str | list | tuple):
            raise OptionError(
                f"compare: evaluation.{name}={options[name]!r} is not possible; give a list of names"
            )
    select(options.get("metrics", "quick"))
    for feature in options.get("features", ()):
        as_extractor(feature)


def evaluate_cell(cell: Cell, place: CellFolder, grid: Grid, splits: Splits) -> dict[str, Any]:
    """Evaluate the trained flow of a cell and those on the way to it, and write the samples.

    Returns:
        ``metrics`` and ``rows`` of the cell file, and ``evaluations``: what each was asked.
    """
    device = cell.config.training.device
    flow = load_flow(place, None, device)
    rows, metrics, evaluations = [], {}, []
    for number, (step, name, request) in enumerate(_requests(cell, grid)):
        reached = flow if step in (None, cell.config.training.steps) else load_flow(place, step, device)
        recorder, path = Recorder(reached), place.samples(name)
        found = evaluate_request(request, reached, splits, recorder)
        recorder.save_samples(path)
        rows += kept_rows(found, number, flow=cell.variant.label, step=step, seed=cell.seed)
        metrics = {name: asdict(info) for name, info in found.metrics.items()} | metrics
        evaluations.append({"step": step, "samples": path.name} | _described(request, found))
    own_rows, own_metrics = _further_values(flow, cell, grid, splits)
    return {"metrics": metrics | own_metrics, "rows": rows + own_rows, "evaluations": evaluations}


def _requests(cell: Cell, grid: Grid) -> Iterator[tuple[int | None, str, Request]]:
    """Step, name and request of each: by every sampler, then of the flows on the way by the first one."""
    curve = grid.curve
    asked = [(None, f"sampler{number}", spec, grid) for number, spec in enumerate(cell.samplers)]
    on_the_way = [(step, f"step-{step:06d}", cell.samplers[0], curve) for step in cell.curve]
    for step, name, sampler, counts in [*asked, *on_the_way]:
        request = {
            "sampler": sampler,
            "nfe": counts.nfe,
            "samples": counts.samples,
            "guidance": grid.guidance,
            "seed": cell.seed + grid.evaluation_seed,
            "conditions": grid.conditions,
            "options": dict(grid.evaluation),
        }
        yield step, name, request


def evaluate_request(request: Request, flow: Flow, splits: Splits, generate: Generate) -> Result:
    """Evaluate ``flow`` as it is asked, on the samples that ``generate`` gives in place of ``flow.solve``.

    Raises:
        OptionError: an option that a grid cannot have.
    """
    check_evaluation(request["options"])
    references = {"test": splits.test, "validation": splits.validation}
    return sweep(
        flow,
        splits.train,
        references={name: data for name, data in references.items() if data is not None},
        nfe=request["nfe"],
        samplers=[request["sampler"]],
        samples=request["samples"],
        guidances=[request["guidance"]],
        seeds=[request["seed"]],
        conditions=request["conditions"],
        generate=generate,
        **request["options"],
    )


def kept_rows(found: Result, number: int, **columns: Any) -> list[dict[str, Any]]:
    """What the cell file keeps of its ``number``-th evaluation, with ``flow``, ``step`` and ``seed`` set.

    What no sampler changes is kept of the first one alone, real data's values not of flows on the way.
    """
    rows = found.tagged(**columns).rows
    if columns["step"] is not None:
        return [row for row in rows if row["flow"] != REAL_DATA]
    return [row for row in rows if number == 0 or row["sampler"] is not None]


def load_flow(place: CellFolder, step: int | None, device: str) -> Flow:
    """The flow of a cell after ``step`` steps (None: the trained one), on ``device``.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = place.flow_at(step)
    if not path.is_dir():
        raise CheckpointError(f"{path} is missing; remove {place.path} and run the comparison again")
    return Flow.load(path, device=resolve_device(device))


def _further_values(
    flow: Flow, cell: Cell, grid: Grid, splits: Splits
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Rows of the grid's ``values`` function, and what its metrics are, by its attribute ``metrics``."""
    if not grid.values:
        return [], {}
    function = load_hook("values", grid.values)
    empty = dict.fromkeys(COLUMNS) | {"flow": cell.variant.label, "seed": cell.seed}
    found = function(flow, cell, splits)
    rows = [empty | {name: value for name, value in row.items() if value is not None} for row in found]
    return rows, {name: asdict(info) for name, info in getattr(function, "metrics", {}).items()}


def _described(request: Request, found: Result) -> dict[str, Any]:
    """What is needed to compute the values again: request, counts that the sampler could spend, settings."""
    adaptive = Sampler.registry.resolve(request["sampler"]).adaptive
    spent = request["nfe"] if adaptive else [row["nfe"] for row in found.rows if row["nfe"] is not None]
    return {
        "adaptive": adaptive,
        "request": request,
        "spent": list(dict.fromkeys(spent)),
        "settings": found.settings,
        "notes": found.notes,
    }
