"""Inspect priors and couplings on a data set, before any network is trained."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from flowprior.conditions.rows import rows as take
from flowprior.couplings import Coupling, source_mismatch
from flowprior.data.base import as_data
from flowprior.display.shown import Shown, Table, counted
from flowprior.errors import CouplingError, OptionError
from flowprior.inspection.examples import Examples
from flowprior.inspection.fitted_prior import FittedPrior, fit_prior, mean_transport_cost, prior_picture
from flowprior.inspection.simulated_flow import SimulatedFlow, simulate_flow
from flowprior.pictures import save_figure
from flowprior.priors import Prior
from flowprior.progress.stages import showing, stage
from flowprior.storage.writing import write_json

PAIRS = 2048
"""The largest number of held-out pairs on which the source mismatch is measured."""
RELABELLINGS = 100
"""The number of permutations of the test of the source mismatch."""


@dataclass(frozen=True)
class Pairing:
    """A prior and a coupling.

    Attributes:
        prior: specification.
        coupling: specification.
        transport_cost: E‖x1 − x0‖² of the coupled pairs.
        source_mismatch: the difference of source samples of training and of sampling, as
            :func:`flowprior.couplings.source_mismatch` measures it.
        simulated_flow: the result of a flow without a network.
        score: :attr:`SimulatedFlow.score`, which pairings are ranked by; lower is better.
    """

    prior: str
    coupling: str
    transport_cost: float
    source_mismatch: dict[str, Any]
    simulated_flow: SimulatedFlow
    score: float


@dataclass(frozen=True, repr=False)
class Inspection(Shown):
    """Every prior and every pairing, the latter best first.

    Attributes:
        data: name of the data set.
        examples: the numbers of examples fitted on (``fit``), held out (``held_out``) and in the data set
            (``all``).
        priors: the fitted priors, in the order given.
        pairings: the pairings by their score.
        warnings: labels with few examples, and pairings that are left out.
        settings: seed, steps, torch's threads.
        seconds: the duration of all of it.
    """

    data: str
    examples: dict[str, int]
    priors: list[FittedPrior]
    pairings: list[Pairing]
    warnings: list[str]
    settings: dict[str, Any]
    seconds: float

    @property
    def reason(self) -> str:
        """The reason for recommending the first pairing, in one line."""
        best, *others = self.pairings
        found = f"{best.prior} + {best.coupling} has the score {best.score:.4g}"
        if not others:
            return f"{found}; nothing else was asked for"
        after = others[0]
        lowest = f"{found}, the lowest of {len(self.pairings)} pairings"
        return f"{lowest}; next comes {after.prior} + {after.coupling} with {after.score:.4g}"

    def heading(self) -> str:
        counts = f"{counted(len(self.priors), 'prior')}, {counted(len(self.pairings), 'pairing')}"
        return f"Inspection of {self.data}: {counts}, {self.seconds:.3g} s"

    def lines(self) -> list[str]:
        best = [f"best: {p.prior} + {p.coupling}, score {p.score:.4g}" for p in self.pairings[:1]]
        return [*best, *(f"warning: {warning}" for warning in self.warnings[:3])]

    def tables(self) -> list[Table]:
        records = self._records()
        return [Table(list(records[0]), [list(record.values()) for record in records])]

    def _records(self) -> list[dict[str, Any]]:
        """Return one record for each pairing, with the values of its prior."""
        known = {prior.prior: prior for prior in self.priors}
        return [
            {
                "prior": pairing.prior,
                "coupling": pairing.coupling,
                "score": pairing.score,
                "transport_cost": pairing.transport_cost,
                "crossing": pairing.simulated_flow.crossing,
                "shift": pairing.simulated_flow.shift,
                "explained_variance": known[pairing.prior].explained_variance,
                "log_density": known[pairing.prior].log_density,
                "half_share": known[pairing.prior].half_share,
                "fit_seconds": known[pairing.prior].seconds,
            }
            for pairing in self.pairings
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain dictionaries, lists and numbers."""
        return asdict(self)


