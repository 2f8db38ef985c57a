"""Evaluator: the values of one seed, each computed once and read from the store where it has them already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

from flowprior.evaluation.result import ADAPTIVE, REAL_DATA, SECONDS, table_row
from flowprior.evaluation.setting import Setting, as_compared, generate, halving
from flowprior.evaluation.store import Entry, Store, flow_digest
from flowprior.metrics.base import FlowMetric, Metric, MetricInfo, SampleMetric, StepMetric
from flowprior.metrics.setup import Drawn, Setup
from flowprior.metrics.trajectories import Trajectories, solve_trajectories
from flowprior.metrics.transport import measure_transport
from flowprior.samplers import PLAIN, Sampler, SourceOptions

Row = dict[str, Any]
Columns = dict[Any, dict[str, MetricInfo]]
"""Metric -> what each of its values is."""


@cache
def prior_alone(options: SourceOptions) -> Setting:
    """Return the setting of the prior alone and its source samples, whatever sampler and guidance."""
    sampler = Sampler.create("euler").with_source(options.temperature, options.prior_guidance)
    return Setting("euler", sampler, 0, 1.0)


@dataclass(eq=False)
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
        """What each value is, by the first split."""
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

    def quality(self, setting: Setting) -> Iterator[Row]:
        """Yield values of the samples of one setting and the seconds they took.

        Raises:
            OptionError: evaluations that the sampler cannot spend.
            InputError: samples that are not finite.
        """
        entries = self._filled(prior_alone(setting.sampler.source_options) if setting.nfe == 0 else setting)
        facts = entries[self.split].facts
        grid = ADAPTIVE if setting.sampler.adaptive and setting.nfe is None else setting.grid
        terms = self.terms | {"sampler": setting.name, "grid": grid, "guidance": setting.guidance}
        terms["nfe"] = facts["nfe"]
        for split, entry in entries.items():
            for infos in self._columns(split, *setting.kinds).values():
                yield from entry.rows(infos, split=split, **terms)
        yield table_row(SECONDS, facts["seconds"], samples=self.setup.samples, **terms)

    def real_data(self) -> Iterator[Row]:
        """The real-data scores; none where there is no split but the training data."""
        for split, setup in self.setups.items():
            columns = {m: c for m, c in self._columns(split, SampleMetric).items() if m.real_data != "none"}
            if setup.has_test and columns:
                entry = self._read("real", setup)

                def compute(metric: SampleMetric, setup: Setup = setup) -> dict[str, float]:
                    held_out = metric.real_data == "held-out"
                    return metric.values(setup, setup.held_out if held_out else setup.training_samples)

                self._complete(entry, columns, compute)
                for infos in columns.values():
                    yield from entry.rows(infos, flow=REAL_DATA, seed=setup.seed, split=split)

    def flow_values(self, guidance: float) -> Iterator[Row]:
        """The values that no sampler changes."""
        columns = self._columns(self.split, FlowMetric)
        entry = self._read(f"flow-g{guidance:g}", self.setup, flow=True, guidance=guidance)

        def compute(metric: FlowMetric) -> dict[str, float]:
            solved = self._trajectories(guidance) if metric.needs_trajectories else None
            return metric.values(self.setup, guidance, solved)

        self._complete(entry, columns, compute)
        for infos in columns.values():
            yield from entry.rows(infos, **self.terms, guidance=guidance, split=self.split)

    def transport(self) -> Iterator[Row]:
        """Transport cost of training pairs; see :func:`measure_transport`."""
        for name, (value, info) in self._transport.items():
            yield table_row(name, value, info, **self.terms, split="training")

    @cached_property
    def _transport(self) -> dict[str, tuple[float, MetricInfo]]:
        entry, setup = self._read("transport", self.setup, flow=True), self.setup
        if not entry.facts:
            terms = (setup.flow, setup.data, setup.samples)
            entry.facts |= measure_transport(*terms, generator=setup.generator())
            self.store.write(entry)
        costs = entry.facts
        what = f"E‖x1 − x0‖² of training pairs, {costs['draw_size']} drawn at once"
        coupled, alone = f"{what} by the coupling", f"{what} from the prior, each by itself"
        infos = {
            "transport_cost": ("paired", MetricInfo(coupled, costs["pairs"])),
            "transport_cost_unpaired": ("unpaired", MetricInfo(alone, costs["pairs"])),
        }
        return {name: (costs[key], info) for name, (key, info) in infos.items() if key in costs}

    # -- computing ----------------------------------------------------------------------------

    def _filled(self, setting: Setting) -> dict[str, Entry]:
        """Return the entry of a setting for each split, with every value that is asked for."""
        if setting in self._entries:
            return self._entries[setting]
        samples = cache(partial(generate, setting, self.setup))

        @cache
        def drawn() -> Drawn:
            return Drawn(as_compared(samples()[0].x, self.setup), self.setup.cond, rows=self.setup.rows)

        entries = {split: self._read_setting(setting, setup) for split, setup in self.setups.items()}
        for split, entry in entries.items():

            def compute(metric: Metric, setup: Setup = self.setups[split]) -> dict[str, float]:
                if isinstance(metric, SampleMetric):
                    return metric.values(setup, drawn())
                assert isinstance(metric, StepMetric)
                solved = self._trajectories(setting.guidance, setting.sampler.source_options)
                x = samples()[0].x
                return metric.values(setup, setting.sampler, setting.nfe, setting.guidance, x, solved)

            columns = self._columns(split, *setting.kinds)
            if self._complete(entry, columns, compute) or "nfe" not in entry.facts:
                solution, seconds = samples()
                entry.facts |= {"nfe": solution.nfe, "seconds": seconds, "batch_size": self.setup.batch_size}
                self.store.write(entry)
        self._entries[setting] = entries
        return entries

    def _complete(self, entry: Entry, columns: Columns, compute: Callable[..., dict[str, float]]) -> bool:
        """Compute and keep what an entry lacks of ``columns``; whether there was anything."""
        missing = [metric for metric, infos in columns.items() if not entry.has(infos)]
        for metric in missing:
            entry.add(compute(metric), columns[metric])
            self.store.write(entry)
        return bool(missing)

    def _trajectories(self, guidance: float, options: SourceOptions = PLAIN) -> Trajectories:
        """The reference solution at one guidance and from source samples of these options, solved once."""
        key = guidance, options
        if key not in self._solved:
            setup, count = self.setup, self.setup.paths
            x0, cond = setup.source_samples(count, options), setup.asked(count)
            solve = partial(solve_trajectories, setup.flow, x0, cond, times=self.times, guidance=guidance)
            self._solved[key], _ = halving(lambda size: solve(batch_size=size), setup.batch_size)
        return self._solved[key]

    # -- what is asked for, and where it is kept ----------------------------------------------

    def _columns(self, split: str, *kinds: type[Metric]) -> Columns:
        """What the metrics of these kinds give against a split."""
        return {m: c for m, c in self._all_columns[split].items() if isinstance(m, kinds or Metric)}

    def _columns_of(self, setup: Setup) -> Columns:
        """Samples alone are compared with all splits."""
        metrics = [m for m in self.metrics if setup is self.setup or isinstance(m, SampleMetric)]
        return {metric: columns for metric in metrics if (columns := metric.columns(setup))}

    def _read_setting(self, setting: Setting, setup: Setup) -> Entry:
        if setting.terms is None or setup.generate is not None:  # a function that has no name
            return Entry(None)
        other = {} if setup is self.setup else {"conditions_of": self.setup.reference.digest}
        return self._read(setting.file_name, setup, flow=True, **setting.terms, **other)

    @cached_property
    def _flow_digest(self) -> str | None:
        return flow_digest(self.setup.flow)

    def _read(self, name: str, setup: Setup, *, flow: bool = False, **terms: Any) -> Entry:
        """The entry of everything that decides a value; not kept where a part of it has no name."""
        if self.store.folder is None or (flow and self._flow_digest is None):
            return Entry(None)
        if flow:
            terms |= {"flow": self._flow_digest} | ({"conditions": "balanced"} if setup.balanced else {})
        terms |= {"data": setup.training.digest, "reference": setup.reference.digest}
        terms |= {"samples": setup.samples, "seed": setup.seed}
        terms |= {"members": setup.members} if setup.members > 1 else {}
        return self.store.read(f"{name}-seed{setup.seed}", terms)
