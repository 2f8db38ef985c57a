"""Evaluator: the values of one seed, each computed once and read from the store where it has them already."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from flowprior.errors import CheckpointError, InputError, OptionError
from flowprior.evaluation.batch_size import halving
from flowprior.evaluation.identity import flow_digest
from flowprior.evaluation.result import ADAPTIVE, REAL_DATA, SECONDS, table_row
from flowprior.evaluation.store import Entry, Store
from flowprior.metrics.base import FlowMetric, Metric, MetricInfo, SampleMetric, StepMetric
from flowprior.metrics.setup import Drawn, Setup
from flowprior.metrics.trajectories import Trajectories, solve_trajectories
from flowprior.metrics.transport import measure_transport
from flowprior.metrics.truncation import step_times
from flowprior.registry import spec_of
from flowprior.samplers import FixedStepSampler, Sampler, Solution

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One way of generating samples.

    Attributes:
        name: of the sampler, as it was asked for.
        sampler: an instance.
        nfe: evaluations to spend; None for a sampler that chooses them, 0 for the prior alone.
        guidance: strength of classifier-free guidance.
    """

    name: str
    sampler: Sampler
    nfe: int | None
    guidance: float

    @property
    def kinds(self) -> tuple[type[Metric], ...]:
        """The kinds of metrics that apply: the prior alone takes no steps."""
        return (SampleMetric,) if self.nfe == 0 else (SampleMetric, StepMetric)

    @property
    def file_name(self) -> str:
        """What the names of its files begin with."""
        if self.nfe == 0:
            return "prior"
        count = "" if self.nfe is None else f"-nfe{self.nfe}"
        return f"{self.sampler.name}{count}-g{self.guidance:g}"


