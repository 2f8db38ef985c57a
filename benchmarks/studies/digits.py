"""scikit-learn's digits as the studies change them, and what few examples of each class do to a prior.

values = "benchmarks.studies.digits:few_examples"
python -m benchmarks.studies.digits    # fits the priors of few examples with every shrinkage
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies import CLASSIFIERS, RESULTS, Row, draw, everything, fit_prior, rows_of, write_cell
from benchmarks.studies.few_labels import few_digits
from flowprior.data import DATA, Data, TensorData, load_data
from flowprior.features import load_classifier
from flowprior.features.classifier import Classifier
from flowprior.flow import Flow
from flowprior.metrics import FeatureMoments, wasserstein2_squared
from flowprior.metrics.memorisation import memorisation_ratio
from flowprior.priors import Prior

CLASSES = 10
SAMPLES = 500
SHRINKAGES = (0.0, 1.0, 5.0, 20.0)
COVARIANCES = ("diag", "lowrank,rank=8", "full")
COUNTS = (1, 2, 5, 20, 100, 1000)
BALANCED = torch.arange(SAMPLES) % CLASSES
"""Labels, each class equally often."""


@cache
def split(name: str) -> TensorData:
    """The ``"train"`` or ``"test"`` split."""
    data = load_data("digits", name)  # type: ignore[arg-type]
    assert isinstance(data, TensorData)
    return data


@cache
def classifier() -> Classifier:
    """The committed classifier, whose features the stored distances are of."""
    return load_classifier(CLASSIFIERS / "digits-f607d1b6.safetensors", split("train"))


def pictures(x: Tensor, labels: Tensor | None, name: str) -> TensorData:
    """Pictures x ``[N, 1, 8, 8]`` as a data set of the digits' kind."""
    return TensorData(x, labels, name=name, classes=None if labels is None else CLASSES, is_image=True)


class OtherPriorData(TensorData):
    """Digits on which networks are trained while their priors are fitted to ``prior_data``."""

    def __init__(self, prior_data: Data, name: str) -> None:
        super().__init__(*everything(split("train")), name=name, classes=CLASSES, is_image=True)
        self.prior_data = prior_data


@DATA.register("digits-without-labels")
def unlabelled(split: Any = "train") -> TensorData:
    """The pictures alone."""
    return pictures(everything(load_data("digits", split))[0], None, "digits-unlabelled")


@DATA.register("digits-without-labels-for-the-prior")
def unlabelled_for_the_prior(split: Any = "train") -> Data:
    """Digits whose labels only the network sees."""
    return OtherPriorData(unlabelled(), "digits") if split == "train" else load_data("digits", split)


def few_examples(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Values of a flow that was trained on few examples.

    ``log_density`` and ``spread`` of its prior alone; ``memorisation``, the ratio of nearest distances to the
    training examples at 15 evaluations: about 1 for unseen pictures, 0 for copies.
    """
    few = load_data(cell.config.data)
    x = draw(flow, BALANCED, 15, cell.seed)
    ratio = memorisation_ratio(x, split("test").x, (batch for batch, _ in few.batches()))
    return rows_of(describe_prior(flow.prior), nfe=0) + rows_of({"memorisation": ratio}, nfe=15)


def without_labels(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Values of a flow without labels: Fréchet distance by the digits' classifier, W2² of 360 pictures."""
    if flow.condition.kind != "none":
        return []
    real, rows = split("test").x, []
    name, features = f"fid-{classifier().features_name}", classifier().features
    moments = FeatureMoments.of([features(real)])
    for nfe in (0, 1, 4, 15, 60):
        x = draw(flow, None, nfe, cell.seed, SAMPLES).clamp(-1, 1)
        found = {name: FeatureMoments.of([features(x)]).distance(moments)}
        found["w2_squared"] = wasserstein2_squared(x[:360], real)
        rows += rows_of(found, nfe=nfe, sampler="euler", samples=SAMPLES, split="test")
    return rows


def describe_prior(prior: Prior) -> dict[str, float]:
    """Log-density of the test split in nats a dimension; the source samples' deviation over the data's."""
    x, labels = everything(split("test"))
    drawn = prior.sample(BALANCED, generator=torch.Generator().manual_seed(0))
    spread = within_class_deviation(drawn, BALANCED) / within_class_deviation(x, labels)
    density = prior.log_prob(x, labels).double().mean() / x[0].numel()
    return {"log_density": float(density), "spread": float(spread)}


def within_class_deviation(x: Tensor, labels: Tensor) -> Tensor:
    """Root mean square distance to the own class's mean, a dimension."""
    parts = [x[labels == label].flatten(1) for label in labels.unique().tolist()]
    return torch.cat([(part - part.mean(0)).square().mean(1) for part in parts]).mean().sqrt()


def shrunk_priors(count: int, seed: int) -> list[Row]:
    """Every covariance with every shrinkage on ``count`` examples of each class; nothing is trained."""
    data, rows = few_digits("train", count, seed), []
    for spec in (f"gmm:covariance={c},shrinkage={s}" for c, s in product(COVARIANCES, SHRINKAGES)):
        rows += rows_of(describe_prior(fit_prior(spec, data, seed)), flow=spec, seed=seed, nfe=0)
    return rows


def main() -> None:
    """Write the cells of :func:`shrunk_priors` that are not there yet."""
    for seed, count in product(range(2), COUNTS):
        path = RESULTS / "few-examples" / f"priors-{count}-seed{seed}.json"
        if not path.is_file():
            setting = {"label": None, "seed": seed, "part": "priors", "count": count}
            write_cell(path, setting, shrunk_priors(count, seed))


if __name__ == "__main__":
    main()
