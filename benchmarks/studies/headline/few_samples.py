"""What a trained flow remembers, scores of 2,000 of its samples, and those of other ways to sample it.

values = "benchmarks.studies.headline.few_samples:values"
values = "benchmarks.studies.headline.few_samples:started_late"
values = "benchmarks.studies.headline.few_samples:guided"
"""

from __future__ import annotations

from collections.abc import Sequence
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
STRENGTHS = (1.0, 1.5, 2.0, 3.0, 4.0)
"""Of classifier-free guidance, which the baselines have; 1 is none."""
BY_PRIOR = (1.0, 1.1, 1.25, 1.5)
"""Of guidance by the prior, which the default has."""
LATE = [
    f"{start},prior_guidance={strength:g}"
    for start in ("", ",start=0.2", ",start=0.4")
    for strength in (1, 1.1, 1.25)
]
"""Further options of the default's sampler for one evaluation."""


def values(flow: Flow, run: Any, data: Any) -> list[Row]:
    """Return :data:`METRICS` of 2,000 samples, and how far the velocity is from that in closed form."""
    return [
        *(
            row | {"metric": FEW.get(row["metric"], row["metric"])}
            for row in _measured(flow, run, data.train, data.test, "test", metrics=METRICS)
        ),
        *closed_form.values(flow, run, data),
    ]


def started_late(flow: Flow, run: Any, data: Any) -> list[Row]:
    """Return :func:`values`; of the default also distances of all samples by late starts, on both splits.

    Their names begin with ``late-``.
    """
    rows = values(flow, run, data)
    if run.variant.label == DEFAULT:
        asked = {"nfe": (1,), "samples": run.grid.samples, "metrics": ("fid",)}
        found = _on_both_splits(flow, run, data, LATE, **asked)
        rows += [row | {"metric": f"late-{row['metric']}"} for row in found]
    return rows


def guided(flow: Flow, run: Any, data: Any) -> list[Row]:
    """Return the distances of 2,000 samples under guidance to the held-out images and to the test split."""
    ours = run.variant.label == DEFAULT
    options = [f",prior_guidance={strength:g}" for strength in BY_PRIOR] if ours else [""]
    strengths = (1.0,) if ours else STRENGTHS
    return _on_both_splits(flow, run, data, options, metrics=("fid", "accuracy"), guidance=strengths)


def _on_both_splits(flow: Flow, run: Any, data: Any, options: Sequence[str], **asked: Any) -> list[Row]:
    """Return the rows of samples that the flow's sampler draws with each of these options."""
    samplers = [f"{run.variant.specs[0]}{option}" for option in options]
    return [
        row
        for split, reference in {"validation": data.validation, "test": data.test}.items()
        for row in _measured(flow, run, data.train, reference, split, sampler=samplers, **asked)
    ]


def _measured(flow: Flow, run: Any, train: Any, reference: Any, split: str, **asked: Any) -> list[Row]:
    """Return the rows of :func:`flowprior.evaluate`, without the seconds of sampling, as those of a run."""
    terms = {"nfe": NFES, "sampler": run.variant.specs, "samples": SAMPLES, "conditions": run.grid.conditions}
    terms |= {"seed": run.seed + run.grid.evaluation_seed, **run.grid.evaluation, **asked}
    known = {"flow": run.variant.label, "seed": run.seed}
    return [
        row | ({} if row["flow"] == REAL_DATA else known)
        for row in evaluate(flow, train, reference=reference, split=split, **terms).rows
        if row["split"] == split
    ]