class Evaluator:
    """The values of one seed, as rows of the long table.

    Args:
        label: of the flow, for the column ``flow``.
        setups: split -> what its metrics may look at. Conditions and everything that is no distance to real
            data come from the first one.
        metrics: what to compute.
        store: where finished values are kept.
        times: times of all fixed-step samplers that will be asked for, so that one solution serves them all.
    """

    def __init__(
        self,
        label: str,
        setups: Mapping[str, Setup],
        metrics: list[Metric],
        store: Store,
        times: Iterable[float] = (),
    ) -> None:
        self.setups = dict(setups)
        self.setup = next(iter(self.setups.values()))
        self.metrics = metrics
        self.store = store
        self.times = list(times)
        self.terms = {"flow": label, "seed": self.setup.seed}
        self._filled: dict[Cell, dict[str, Entry]] = {}
        self._solved: dict[float, Trajectories] = {}

    @cached_property
    def columns(self) -> dict[str, dict[Metric, dict[str, MetricInfo]]]:
        """What each metric will give against each split; only samples are compared with all of them."""
        found: dict[str, dict[Metric, dict[str, MetricInfo]]] = {}
        for split, setup in self.setups.items():
            chosen = [m for m in self.metrics if setup is self.setup or isinstance(m, SampleMetric)]
            found[split] = {metric: metric.columns(setup) for metric in chosen}
        return found

    @property
    def described(self) -> dict[str, MetricInfo]:
        """What each value is, by the first split."""
        generated = {SECONDS: MetricInfo("seconds that generating the samples took", self.setup.samples)}
        return self._infos(self._first, Metric) | _transport_metrics(self._transport) | generated

    def quality(self, cell: Cell) -> Iterator[Row]:
        """Values of the samples of one cell and the seconds they took.

        The prior alone is the same for every sampler and guidance, and is computed once.

        Raises:
            OptionError: evaluations that the sampler cannot spend.
            InputError: samples that are not finite.
        """
        entries = self._entries(cell)
        facts = entries[self._first].facts
        grid = ADAPTIVE if cell.sampler.adaptive and cell.nfe is None else getattr(cell.sampler, "grid", None)
        terms = self.terms | {
            "sampler": cell.name,
            "grid": grid,
            "nfe": facts["nfe"],
            "guidance": cell.guidance,
        }
        for split, entry in entries.items():
            yield from entry.rows(self._infos(split, *cell.kinds), split=split, **terms)
        yield table_row(SECONDS, facts["seconds"], samples=self.setup.samples, **terms)

    def real_data(self) -> Iterator[Row]:
        """The real-data scores; none where there is no split but the training data."""
        for split, setup in self.setups.items():
            columns = {m: c for m, c in self._chosen(split, SampleMetric) if m.real_data != "none"}
            if not setup.has_test or not columns:
                continue
            entry = self._read("real", setup)
            for metric in _missing(entry, columns):
                drawn = setup.held_out if metric.real_data == "held-out" else setup.training_samples
                entry.add(metric.values(setup, drawn), columns[metric])
                self.store.write(entry)
            for infos in columns.values():
                yield from entry.rows(infos, flow=REAL_DATA, seed=setup.seed, split=split)

    def flow_values(self, guidance: float) -> Iterator[Row]:
        """The values that no sampler changes."""
        entry = self._read(f"flow-g{guidance:g}", self.setup, flow=True, guidance=guidance)
        columns = dict(self._chosen(self._first, FlowMetric))
        for metric in _missing(entry, columns):
            solved = self._trajectories(guidance) if metric.needs_trajectories else None
            entry.add(metric.values(self.setup, guidance, solved), columns[metric])
            self.store.write(entry)
        infos = self._infos(self._first, FlowMetric)
        yield from entry.rows(infos, **self.terms, guidance=guidance, split=self._first)

    def transport(self) -> Iterator[Row]:
        """Transport cost of training pairs; see :func:`measure_transport`."""
        costs = self._transport
        for (name, info), key in zip(_transport_metrics(costs).items(), ("paired", "unpaired"), strict=True):
            yield table_row(name, costs[key], info, **self.terms, split="training")

    @cached_property
    def _transport(self) -> dict[str, Any]:
        entry, setup = self._read("transport", self.setup, flow=True), self.setup
        if not entry.facts:
            costs = measure_transport(setup.flow, setup.data, setup.samples, generator=setup.generator())
            entry.facts |= costs
            self.store.write(entry)
        return entry.facts

    # -- samples ------------------------------------------------------------------------------

    def _entries(self, cell: Cell) -> dict[str, Entry]:
        """The entry of a cell for each split, with every value that is asked for."""
        cell = self._prior_alone if cell.nfe == 0 else cell
        if cell not in self._filled:
            entries = {split: self._read_cell(cell, setup) for split, setup in self.setups.items()}
            missing = {
                split: _missing(entry, dict(self._chosen(split, *cell.kinds)))
                for split, entry in entries.items()
            }
            if any(missing.values()) or any("nfe" not in entry.facts for entry in entries.values()):
                self._fill(cell, entries, missing)
            self._filled[cell] = entries
        return self._filled[cell]

    @cached_property
    def _prior_alone(self) -> Cell:
        return Cell("euler", Sampler.create("euler"), 0, 1.0)

    def _fill(self, cell: Cell, entries: dict[str, Entry], missing: dict[str, list[Any]]) -> None:
        """Generate the samples and compute what is missing."""
        solution, seconds = self._solve(cell)
        drawn = Drawn(self._checked(solution.x), self.setup.cond)
        for split, entry in entries.items():
            for metric in missing[split]:
                if isinstance(metric, StepMetric):
                    values = self._step_values(metric, cell, solution)
                else:
                    values = metric.values(self.setups[split], drawn)
                entry.add(values, self.columns[split][metric])
            entry.facts |= {"nfe": solution.nfe, "seconds": seconds, "batch_size": self.setup.batch_size}
            self.store.write(entry)

    def _step_values(self, metric: StepMetric, cell: Cell, solution: Solution) -> dict[str, float]:
        solved = self._trajectories(cell.guidance)
        return metric.values(self.setup, cell.sampler, cell.nfe, cell.guidance, solution.x, solved)

    def _solve(self, cell: Cell) -> tuple[Solution, float]:
        """The solution and the seconds it took; batches are halved where memory runs out."""
        setup = self.setup
        solve = partial(setup.generate or setup.flow.solve, setup.cond, setup.samples)
        terms = {"nfe": cell.nfe, "sampler": cell.sampler, "guidance": cell.guidance}

        def timed(size: int) -> tuple[Solution, float]:
            start = time.perf_counter()
            solution = solve(generator=setup.generator(), batch_size=size, **terms)
            if solution.x.is_cuda:
                torch.cuda.synchronize(solution.x.device)
            return solution, time.perf_counter() - start

        found, setup.batch_size = halving(timed, setup.batch_size)
        return found

    def _checked(self, x: Tensor) -> Tensor:
        """Samples as metrics see them: pictures clamped to [-1, 1], the range of the data."""
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
            start, cond = setup.source_samples(count), setup.conditions(count)
            solve = partial(solve_trajectories, setup.flow, start, cond, times=self.times, guidance=guidance)
            self._solved[guidance], _ = halving(lambda size: solve(batch_size=size), setup.batch_size)
        return self._solved[guidance]

    # -- what is asked for, and where it is kept ----------------------------------------------

    @property
    def _first(self) -> str:
        return next(iter(self.setups))

    def _chosen(self, split: str, *kinds: type[Metric]) -> list[tuple[Any, dict[str, MetricInfo]]]:
        """The metrics of these kinds that the data allow, with what they give."""
        return [(m, c) for m, c in self.columns[split].items() if isinstance(m, kinds) and c]

    def _infos(self, split: str, *kinds: type[Metric]) -> dict[str, MetricInfo]:
        """What the values of these kinds of metrics are, in their order."""
        return {name: info for _, infos in self._chosen(split, *kinds) for name, info in infos.items()}

    def _read_cell(self, cell: Cell, setup: Setup) -> Entry:
        try:
            spec = spec_of(Sampler.registry, cell.sampler)
        except CheckpointError:  # an instance that no name leads back to
            return Entry(None)
        terms: dict[str, Any] = {"sampler": spec, "nfe": cell.nfe, "guidance": cell.guidance}
        if setup is not self.setup:
            terms["conditions_of"] = self.setup.reference.digest
        return self._read(cell.file_name, setup, flow=True, **terms)

    @cached_property
    def _flow_digest(self) -> str | None:
        return flow_digest(self.setup.flow)

    def _read(self, name: str, setup: Setup, *, flow: bool = False, **terms: Any) -> Entry:
        """The entry of everything that decides a value; not kept where a part of it has no name."""
        if self.store.folder is None or (flow and self._flow_digest is None):
            return Entry(None)
        if flow:
            terms["flow"] = self._flow_digest
            terms |= {"conditions": "balanced"} if setup.balanced else {}
        data = {"data": setup.training.digest, "reference": setup.reference.digest}
        return self.store.read(
            f"{name}-seed{setup.seed}", {**data, "samples": setup.samples, "seed": setup.seed, **terms}
        )


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


def _missing(entry: Entry, columns: Mapping[Any, Mapping[str, MetricInfo]]) -> list[Any]:
    """The metrics whose values an entry lacks."""
    return [metric for metric, infos in columns.items() if not entry.has(infos)]


def _transport_metrics(costs: Mapping[str, Any]) -> dict[str, MetricInfo]:
    """What the two transport costs are."""
    what = f"E‖x1 − x0‖² of training pairs, {costs['draw_size']} drawn at once"
    drawn = {"transport_cost": "by the coupling", "transport_cost_unpaired": "from the prior, each by itself"}
    return {name: MetricInfo(f"{what} {how}", int(costs["pairs"])) for name, how in drawn.items()}
