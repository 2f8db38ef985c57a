"""Which mixture to try: number of components and kind of covariance by held-out log-density."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from flowprior.conditions import rows as take
from flowprior.inspection.examples import Examples
from flowprior.priors import Prior
from flowprior.progress import stage
from flowprior.registry import Spec

MOST_ROWS = 4000
MOST_HELD_OUT = 1000
MAX_ITERATIONS = 10
VARIANCE_FLOOR = 0.01
"""``reg_covar`` as a share of the mean variance: without it constant dimensions decide the density alone."""
MOST_FULL_DIMENSIONS = 128
ROWS_FOR_EACH_COMPONENT = 20


@dataclass(frozen=True)
class Candidate:
    """One mixture and its mean log-density of held-out data, in nats per dimension."""

    prior: str
    log_density: float
    seconds: float


@dataclass(frozen=True)
class Suggestion:
    """The candidates, best first, and the seconds that all of them took."""

    candidates: list[Candidate]
    seconds: float
    rows: int

    @property
    def best(self) -> str:
        """The specification of the best one."""
        return self.candidates[0].prior


def suggest(examples: Examples, seed: int) -> Suggestion | None:
    """Fit a small set of mixtures on at most 4,000 examples; None for embeddings, which ``gmm`` refuses."""
    if examples.cond is not None and examples.labels is None:
        return None
    start = time.perf_counter()
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
            density = float(prior.log_prob(x1, cond1).double().mean()) / x1[0].numel()
            found.append(Candidate(str(Spec("gmm", options)), density, time.perf_counter() - began))
            trying.advance()
    found.sort(key=lambda candidate: -candidate.log_density)
    return Suggestion(found, time.perf_counter() - start, len(x))


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
