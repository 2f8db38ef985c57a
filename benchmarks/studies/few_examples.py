"""Few examples of each class: the prior's statistics and the flow's samples, with and without shrinkage.

    python -m benchmarks.studies.few_examples

On digits: 1, 2, 5, 20, 100 and all examples of each class, for prior and network
alike. Of the prior alone: held-out log-density and spread. Of the flow: feature-FID, accuracy, W2² of each
class, and how near its samples are to the training examples (about 1 for unseen pictures, 0 for copies).
"""

from __future__ import annotations

import torch
import typer

from benchmarks.studies import digits
from benchmarks.studies.ensemble import Job, Member, fit_prior, run_jobs
from benchmarks.studies.settings import CONDOT, Setting
from benchmarks.studies.store import Cell, Store, use_threads
from benchmarks.studies.validation import everything
from flowprior.data import TensorData
from flowprior.flow import Flow
from flowprior.metrics.memorisation import memorisation_ratio
from flowprior.priors import Prior

STORE = Store("few-examples")
ALL = 1000
COUNTS = (1, 2, 5, 20, 100, ALL)
SHRINKAGES = (0.0, 1.0, 5.0, 20.0)
COVARIANCES = ("diag", "lowrank,rank=8", "full")
SETTINGS = {
    "gaussian+condot": CONDOT,
    "gmm+ot": Setting("gmm", "ot"),
    "gmm-shrunk+ot": Setting("gmm:shrinkage=5.0", "ot"),
    "lowrank8+ot": Setting("gmm:covariance=lowrank,rank=8", "ot"),
    "lowrank8-shrunk+ot": Setting("gmm:covariance=lowrank,rank=8,shrinkage=5.0", "ot"),
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def jobs(seed: int) -> list[Job]:
    """The cells of one seed, each on as many examples of each class as its count says."""
    found = []
    for count in COUNTS:
        data = digits.first_of_each(digits.splits()[0], count, seed)
        for name, setting in SETTINGS.items():
            found.append(
                Job(
                    f"{name}-{count}-seed{seed}",
                    Member(setting, data),
                    lambda flow, data=data: judge(flow, data, seed),
                    {"kind": "flow", "setting": name, "count": count},
                )
            )
    return found


def judge(flow: Flow, data: TensorData, seed: int) -> Cell:
    """Figures of one trained flow and of its prior."""
    return {
        "features": digits.judge().identities,
        "examples": len(data),
        "prior_figures": describe_prior(flow.prior, data),
        "rows": digits.measure(flow, seed),
        "memorisation": memorisation(flow, data, seed),
    }


def run_priors(count: int, seed: int) -> Cell:
    """Fit every covariance with every shrinkage on ``count`` examples of each class; train nothing."""
    data = digits.first_of_each(digits.splits()[0], count, seed)
    rows = []
    for covariance in COVARIANCES:
        for shrinkage in SHRINKAGES:
            prior = fit_prior(f"gmm:covariance={covariance},shrinkage={shrinkage}", data, seed)
            rows.append({"covariance": covariance, "shrinkage": shrinkage, **describe_prior(prior, data)})
    return {"examples": len(data), "rows": rows}


def describe_prior(prior: Prior, data: TensorData) -> dict[str, float]:
    """Log-density of the test split in nats a dimension, and the starts' deviation over the data's own."""
    x, labels = everything(digits.splits()[1])
    dims = x[0].numel()
    generator = torch.Generator().manual_seed(0)
    starts = prior.sample(digits.balanced_labels(), generator=generator)
    return {
        "log_density": float(prior.log_prob(x, labels).double().mean()) / dims,
        "spread": float(
            within_class_deviation(starts, digits.balanced_labels()) / within_class_deviation(x, labels)
        ),
    }


def within_class_deviation(x: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    """Root mean square distance to the own class's mean, a dimension."""
    assert labels is not None
    parts = [x[labels == label].flatten(1) for label in labels.unique().tolist()]
    return torch.cat([(part - part.mean(0)).square().mean(1) for part in parts]).mean().sqrt()


def memorisation(flow: Flow, data: TensorData, seed: int) -> float:
    """Ratio of nearest distances to the training examples, at 15 evaluations."""
    generator = torch.Generator().manual_seed(1000 + seed)
    x = flow.sample(digits.balanced_labels(), nfe=15, generator=generator)
    held_out, _ = everything(digits.splits()[1])
    return memorisation_ratio(x, held_out, (batch for batch, _ in data.batches()))


@app.command()
def main(seeds: int = 2, threads: int = 1) -> None:
    """Run every cell that has no result yet."""
    use_threads(threads)
    STORE.expect_judge(digits.judge().identities)
    for seed in range(seeds):
        for count in COUNTS:
            made_with = {"kind": "priors", "count": count, "seed": seed}
            STORE.run(f"priors-{count}-seed{seed}", lambda c=count, s=seed: run_priors(c, s), **made_with)
        for cell in run_jobs(STORE, jobs(seed), seed, digits.BUDGET):
            shown = ", ".join(f"{row['nfe']}: {row['fid-cnn128']:.1f}" for row in cell["rows"])
            typer.echo(f"{cell['count']} of each, {cell['setting']} seed {seed}: fid-cnn128 at NFE {shown}")


if __name__ == "__main__":
    app()
