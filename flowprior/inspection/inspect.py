"""Inspect priors and couplings on a data set, before any network is trained, and suggest a mixture for it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from flowprior.conditions.rows import rows as take
from flowprior.couplings import Coupling, source_mismatch
from flowprior.data.base import as_data
from flowprior.display.shown import Shown, Table, counted
from flowprior.errors import CouplingError, OptionError
from flowprior.inspection.examples import Examples
from flowprior.inspection.fitted_prior import (
    FittedPrior,
    fit_prior,
    mean_log_density,
    mean_transport_cost,
    prior_picture,
)
from flowprior.inspection.misfit import misfit_warning
from flowprior.inspection.simulated_flow import SimulatedFlow, simulate_flow
from flowprior.pictures import save_figure
from flowprior.priors import Prior
from flowprior.progress.stages import showing, stage
from flowprior.registry import Spec
from flowprior.storage.writing import write_json

if TYPE_CHECKING:
    import pandas

PAIRS = 2048
RELABELLINGS = 100
MOST_ROWS = 4000
MOST_HELD_OUT = 1000
MAX_ITERATIONS = 10
VARIANCE_FLOOR = 0.01
"""``reg_covar`` as a share of the mean variance: without it constant dimensions decide the density alone."""
MOST_FULL_DIMENSIONS = 128
ROWS_FOR_EACH_COMPONENT = 20


@dataclass(frozen=True)
class Pairing:
    """A prior and a coupling.

    Attributes:
        prior: specification.
        coupling: specification.
        transport_cost: E‖x1 − x0‖² of the coupled pairs.
        source_gap: how source samples of training and of sampling differ, as
            :func:`flowprior.couplings.source_mismatch` measures it.
        simulated_flow: what a flow without a network gave.
        score: what pairings are ranked by (:attr:`SimulatedFlow.score`); lower is better.
        seconds: that all of this took.
    """

    prior: str
    coupling: str
    transport_cost: float
    source_gap: dict[str, Any]
    simulated_flow: SimulatedFlow
    score: float
    seconds: float


@dataclass(frozen=True, repr=False)
class Inspection(Shown):
    """Every prior and every pairing, the latter best first.

    Attributes:
        data: name of the data set.
        examples: how many were fitted on (``fit``), held out (``held_out``) and are there (``all``), and
            ``min``, ``median`` and ``max`` of a label.
        priors: in the order given.
        pairings: by their score.
        suggestion: mixtures, the highest held-out log-density first, or None.
        warnings: what to look out for.
        settings: seed, steps, torch's threads.
        seconds: of all of it.
    """

    data: str
    examples: dict[str, float]
    priors: list[FittedPrior]
    pairings: list[Pairing]
    suggestion: list[Candidate] | None
    warnings: list[str]
    settings: dict[str, Any]
    seconds: float

    @property
    def reason(self) -> str:
        """Why the first pairing is recommended, in one line."""
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

    def to_pandas(self) -> pandas.DataFrame:
        """A row for each pairing, best first, with what is known of its prior (extra ``plot``)."""
        import pandas

        return pandas.DataFrame(self._records())

    def _records(self) -> list[dict[str, Any]]:
        """One record for each pairing, with what is known of its prior."""
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
        """Everything as plain dictionaries, lists and numbers."""
        return asdict(self)


def inspect_priors(
    data: Any,
    priors: Sequence[str],
    couplings: Sequence[str] = ("condot",),
    *,
    examples: int = 15_000,
    steps: int = 4,
    seed: int = 0,
    suggestion: bool = True,
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
        suggestion: also fit a set of mixtures.
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
        if (warning := misfit_warning(spec, report.misfit, data.class_names)) is not None:
            warnings.append(warning)
        pairings += _pairings(prior, spec, pairers, chosen, steps, seed, warnings)
    if not pairings:
        raise OptionError(f"inspect: {warnings[-1]}")
    found = Inspection(
        data=data.name,
        examples=chosen.summary(len(data)),
        priors=fitted,
        pairings=sorted(pairings, key=lambda pairing: pairing.score),
        suggestion=suggest(chosen, seed) if suggestion else None,
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
    """One prior with every coupling that it can serve; of the others there is a warning."""
    x1, cond = examples.held_out[:PAIRS], take(examples.held_out_cond, slice(0, PAIRS))
    for name, coupling in couplings.items():
        try:
            coupling.check(prior)
        except CouplingError as error:
            warnings.append(f"{spec} + {name} is left out: {error}")
            continue
        start, generator = time.perf_counter(), torch.Generator().manual_seed(seed)
        with stage(f"rank {spec} + {name}"):
            coupling.fit(prior, (examples.x, examples.cond), generator=torch.Generator().manual_seed(seed))
            gap = source_mismatch(coupling, prior, x1, cond, generator=generator, permutations=RELABELLINGS)
            cost = mean_transport_cost(prior, coupling, examples, generator)
            flow = simulate_flow(prior, coupling, examples, generator, steps=steps)
        seconds = time.perf_counter() - start
        yield Pairing(spec, name, cost, gap.as_dict(), flow, flow.score, seconds)


@dataclass(frozen=True)
class Candidate:
    """One mixture and its mean log-density of held-out data, in nats per dimension."""

    prior: str
    log_density: float
    seconds: float


def suggest(examples: Examples, seed: int) -> list[Candidate] | None:
    """Fit a small set of mixtures on at most 4,000 examples; None for embeddings, which ``gmm`` refuses."""
    if examples.cond is not None and examples.labels is None:
        return None
    rows, held_out = slice(0, MOST_ROWS), slice(0, MOST_HELD_OUT)
    x, cond = examples.x[rows], take(examples.labels, rows)
    x1, cond1 = examples.held_out[held_out], take(examples.held_out_labels, held_out)
    if cond is not None and cond1 is not None:
        known = torch.isin(cond1, cond)
        x1, cond1 = x1[known], cond1[known]
    found = []
    candidates = _candidates(examples, x[0].numel())
    with stage("try mixtures", len(candidates)) as trying:
        for options in candidates:
            began = time.perf_counter()
            prior = Prior.create("gmm", max_iter=MAX_ITERATIONS, **options)
            prior.fit((x, cond), generator=torch.Generator().manual_seed(seed))
            density = mean_log_density(prior, x1, cond1)
            found.append(Candidate(str(Spec("gmm", options)), density, time.perf_counter() - began))
            trying.advance()
    return sorted(found, key=lambda candidate: -candidate.log_density)


def _candidates(examples: Examples, dim: int) -> list[dict[str, Any]]:
    """Options of ``gmm``, cheap ones first; no more components than the smallest condition can feed."""
    x = examples.x[:MOST_ROWS].flatten(1)
    labels = examples.labels
    fewest = len(x) if labels is None else int(torch.bincount(labels[: len(x)])[labels.unique()].min())
    floor = float(f"{VARIANCE_FLOOR * float(x.var(0).mean()):.2g}") or 1e-6
    counts = [k for k in (2, 4, 8) if k * ROWS_FOR_EACH_COMPONENT <= fewest]
    ranks = [r for r in (8, 16, 32, 64) if 2 * r <= min(dim, fewest)]
    kinds: list[dict[str, Any]] = [{"covariance": "spherical"}, {"covariance": "diag"}]
    kinds += [{"covariance": "diag", "components": k} for k in counts]
    kinds += [{"covariance": "lowrank", "rank": r} for r in ranks]
    if dim <= MOST_FULL_DIMENSIONS:
        kinds += [{"covariance": "full"}]
        kinds += [{"covariance": "full", "components": k} for k in counts if k * dim <= fewest]
    if counts and ranks:
        kinds += [{"covariance": "lowrank", "rank": ranks[len(ranks) // 2], "components": counts[0]}]
    shrinkage = {"shrinkage": 1.0} if fewest < 2 * ROWS_FOR_EACH_COMPONENT else {}
    return [{**kind, "reg_covar": floor, **shrinkage} for kind in kinds]
