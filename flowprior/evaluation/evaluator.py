"""Evaluator: fills the cells of an evaluation, each once, from the store where it has them already."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from flowprior.errors import CheckpointError, InputError, OptionError
from flowprior.evaluation.batch_size import halving
from flowprior.evaluation.identity import flow_digest
from flowprior.evaluation.store import Entry, FigureStore
from flowprior.metrics.base import FlowMeasure, Measure, SampleMeasure, StepMeasure
from flowprior.metrics.description import Metric
from flowprior.metrics.setup import Drawn, Setup
from flowprior.metrics.trajectories import Trajectories, solve_trajectories
from flowprior.metrics.transport import measure_transport
from flowprior.metrics.truncation import step_times
from flowprior.registry import spec_of
from flowprior.samplers import FixedStepSampler, Sampler, Solution


@dataclass(frozen=True)
class Cell:
    """One row of figures.

    Attributes:
        sampler: an instance.
        nfe: evaluations to spend; None for a sampler that chooses them, 0 for the prior alone.
        guidance: strength of classifier-free guidance.
    """

    sampler: Sampler
    nfe: int | None
    guidance: float


class Evaluator:
    """The figures of one seed.

    Args:
        setup: what they share.
        measures: what to compute.
        store: where finished figures are kept.
        times: times of all fixed-step samplers that will be asked for, so that one solution serves them all.
    """

    def __init__(
        self, setup: Setup, measures: list[Measure], store: FigureStore, times: Iterable[float] = ()
    ) -> None:
        self.setup = setup
        self.measures = measures
        self.store = store
        self.times = list(times)
        self._solved: dict[float, Trajectories] = {}

    @cached_property
    def columns(self) -> dict[Measure, dict[str, Metric]]:
        """What each measure will give."""
        return {measure: measure.columns(self.setup) for measure in self.measures}

    def metrics(self, *kinds: type[Measure]) -> dict[str, Metric]:
        """What the figures of these kinds of measures are, in their order."""
        chosen = [columns for measure, columns in self.columns.items() if isinstance(measure, kinds)]
        return {name: metric for columns in chosen for name, metric in columns.items()}

    def row(self, cell: Cell) -> dict[str, float]:
        """``nfe``, figures and ``seconds`` of one cell; the prior alone is the same for every sampler.

        Raises:
            OptionError: evaluations that the sampler cannot spend.
            InputError: samples that are not finite.
        """
        return dict(self._prior_row) if cell.nfe == 0 else self._row(cell, SampleMeasure, StepMeasure)

    @cached_property
    def _prior_row(self) -> dict[str, float]:
        """The figures of the prior alone: of its samples, for there are no steps."""
        return self._row(Cell(Sampler.create("euler"), 0, 1.0), SampleMeasure)

    def _row(self, cell: Cell, *kinds: type[Measure]) -> dict[str, float]:
        name, entry = self._read(_cell_name(cell), self._cell_key(cell))
        missing = self._missing(entry, *kinds)
        if missing or "nfe" not in entry.facts:
            solution, seconds = self._solve(cell)
            drawn = Drawn(self._checked(solution.x), self.setup.cond)
            for measure in missing:
                figures = self._figures_of(measure, cell, solution, drawn)
                entry.add(figures, self.columns[measure])
            entry.facts |= {"nfe": solution.nfe, "seconds": seconds, "batch_size": self.setup.batch_size}
            self.store.write(name, entry)
        figures = entry.select(self.metrics(*kinds))
        return {"nfe": entry.facts["nfe"], **figures, "seconds": entry.facts["seconds"]}

    def floors(self) -> dict[str, float]:
        """The figures of real data, by metric; none where there is no test split."""
        if not self.setup.has_test:
            return {}
        name, entry = self._read("real", self._key())
        missing = [m for m in self._missing(entry, SampleMeasure) if _floor(m) != "none"]
        for measure in missing:
            assert isinstance(measure, SampleMeasure)
            held_out = measure.floor == "held-out"
            drawn = self.setup.held_out if held_out else self.setup.training_samples
            entry.add(measure.figures(self.setup, drawn), self.columns[measure])
        if missing:
            self.store.write(name, entry)
        wanted = [m for m in self.measures if isinstance(m, SampleMeasure) and _floor(m) != "none"]
        return entry.select(key for measure in wanted for key in self.columns[measure])

    def flow_figures(self, guidance: float) -> dict[str, float]:
        """The figures that no sampler changes."""
        name, entry = self._read(f"flow-g{guidance:g}", self._key(flow=True, guidance=guidance))
        missing = self._missing(entry, FlowMeasure)
        for measure in missing:
            assert isinstance(measure, FlowMeasure)
            solved = self._trajectories(guidance) if measure.needs_trajectories else None
            entry.add(measure.figures(self.setup, guidance, solved), self.columns[measure])
            self.store.write(name, entry)
        return entry.select(self.metrics(FlowMeasure))

    def transport(self) -> dict[str, float]:
        """Transport cost of training pairs; see :func:`measure_transport`."""
        name, entry = self._read("transport", self._key(flow=True))
        if not entry.facts:
            setup = self.setup
            costs = measure_transport(setup.flow, setup.data, setup.samples, generator=setup.generator())
            entry.facts |= costs
            self.store.write(name, entry)
        return dict(entry.facts)

    def described(self, names: Mapping[str, Metric]) -> dict[str, Metric]:
        """The metrics with their floors."""
        floors = self.floors()
        return {name: replace(metric, floor=floors.get(name)) for name, metric in names.items()}

    def _figures_of(self, measure: Measure, cell: Cell, solution: Solution, drawn: Drawn) -> dict[str, float]:
        if isinstance(measure, StepMeasure):
            return measure.figures(
                self.setup,
                cell.sampler,
                cell.nfe,
                cell.guidance,
                solution.x,
                self._trajectories(cell.guidance),
            )
        assert isinstance(measure, SampleMeasure)
        return measure.figures(self.setup, drawn)

    def _solve(self, cell: Cell) -> tuple[Solution, float]:
        """The solution and the seconds it took; batches are halved where memory runs out."""
        setup = self.setup
        solve = partial(
            setup.generate or setup.flow.solve,
            setup.cond,
            setup.samples,
            nfe=cell.nfe,
            sampler=cell.sampler,
            guidance=cell.guidance,
        )

        def timed(size: int) -> tuple[Solution, float]:
            start = time.perf_counter()
            solution = solve(generator=setup.generator(), batch_size=size)
            if solution.x.is_cuda:
                torch.cuda.synchronize(solution.x.device)
            return solution, time.perf_counter() - start

        found, setup.batch_size = halving(timed, setup.batch_size)
        return found

    def _checked(self, x: Tensor) -> Tensor:
        """Samples as they are judged: pictures clamped to [-1, 1], the range of the data."""
        bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
        if bad:
            raise InputError(
                f"evaluate: {bad} of {len(x)} generated samples have NaN or infinite numbers; "
                "the flow has diverged, train it with a smaller learning rate"
            )
        return x.clamp(-1, 1) if self.setup.data.is_image else x

    def _trajectories(self, guidance: float) -> Trajectories:
        """The reference solution at one guidance, solved once."""
        if guidance not in self._solved:
            setup, count = self.setup, self.setup.paths
            solve = partial(
                solve_trajectories, setup.flow, setup.starts(count), setup.conditions(count), times=self.times
            )
            self._solved[guidance], _ = halving(
                lambda size: solve(guidance=guidance, batch_size=size), setup.batch_size
            )
        return self._solved[guidance]

    def _missing(self, entry: Entry, *kinds: type[Measure]) -> list[Measure]:
        chosen = [measure for measure in self.measures if isinstance(measure, kinds)]
        return [m for m in chosen if self.columns[m] and not entry.has(self.columns[m])]

    def _read(self, name: str, key: dict[str, Any] | None) -> tuple[str, Entry]:
        name = f"{name}-seed{self.setup.seed}"
        return name, self.store.read(name, key)

    def _cell_key(self, cell: Cell) -> dict[str, Any] | None:
        try:
            spec = spec_of(Sampler.registry, cell.sampler)
        except CheckpointError:  # an instance that no name leads back to
            return None
        return self._key(flow=True, sampler=spec, nfe=cell.nfe, guidance=cell.guidance)

    @cached_property
    def _flow_digest(self) -> str | None:
        return flow_digest(self.setup.flow)

    def _key(self, *, flow: bool = False, **settings: Any) -> dict[str, Any] | None:
        """Everything that decides a figure, but what the figure is; None where it cannot be named."""
        setup = self.setup
        if self.store.folder is None:
            return None
        if flow:
            if self._flow_digest is None:
                return None
            settings["flow"] = self._flow_digest
        data = {"data": setup.training.digest, "reference": setup.reference.digest}
        return {**data, "samples": setup.samples, "seed": setup.seed, **settings}


def sampler_times(samplers: Iterable[Sampler], nfe: Iterable[int]) -> list[float]:
    """The times between which fixed-step samplers step at any of ``nfe`` that they can spend."""
    times: set[float] = set()
    counts = list(nfe)
    for sampler in samplers:
        for count in counts if isinstance(sampler, FixedStepSampler) else []:
            try:
                times.update(step_times(sampler, count))  # type: ignore[arg-type]
            except OptionError:
                continue
    return sorted(times)


def _cell_name(cell: Cell) -> str:
    if cell.nfe == 0:
        return "prior"
    count = "" if cell.nfe is None else f"-nfe{cell.nfe}"
    return f"{cell.sampler.name}{count}-g{cell.guidance:g}"


def _floor(measure: Measure) -> str:
    return measure.floor if isinstance(measure, SampleMeasure) else "none"