def inspect_priors(
    data: Any,
    priors: Sequence[str],
    couplings: Sequence[str] = ("condot",),
    *,
    examples: int = 15_000,
    steps: int = 4,
    seed: int = 0,
    out: Path | str | None = None,
) -> Inspection:
    """Fit every prior on a part of ``data``, measure it on another, and rank it with every coupling.

    Args:
        data: a name or spec string, a ``Data``, a tensor of events, or a pair (events, condition).
        priors: names or spec strings.
        couplings: the same; a coupling that a prior cannot serve is left out with a warning.
        examples: how many of the data to look at, at most; a fifth is held out.
        steps: Euler steps of the simulated flow that pairings are ranked by.
        seed: of the split, the fits and the draws.
        out: directory for ``inspection.json`` and a picture of each prior.

    Raises:
        OptionError: nothing to inspect, or impossible counts.
        FlowpriorError: an unknown name, or a prior that cannot serve these data.
        CheckpointError: a file cannot be written.
    """
    start = time.perf_counter()
    if not priors or not couplings or steps < 1:
        given = f"{list(priors)}, {list(couplings)} and {steps}"
        raise OptionError(f"inspect: expected a prior, a coupling and steps >= 1, got {given}")
    data = as_data(data)
    chosen = Examples.of(data, examples, seed)
    pairers = {spec: Coupling.registry.resolve(spec) for spec in couplings}
    fitted, pairings, warnings = [], [], chosen.warnings()
    for place, spec in enumerate(dict.fromkeys(priors), 1):
        with stage(f"fit and measure {spec}"), showing(False):
            prior, report = fit_prior(spec, chosen, seed)
        if out is not None:
            title, path = f"{spec} on {data.name}", Path(out) / f"prior-{place}-{spec.partition(':')[0]}.png"
            figure = prior_picture(prior, chosen, seed, names=data.class_names, title=title)
            if figure is not None:
                save_figure(figure, path)
                report = replace(report, picture=str(path))
        fitted.append(report)
        pairings += _pairings(prior, spec, pairers, chosen, steps, seed, warnings)
    if not pairings:
        raise OptionError(f"inspect: {warnings[-1]}")
    found = Inspection(
        data=data.name,
        examples={"fit": len(chosen.x), "held_out": len(chosen.held_out), "all": len(data)},
        priors=fitted,
        pairings=sorted(pairings, key=lambda pairing: pairing.score),
        warnings=warnings,
        settings={"seed": seed, "steps": steps, "threads": torch.get_num_threads()},
        seconds=time.perf_counter() - start,
    )
    if out is not None:
        write_json(Path(out) / "inspection.json", found.as_dict())
    return found


def _pairings(
    prior: Prior,
    spec: str,
    couplings: Mapping[str, Coupling],
    examples: Examples,
    steps: int,
    seed: int,
    warnings: list[str],
) -> Iterator[Pairing]:
    """Yield one prior with every coupling that it can serve, and add a warning for each of the others."""
    x1, cond = examples.held_out[:PAIRS], take(examples.held_out_cond, slice(0, PAIRS))
    for name, coupling in couplings.items():
        try:
            coupling.check(prior)
        except CouplingError as error:
            warnings.append(f"{spec} + {name} is left out: {error}")
            continue
        generator = torch.Generator().manual_seed(seed)
        with stage(f"rank {spec} + {name}"):
            coupling.fit(prior, (examples.x, examples.cond), generator=torch.Generator().manual_seed(seed))
            mismatch = source_mismatch(
                coupling, prior, x1, cond, generator=generator, permutations=RELABELLINGS
            )
            cost = mean_transport_cost(prior, coupling, examples, generator)
            flow = simulate_flow(prior, coupling, examples, generator, steps=steps)
        yield Pairing(spec, name, cost, mismatch.as_dict(), flow, flow.score)
