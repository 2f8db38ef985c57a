"""Values: what a request asks for, as rows of the long table.

:func:`compute` goes through the settings of a request. For each seed, :class:`SeedValues` generates samples
and gives the rows of their metrics, those of the flow itself, and the scores of real data.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch

from flowprior.errors import OptionError
from flowprior.evaluation.request import Request, Setting
from flowprior.evaluation.result import REAL_DATA, SECONDS, Result, table_row
from flowprior.evaluation.summary import ADAPTIVE, Row
from flowprior.flow.sampling import check_samples
from flowprior.metrics.base import FlowMetric, Metric, MetricInfo, SampleMetric, StepMetric
from flowprior.metrics.setup import Drawn, Setup
from flowprior.metrics.transport import transport_costs
from flowprior.processes.group import Group
from flowprior.progress.stages import stage

Found = dict[Metric, Mapping[str, float]]
"""Metric -> its values by name."""


def compute(request: Request, processes: Group) -> Result:
    """Return the values of a request as a long table, with what they are and what was left out.

    Args:
        request: what to measure.
        processes: those that call this together and generate samples together. Each computes the metrics of
            all samples, and all return the table of the first one.

    Raises:
        OptionError: no number of evaluations that any sampler can spend, or no metric that the data allow.
    """
    settings, infos = request.describe(), request.columns
    label = f"{settings['prior']} + {settings['coupling']}"
    of_seeds = [SeedValues(label, setup, infos) for setup in request.setups]
    rows, left_out = _of_samples(of_seeds, request.settings)
    described = {name: info for own in infos.values() for name, info in own.items()}
    for own in of_seeds:
        with stage("values of the flow, its pairs and the data"):
            for guidance in request.guidances:
                rows += own.of_flow(guidance)
            for name, (value, info) in transport_costs(own.setup).items():
                rows.append(table_row(name, value, info, **own.terms, split="training"))
                described.setdefault(name, info)
            rows += own.of_real_data()
    described[SECONDS] = MetricInfo("seconds that generating the samples took", settings["samples"])
    table = Result(rows, described, settings, list(dict.fromkeys([*request.notes(), *left_out])))
    return processes.of_each(table)[0]


def _of_samples(of_seeds: Sequence[SeedValues], settings: Sequence[Setting]) -> tuple[list[Row], list[str]]:
    """Return the rows of every setting and seed, and notes on what was left out.

    Raises:
        OptionError: no number of evaluations that any sampler can spend.
    """
    rows, notes = [], []
    with stage("evaluate", len(settings) * len(of_seeds), everywhere=True) as shown:
        for done, (setting, own) in enumerate(product(settings, of_seeds)):
            shown.update(done, f"{setting}, seed {own.setup.seed}")
            try:
                rows += own.of_samples(setting)
            except OptionError as error:
                notes.append(f"nfe={setting.nfe} left out: {error}")
            shown.advance()
    asked = {setting.name for setting in settings if setting.nfe != 0}
    idle = asked - {row["sampler"] for row in rows if row["nfe"] != 0}
    if asked and idle == asked:
        raise OptionError(notes[-1].split(": ", 1)[1])
    return [row for row in rows if row["sampler"] not in idle], notes


@dataclass(eq=False)
class SeedValues:
    """The values of one seed, as rows of the long table.

    Args:
        label: of the flow, for the column ``flow``.
        setup: what metrics may look at.
        columns: the metrics, and what each of their values is.
    """

    label: str
    setup: Setup
    columns: Mapping[Metric, Mapping[str, MetricInfo]]
    _of_prior: dict[Any, tuple[Found, Row]] = field(default_factory=dict)

    @property
    def terms(self) -> Row:
        """The columns that all rows of the flow share."""
        return {"flow": self.label, "seed": self.setup.seed}

    def of_samples(self, setting: Setting) -> Iterator[Row]:
        """Yield values of the samples of one setting and the seconds they took.

        Raises:
            OptionError: evaluations that the sampler cannot spend.
            InputError: samples that are not finite.
        """
        options = setting.sampler.source_options
        if setting.nfe != 0:
            found, spent = self._measured(setting)
        else:  # the same for every guidance and every sampler with these options of the source
            if options not in self._of_prior:
                self._of_prior[options] = self._measured(setting)
            found, spent = self._of_prior[options]
        grid = ADAPTIVE if setting.sampler.adaptive and setting.nfe is None else setting.grid
        terms = self.terms | {"sampler": setting.name, "grid": grid, "guidance": setting.guidance}
        terms["nfe"] = spent["nfe"]
        yield from self._rows(found, split=self.setup.reference.split, **terms)
        yield table_row(SECONDS, spent["seconds"], samples=self.setup.samples, **terms)

    def _measured(self, setting: Setting) -> tuple[Found, Row]:
        """Return the values of samples that are generated in one way, evaluations spent and seconds."""
        setup, start = self.setup, time.perf_counter()
        terms = {"nfe": setting.nfe, "sampler": setting.sampler, "guidance": setting.guidance}
        solve, terms["generator"] = setup.generate or setup.flow.solve, setup.generator()
        solution = solve(setup.cond, setup.samples, batch_size=setup.batch_size, **terms)
        if solution.x.is_cuda:
            torch.cuda.synchronize(solution.x.device)
        spent = {"nfe": solution.nfe, "seconds": time.perf_counter() - start}
        check_samples(solution.x, "evaluate")
        x = solution.x.clamp(-1, 1) if setup.data.is_image else solution.x
        drawn, found = Drawn(x, setup.cond), {}
        for metric in self.columns:
            if isinstance(metric, SampleMetric):
                found[metric] = metric.values(setup, drawn)
            elif isinstance(metric, StepMetric) and setting.nfe != 0:  # the prior alone takes no steps
                how = setting.sampler, setting.nfe, setting.guidance
                found[metric] = metric.values(setup, *how, solution.x)
        return found, spent

    def of_flow(self, guidance: float) -> Iterator[Row]:
        """Yield the values that no sampler changes."""
        setup = self.setup
        found: Found = {m: m.values(setup, guidance) for m in self.columns if isinstance(m, FlowMetric)}
        return self._rows(found, **self.terms, guidance=guidance, split=setup.reference.split)

    def of_real_data(self) -> Iterator[Row]:
        """Yield the real-data scores; none where there is no split but the training data."""
        setup, found = self.setup, {}
        for metric in self.columns if setup.has_test else ():
            if isinstance(metric, SampleMetric) and metric.real_data != "none":
                real = setup.held_out if metric.real_data == "held-out" else setup.training_samples
                found[metric] = metric.values(setup, real)
        return self._rows(found, flow=REAL_DATA, seed=setup.seed, split=setup.reference.split)

    def _rows(self, found: Found, **terms: Any) -> Iterator[Row]:
        """Yield a row for each value of metrics, and for its deviation (``…-std``)."""
        for metric, values in found.items():
            for name, info in self.columns[metric].items():
                for key in (name, f"{name}-std"):
                    if key in values:
                        yield table_row(key, values[key], info, **terms)
