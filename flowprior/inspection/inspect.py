"""Inspect priors and couplings on a data set, before any network is trained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from flowprior.couplings import Coupling, OTCoupling, source_gap, transport_cost
from flowprior.data import as_data
from flowprior.errors import CouplingError, OptionError
from flowprior.inspection.closeness import measure_closeness
from flowprior.inspection.examples import Examples, take
from flowprior.inspection.pictures import save_prior_picture
from flowprior.inspection.rehearsal import rehearse
from flowprior.inspection.report import Fitted, Inspection, Pairing
from flowprior.inspection.suggestion import suggest
from flowprior.pictures import require_matplotlib
from flowprior.priors import Prior

FEW_EXAMPLES = 20
PAIRS = 2048
OT_BATCH = 256
RELABELLINGS = 100


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
        steps: Euler steps of the rehearsal that pairings are ranked by.
        seed: of the split, the fits and the draws.
        suggestion: also fit a set of mixtures.
        out: directory for ``inspection.json`` and a picture of each prior.

    Raises:
        OptionError: nothing to inspect, or impossible counts.
        FlowpriorError: an unknown name, or a prior that cannot serve these data.
    """
    start = time.perf_counter()
    if not priors or not couplings or steps < 1:
        raise OptionError(
            f"inspect: expected a prior, a coupling and steps >= 1, got {list(priors)}, {list(couplings)} "
            f"and {steps}"
        )
    data = as_data(data)
    if out is not None and tuple(data.event_shape) == (2,):
        require_matplotlib()
    chosen = Examples.of(data, examples, seed)
    pairers = {spec: Coupling.registry.resolve(spec) for spec in couplings}
    fitted, pairings, warnings = [], [], _few(chosen)
    for place, spec in enumerate(dict.fromkeys(priors), 1):
        picture = None if out is None else Path(out) / f"prior-{place}-{spec.partition(':')[0]}.png"
        prior, report = _fit(spec, chosen, seed, picture)
        fitted.append(report)
        for name, coupling in pairers.items():
            try:
                coupling.check(prior)
            except CouplingError as error:
                warnings.append(f"{spec} + {name} is left out: {error}")
                continue
            pairings.append(_pair(prior, spec, coupling, name, chosen, steps, seed))
    if not pairings:
        raise OptionError(f"inspect: {warnings[-1]}")
    found = Inspection(
        data=data.name,
        examples=_counted(chosen, len(data)),
        priors=fitted,
        pairings=sorted(pairings, key=lambda pairing: pairing.score),
        suggestion=suggest(chosen, seed) if suggestion else None,
        warnings=warnings,
        settings={"seed": seed, "steps": steps, "threads": torch.get_num_threads()},
        seconds=time.perf_counter() - start,
    )
    if out is not None:
        found.save(Path(out) / "inspection.json")
    return found


def _fit(spec: str, examples: Examples, seed: int, picture: Path | None) -> tuple[Prior, Fitted]:
    """A fitted prior and its figures."""
    generator = torch.Generator().manual_seed(seed)
    prior: Prior = Prior.registry.resolve(spec)
    start = time.perf_counter()
    prior.fit((examples.x, examples.cond), generator=generator)
    seconds = time.perf_counter() - start
    drawn = picture is not None and save_prior_picture(picture, prior, examples, generator)
    return prior, Fitted(
        prior=spec,
        seconds=seconds,
        state_bytes=sum(value.numel() * value.element_size() for value in prior.state_dict().values()),
        closeness=measure_closeness(prior, examples, generator),
        transport_cost_ot=_transport_cost(prior, OTCoupling(), examples, generator),
        picture=str(picture) if drawn else None,
    )


def _pair(
    prior: Prior, spec: str, coupling: Coupling, name: str, examples: Examples, steps: int, seed: int
) -> Pairing:
    """The figures of one prior with one coupling."""
    start = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    rows = slice(0, PAIRS)
    held_out, cond = examples.held_out[rows], take(examples.held_out_cond, rows)
    gap = source_gap(coupling, prior, held_out, cond, generator=generator, permutations=RELABELLINGS)
    return Pairing(
        prior=spec,
        coupling=name,
        transport_cost=_transport_cost(prior, coupling, examples, generator),
        starts_gap=gap.as_dict(),
        rehearsal=rehearse(prior, coupling, examples, generator, steps=steps),
        seconds=time.perf_counter() - start,
    )


def _transport_cost(
    prior: Prior, coupling: Coupling, examples: Examples, generator: torch.Generator
) -> float:
    """Mean over at most 2,048 pairs, drawn in batches of 256 or of what the coupling asks for."""
    rows = torch.arange(min(PAIRS, len(examples.x))).split(coupling.draw_size(OT_BATCH))
    total, count = 0.0, 0
    for part in rows:
        x1, cond = examples.x[part], take(examples.cond, part)
        x0 = coupling.draw(prior, x1, cond, generator=generator)
        total += float(transport_cost(x0, x1)) * len(part)
        count += len(part)
    return total / count


def _counted(examples: Examples, total: int) -> dict[str, float]:
    counted: dict[str, float] = {"fit": len(examples.x), "held_out": len(examples.held_out), "all": total}
    if examples.counts is not None:
        seen = examples.counts[examples.counts > 0].double()
        counted |= {"conditions": len(seen), "min": float(seen.min()), "max": float(seen.max())}
        counted["median"] = float(seen.quantile(0.5))
    return counted


def _few(examples: Examples) -> list[str]:
    """A warning for labels with few examples."""
    counts = examples.counts
    if counts is None or not bool((counts < FEW_EXAMPLES).any()):
        return []
    empty, few = int((counts == 0).sum()), int((counts < FEW_EXAMPLES).sum())
    least = int(counts.argmin())
    return [
        f"{few} of {len(counts)} labels have fewer than {FEW_EXAMPLES} examples"
        + (f", {empty} of them none" if empty else "")
        + f" (label {least}: {int(counts[least])}); give gmm shrinkage=1 or more, or gather more data"
    ]
