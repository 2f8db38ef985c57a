"""What a trained flow remembers and the scores of 2,000 of its samples, and how guidance changes these.

values = "benchmarks.studies.headline.few_samples:values"
values = "benchmarks.studies.headline.few_samples:guided"
"""

from __future__ import annotations

from typing import Any

from benchmarks.studies import Row, closed_form
from benchmarks.studies.headline.runs import DEFAULT
from flowprior import evaluate
from flowprior.evaluation.result import REAL_DATA
from flowprior.flow import Flow

SAMPLES = 2000
NFES = (1, 4, 15)
METRICS = ("fid", "precision-recall", "memorisation", "c2st")
FEW = {"fid-cnn128": "fid-2000-cnn128", "fid-lite0": "fid-2000-lite0"}
"""The names of the distances of so few samples, beside which those of all stand in the same table."""
STRENGTHS = (1.0, 1.25, 1.5, 2.0)
"""Of classifier-free guidance, which the baselines have; 1 is none."""
BY_PRIOR = (1.0, 1.1, 1.25, 1.5)
"""Of guidance by the prior, which the default has."""


def values(flow: Flow, run: Any, data: Any) -> list[Row]:
    """Return :data:`METRICS` of 2,000 samples, and how far the velocity is from that in closed form."""
    rows = _measured(flow, run, data.train, data.test, "test", metrics=METRICS)
    named = [row | {"metric": FEW.get(row["metric"], row["metric"])} for row in rows]
    return named + closed_form.values(flow, run, data)


def guided(flow: Flow, run: Any, data: Any) -> list[Row]:
    """Return the distances of 2,000 samples under guidance to the held-out images and to the test split."""
    (spec,) = run.variant.specs
    own: dict[str, Any] = {"guidance": STRENGTHS}
    if run.variant.label == DEFAULT:
        own = {"sampler": [f"{spec},prior_guidance={strength:g}" for strength in BY_PRIOR]}
    return [
        row
        for split, reference in {"validation": data.validation, "test": data.test}.items()
        for row in _measured(flow, run, data.train, reference, split, metrics=("fid", "accuracy"), **own)
    ]


def _measured(flow: Flow, run: Any, train: Any, reference: Any, split: str, **asked: Any) -> list[Row]:
    """Return the rows of :func:`flowprior.evaluate`, without the seconds of sampling, as those of a run."""
    grid = run.grid
    terms = {"nfe": NFES, "sampler": run.variant.specs, "samples": SAMPLES, "conditions": grid.conditions}
    terms |= {"seed": run.seed + grid.evaluation_seed, **grid.evaluation, **asked}
    known = {"flow": run.variant.label, "seed": run.seed}
    return [
        row | ({} if row["flow"] == REAL_DATA else known)
        for row in evaluate(flow, train, reference=reference, split=split, **terms).rows
        if row["split"] == split
    ]
