"""Values: what a request asks for, each computed once and read from its file where it is kept already.

:func:`compute` goes through the settings of a request. For each seed, :class:`SeedValues` generates samples,
halving the batch where memory runs out, and gives rows of the long table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from flowprior.errors import OptionError
from flowprior.evaluation.request import Request, Setting
from flowprior.evaluation.result import REAL_DATA, SECONDS, Result, table_row
from flowprior.evaluation.store import Columns, Entry, Store, flow_digest
from flowprior.evaluation.summary import ADAPTIVE, Row
from flowprior.flow.sampling import check_samples
from flowprior.metrics.base import FlowMetric, Metric, MetricInfo, SampleMetric, StepMetric
from flowprior.metrics.setup import Drawn, Setup
from flowprior.metrics.trajectories import Trajectories, solve_trajectories
from flowprior.metrics.transport import measure_transport
from flowprior.processes.group import Group
from flowprior.progress.stages import stage
from flowprior.samplers import FixedStepSampler, Sampler
from flowprior.samplers.base import PLAIN, Solution, SourceOptions

R = TypeVar("R")


def compute(request: Request, folder: Path | str | None = None, processes: Group | None = None) -> Result:
    """Return the values of a request as a long table, with what they are and what was left out.

    Args:
        request: what to measure.
        folder: where finished values are kept, and read again by the next call; None keeps none.
        processes: those that call this together and generate samples together. Each computes the metrics of
            all samples; the first one keeps the values, and all return its table.

    Raises:
        OptionError: no number of evaluations that any sampler can spend, or no metric that the data allow.
    """
    processes, settings = processes or Group(), request.describe()
    label = f"{settings['prior']} + {settings['coupling']}"
    store = Store(folder, processes)
    times = step_times_of(request.settings)
    of_seeds = [
        SeedValues(label, request.setups(seed), request.metrics, store, times) for seed in request.seeds
    ]
    notes = _notes_on(request, of_seeds[0])
    found, left_out = _of_samples(of_seeds, request.settings)
    for own in of_seeds:
        with stage("values of the flow, its pairs and the data"):
            for guidance in request.guidances:
                found += own.of_flow(guidance)
            found += [*own.transport(), *own.real_data()]
    settings["batch_size"] = min(own.setup.batch_size for own in of_seeds)
    table = Result(found, of_seeds[0].described, settings, list(dict.fromkeys([*notes, *left_out])))
    return processes.of_each(table)[0]


def _notes_on(request: Request, own: SeedValues) -> list[str]:
    """Return which metrics the data do not allow, and whether there is no test split.

    Raises:
        OptionError: the data allow no metric.
    """
    lacking = {metric: metric.lacks(own.setup) for metric in own.lacking}
    if not own.measures:
        needs = "; ".join(f"{metric.name} needs {what}" for metric, what in lacking.items())
        raise OptionError(f"evaluate: none of the metrics can be computed: {needs}")
    notes = [
        f"{metric.name} left out: it needs {what}"
        for metric, what in lacking.items()
        if not (request.is_default and metric.quick)
    ]
    if not request.setup.has_test:
        notes.append("no test split: samples are compared with the training data themselves")
    return notes


def _of_samples(of_seeds: Sequence[SeedValues], settings: Sequence[Setting]) -> tuple[list[Row], list[str]]:
    """Return the rows of every setting and seed, and notes on what was left out.

    Raises:
        OptionError: no number of evaluations that any sampler can spend.
    """
    found, notes = [], []
    spent = {own.name for own in settings} - {own.name for own in settings if own.nfe != 0}
    with stage("evaluate", len(settings) * len(of_seeds), everywhere=True) as shown:
        for done, (setting, own) in enumerate(product(settings, of_seeds)):
            shown.update(done, f"{setting}, seed {own.setup.seed}")
            try:
                found += own.of_samples(setting)
                spent |= {setting.name} if setting.nfe != 0 else set()
            except OptionError as error:
                notes.append(f"nfe={setting.nfe} left out: {error}")
            shown.advance()
    if not spent:
        raise OptionError(notes[-1].split(": ", 1)[1])
    return [row for row in found if row["sampler"] in spent], notes


@cache
def setting_of_prior(options: SourceOptions) -> Setting:
    """Return the setting of the prior alone and its source samples, whatever sampler and guidance."""
    sampler = Sampler.create("euler").with_source(options.temperature, options.prior_guidance)
    return Setting("euler", sampler, 0, 1.0)


@dataclass(eq=False)
class SeedValues:
    """The values of one seed, as rows of the long table.

    Args:
        label: of the flow, for the column ``flow``.
        setups: split -> what its metrics may look at. Conditions and everything that is no distance to real
            data come from the first one.
        metrics: what to compute.
        store: where finished values are kept.
        times: times of all fixed-step samplers that will be asked for, so that one solution serves them all.
    """

    label: str
    setups: Mapping[str, Setup]
    metrics: list[Metric]
    store: Store
    times: Iterable[float] = ()

    def __post_init__(self) -> None:
        self.split, self.setup = next(iter(self.setups.items()))
        self.terms = {"flow": self.label, "seed": self.setup.seed}
        self._entries: dict[Setting, dict[str, Entry]] = {}
        self._solved: dict[tuple[float, SourceOptions], Trajectories] = {}
        self._all_columns = {split: self._columns_of(setup) for split, setup in self.setups.items()}

    @property
    def described(self) -> dict[str, MetricInfo]:
        """The description of each value, by the first split."""
        found = {name: info for infos in self._columns(self.split).values() for name, info in infos.items()}
        found |= {name: info for name, (_, info) in self._transport.items()}
        return found | {SECONDS: MetricInfo("seconds that generating the samples took", self.setup.samples)}

    @property
    def lacking(self) -> list[Metric]:
        """The metrics that the data do not allow."""
        return [metric for metric in self.metrics if metric not in self._columns(self.split)]

    @property
    def measures(self) -> bool:
        """Check whether the data allow any of the metrics, against any split."""
        return any(self._all_columns.values())

    def of_samples(self, setting: Setting) -> Iterator[Row]:
        """Yield values of the samples of one setting and the seconds they took.

        Raises:
            OptionError: evaluations that the sampler cannot spend.
            InputError: samples that are not finite.
        """
        entries = self._filled(
            setting_of_prior(setting.sampler.source_options) if setting.nfe == 0 else setting
        )
        facts = entries[self.split].facts
        grid = ADAPTIVE if setting.sampler.adaptive and setting.nfe is None else setting.grid
        terms = self.terms | {"sampler": setting.name, "grid": grid, "guidance": setting.guidance}
        terms["nfe"] = facts["nfe"]
        for split, entry in entries.items():
            yield from entry.rows(self._columns(split, *setting.kinds), split=split, **terms)
        yield table_row(SECONDS, facts["seconds"], samples=self.setup.samples, **terms)

    def real_data(self) -> Iterator[Row]:
        """Yield the real-data scores; none where there is no split but the training data."""
        for split, setup in self.setups.items():
            columns = {m: c for m, c in self._columns(split, SampleMetric).items() if m.real_data != "none"}
            if setup.has_test and columns:

                def value(metric: SampleMetric, setup: Setup = setup) -> dict[str, float]:
                    held_out = metric.real_data == "held-out"
                    return metric.values(setup, setup.held_out if held_out else setup.training_samples)

                entry = self._read("real", setup)
                entry.complete(columns, value)
                yield from entry.rows(columns, flow=REAL_DATA, seed=setup.seed, split=split)

    def of_flow(self, guidance: float) -> Iterator[Row]:
        """Yield the values that no sampler changes."""
        columns = self._columns(self.split, FlowMetric)
        entry = self._read(f"flow-g{guidance:g}", self.setup, flow=True, guidance=guidance)

        def value(metric: FlowMetric) -> dict[str, float]:
            solved = self._trajectories(guidance) if metric.needs_trajectories else None
            return metric.values(self.setup, guidance, solved)

        entry.complete(columns, value)
        yield from entry.rows(columns, **self.terms, guidance=guidance, split=self.split)

    def transport(self) -> Iterator[Row]:
        """Yield the transport cost of training pairs; see :func:`measure_transport`."""
        for name, (value, info) in self._transport.items():
            yield table_row(name, value, info, **self.terms, split="training")

    @cached_property
    def _transport(self) -> dict[str, tuple[float, MetricInfo]]:
        entry, setup = self._read("transport", self.setup, flow=True), self.setup
        if not entry.facts:
            terms = (setup.flow, setup.data, setup.samples)
            entry.facts |= measure_transport(*terms, generator=setup.generator())
            entry.write()
        costs = entry.facts
        what = f"E‖x1 − x0‖² of training pairs, {costs['draw_size']} drawn at once"
        coupled, unpaired = f"{what} by the coupling", f"{what} from the prior, each by itself"
        infos = {
            "transport_cost": ("paired", MetricInfo(coupled, costs["pairs"])),
            "transport_cost_unpaired": ("unpaired", MetricInfo(unpaired, costs["pairs"])),
        }
        return {name: (costs[key], info) for name, (key, info) in infos.items() if key in costs}

    # -- computing ----------------------------------------------------------------------------

    def _filled(self, setting: Setting) -> dict[str, Entry]:
        """Return the entry of a setting for each split, with every value that is asked for."""
        if setting in self._entries:
            return self._entries[setting]
        samples = cache(partial(generate, setting, self.setup))
        drawn = cache(lambda: self._drawn(samples()[0].x))
        entries = {split: self._read_setting(setting, setup) for split, setup in self.setups.items()}
        for split, entry in entries.items():

            def value(metric: Metric, setup: Setup = self.setups[split]) -> dict[str, float]:
                if isinstance(metric, SampleMetric):
                    return metric.values(setup, drawn())
                assert isinstance(metric, StepMetric)
                solved = self._trajectories(setting.guidance, setting.sampler.source_options)
                x = samples()[0].x
                return metric.values(setup, setting.sampler, setting.nfe, setting.guidance, x, solved)

            if entry.complete(self._columns(split, *setting.kinds), value) or "nfe" not in entry.facts:
                solution, seconds = samples()
                entry.facts |= {"nfe": solution.nfe, "seconds": seconds, "batch_size": self.setup.batch_size}
                entry.write()
        self._entries[setting] = entries
        return entries

    def _drawn(self, x: Tensor) -> Drawn:
        """Return samples as metrics see them: images clamped to [-1, 1], the range of the data.

        Raises:
            InputError: samples that are not finite.
        """
        check_samples(x, "evaluate")
        x = x.clamp(-1, 1) if self.setup.data.is_image else x
        return Drawn(x, self.setup.cond, rows=self.setup.rows)

    def _trajectories(self, guidance: float, options: SourceOptions = PLAIN) -> Trajectories:
        """Return the reference solution of one guidance and these options of the source, solved once."""
        key = guidance, options
        if key not in self._solved:
            setup, count = self.setup, self.setup.paths
            x0, cond = setup.source_samples(count, options), setup.asked(count)
            solve = partial(solve_trajectories, setup.flow, x0, cond, times=self.times, guidance=guidance)
            self._solved[key], _ = halving(lambda size: solve(batch_size=size), setup.batch_size)
        return self._solved[key]

    # -- the values that are asked for, and their files ----------------------------------------------

    def _columns(self, split: str, *kinds: type[Metric]) -> Columns:
        """Return what the metrics of these kinds give against a split."""
        return {m: c for m, c in self._all_columns[split].items() if isinstance(m, kinds or Metric)}

    def _columns_of(self, setup: Setup) -> Columns:
        """Return what the metrics give against a split; samples alone are compared with all splits."""
        metrics = [m for m in self.metrics if setup is self.setup or isinstance(m, SampleMetric)]
        return {metric: columns for metric in metrics if (columns := metric.columns(setup))}

    def _read_setting(self, setting: Setting, setup: Setup) -> Entry:
        """Return the entry of a setting against a split; samples of ``generate`` are not kept."""
        if setting.terms is None or setup.generate is not None:
            return Entry(None)
        other = {} if setup is self.setup else {"conditions_of": self.setup.reference.digest}
        return self._read(setting.file_name, setup, flow=True, **setting.terms, **other)

    @cached_property
    def _flow_digest(self) -> str | None:
        return flow_digest(self.setup.flow)

    def _read(self, name: str, setup: Setup, *, flow: bool = False, **terms: Any) -> Entry:
        """Return the entry of everything that decides a value; not kept where a part of it has no name."""
        if self.store.folder is None or (flow and self._flow_digest is None):
            return Entry(None)
        if flow:
            terms |= {"flow": self._flow_digest} | ({"conditions": "balanced"} if setup.balanced else {})
        terms |= {"data": setup.training.digest, "reference": setup.reference.digest}
        terms |= {"samples": setup.samples, "seed": setup.seed}
        terms |= {"members": setup.members} if setup.members > 1 else {}
        return self.store.read(f"{name}-seed{setup.seed}", terms)


def generate(setting: Setting, setup: Setup) -> tuple[Solution, float]:
    """The solution and the seconds it took; ``setup.batch_size`` is halved where memory runs out.

    Raises:
        OptionError: evaluations that the sampler cannot spend.
    """
    solve = setup.generate or setup.solve or setup.flow.solve
    terms = {"nfe": setting.nfe, "sampler": setting.sampler, "guidance": setting.guidance}

    def timed(size: int) -> tuple[Solution, float]:
        start = time.perf_counter()
        generator = setup.generator()
        solution = solve(setup.cond, setup.samples, generator=generator, batch_size=size, **terms)
        if solution.x.is_cuda:
            torch.cuda.synchronize(solution.x.device)
        return solution, time.perf_counter() - start

    found, setup.batch_size = halving(timed, setup.batch_size)
    return found


def step_times_of(settings: Iterable[Setting]) -> set[float]:
    """Return the times between which the fixed-step samplers of the settings step, where they can."""
    times: set[float] = set()
    for setting in settings:
        if isinstance(setting.sampler, FixedStepSampler) and setting.nfe is not None:
            with suppress(OptionError):
                times.update(setting.sampler.times(setting.nfe).tolist())
    return times


def halving(run: Callable[[int], R], size: int) -> tuple[R, int]:
    """``run(size)``, with half the size again while the device is out of memory; and the size that did."""
    while True:
        try:
            return run(size), size
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            torch.cuda.empty_cache()
            size //= 2
