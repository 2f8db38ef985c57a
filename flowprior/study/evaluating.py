"""Evaluate the flows of a cell: rows of the long table, with the samples behind them kept in files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

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


@dataclass(frozen=True)
class Request:
    """What an evaluation is asked.

    Attributes:
        sampler: spec.
        nfe: evaluations of the velocity.
        samples: how many to generate at each.
        guidance: strength of classifier-free guidance.
        seed: of conditions and source samples.
        conditions: ``"reference"`` or ``"balanced"``.
        options: further options of :func:`flowprior.evaluation.sweep`.
    """

    sampler: str
    nfe: tuple[int, ...]
    samples: int
    guidance: float
    seed: int
    conditions: str
    options: Mapping[str, Any]

    def of(self, flow: Flow, splits: Splits, generate: Generate | None = None) -> Result:
        """Evaluate ``flow``, on samples that ``generate`` gives in place of ``flow.solve``."""
        references = {"test": splits.test, "validation": splits.validation}
        return sweep(
            flow,
            splits.train,
            references={name: data for name, data in references.items() if data is not None},
            nfe=self.nfe,
            samplers=[self.sampler],
            samples=self.samples,
            guidances=[self.guidance],
            seeds=[self.seed],
            conditions=self.conditions,  # type: ignore[arg-type]
            generate=generate,
            **self.options,
        )


class Asked(NamedTuple):
    """One evaluation of a cell: of the flow after ``step`` steps (None: the trained one)."""

    step: int | None
    file: str
    request: Request
    first: bool

    def rows(self, found: Result, label: str, seed: int) -> list[dict[str, Any]]:
        """What the cell file keeps of it; what no sampler changes comes from the first evaluation alone."""
        rows = found.tagged(flow=label, step=self.step, seed=seed).rows
        if self.step is not None:
            return [row for row in rows if row["flow"] != REAL_DATA]
        return rows if self.first else [row for row in rows if row["sampler"] is not None]


def asked_of(cell: Cell, grid: Grid) -> Iterator[Asked]:
    """The evaluations of a cell: by every sampler, then of the flows on the way by the first one."""
    more = (cell.seed + grid.evaluation_seed, grid.conditions, grid.evaluation)
    for number, spec in enumerate(cell.samplers):
        request = Request(spec, grid.nfe, grid.samples, grid.guidance, *more)
        yield Asked(None, f"sampler{number}", request, number == 0)
    for step in cell.curve:
        request = Request(cell.samplers[0], grid.curve.nfe, grid.curve.samples, grid.guidance, *more)
        yield Asked(step, f"step-{step:06d}", request, True)


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
    for asked in asked_of(cell, grid):
        reached = flow if asked.step in (None, cell.config.training.steps) else None
        recorder = Recorder(reached or load_flow(place, asked.step, device))
        found = asked.request.of(recorder.flow, splits, recorder)
        path = place.samples(asked.file)
        recorder.save_samples(path)
        rows += asked.rows(found, cell.variant.label, cell.seed)
        metrics = {name: asdict(info) for name, info in found.metrics.items()} | metrics
        evaluations.append(_describe(asked, found, path.name))
    own_rows, own_metrics = further_values(flow, cell, grid, splits)
    return {"metrics": metrics | own_metrics, "rows": rows + own_rows, "evaluations": evaluations}


def evaluate_again(flow: Flow, evaluation: Mapping[str, Any], splits: Splits, replay: Generate) -> Result:
    """Compute the values of one evaluation once more, from the samples that were kept.

    Args:
        flow: gives what is not of its samples.
        evaluation: one of ``evaluations`` of a cell file's ``run``.
        splits: of the data.
        replay: gives the samples, such as :class:`~flowprior.study.samples.Replay`.

    Raises:
        CheckpointError: the file is of other samples.
    """
    request = Request(**{**evaluation["request"], "nfe": tuple(evaluation["spent"])})
    check_evaluation(request.options)
    return request.of(flow, splits, replay)


def further_values(
    flow: Flow, cell: Cell, grid: Grid, splits: Splits
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Rows of the grid's ``values`` function, and what its metrics are, by its attribute ``metrics``."""
    if not grid.values:
        return [], {}
    function = load_hook("values", grid.values)
    empty = dict.fromkeys(COLUMNS) | {"flow": cell.variant.label, "seed": cell.seed}
    found = function(flow, cell, splits)
    rows = [empty | {name: value for name, value in row.items() if value is not None} for row in found]
    infos = {name: asdict(info) for name, info in getattr(function, "metrics", {}).items()}
    return rows, infos


def load_flow(place: CellFolder, step: int | None, device: str) -> Flow:
    """The flow of a cell after ``step`` steps (None: the trained one), on ``device``.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = place.flow if step is None else place.flow_at(step)
    if not path.is_dir():
        raise CheckpointError(f"{path} is missing; remove {place.path} and run the comparison again")
    return Flow.load(path, device=resolve_device(device))


def _describe(asked: Asked, found: Result, file: str) -> dict[str, Any]:
    """What is needed to compute the values again: request, counts that the sampler could spend, settings."""
    adaptive = Sampler.registry.resolve(asked.request.sampler).adaptive
    spent = asked.request.nfe if adaptive else [row["nfe"] for row in found.rows if row["nfe"] is not None]
    return {
        "step": asked.step,
        "samples": file,
        "adaptive": adaptive,
        "request": asdict(asked.request),
        "spent": list(dict.fromkeys(spent)),
        "settings": found.settings,
        "notes": found.notes,
    }
