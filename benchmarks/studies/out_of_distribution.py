"""Conditions and inputs that the prior was not made for: a function of values for each, named as its study.

values = "benchmarks.studies.out_of_distribution:unseen"
python -m benchmarks.studies.out_of_distribution    # does the log-density tell corrupted from clean digits?
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional

from benchmarks.studies import RESULTS, SEED, Row, digits, draw, everything, fit_prior, rows_of, write_cell
from flowprior.conditions import labels_in
from flowprior.data import DATA, Data, TensorData, load_data
from flowprior.evaluation import evaluate
from flowprior.flow import Flow
from flowprior.metrics import wasserstein2_per_condition, wasserstein2_squared
from flowprior.training import RunConfig, train

NFES = (0, 1, 4, 15)
UNSEEN = 9
GAP = (0.0, 1.5)  # of the moons' x coordinate, which runs from -4 to 6
PAIR = (0, 1)
SCORERS = {
    "gmm": "gmm:reg_covar=0.01",
    "gmm, K = 4": "gmm:components=4,reg_covar=0.01",
    "lowrank8": "gmm:covariance=lowrank,rank=8,reg_covar=0.01",
    "full": "gmm:covariance=full,reg_covar=0.01",
    "latent-gmm, one mixture": "latent-gmm:rank=8,law=mixture",
    "default": "latent-gmm",
    "learned-mean, low-rank": "learned-mean:covariance=lowrank",
}


@DATA.register("digits-without-nines")
def without_nines(split: Any = "train") -> Data:
    """Digits whose training split lacks a class."""
    data = digits.split(split)
    if split != "train":
        return data
    x, labels = everything(data)
    return digits.pictures(x[labels != UNSEEN], labels[labels != UNSEEN], "digits-without-nines")


def unseen(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """What the classifier sees in samples of the unseen label and of a seen one, and W2² of these."""
    rows = []
    test, labels = everything(digits.split("test"))
    seen, _ = everything(without_nines())
    for label in (UNSEEN, 0):
        x = draw(flow, torch.full((digits.SAMPLES,), label), 15, cell.seed).clamp(-1, 1)
        found = digits.classifier()(x).argmax(1).bincount(minlength=digits.CLASSES) / len(x)
        values = {f"share_seen_as_{digit}": share for digit, share in enumerate(found.tolist())}
        values["w2_squared_unseen_class"] = wasserstein2_squared(x[:360], test[labels == UNSEEN])
        values["w2_squared_seen_classes"] = wasserstein2_squared(x[:360], seen[:360])
        rows += rows_of(values, nfe=15, sampler="euler", condition=label)
    return rows


@DATA.register("moons-with-a-gap")
def moons_with_a_gap(split: Any = "train", seed: int = 0) -> TensorData:
    """Moons whose condition is their own x coordinate; the training split lacks an interval of it."""
    size = 20_000 if split == "train" else 10_000
    x, cond = everything(load_data(f"8gaussians-to-moons-continuous:n={size},seed={seed}", split))
    if split == "train":
        x, cond = x[~_in_gap(cond)], cond[~_in_gap(cond)]
    return TensorData(x, cond, name="moons-with-a-gap")


def gap(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """W2² and mean error of the first coordinate, which the condition prescribes, in the gap and outside."""
    real, cond = everything(moons_with_a_gap("test", cell.seed))
    rows = []
    for place, chosen in (("inside", _in_gap(cond)), ("outside", ~_in_gap(cond))):
        points, asked = real[chosen][:500], cond[chosen][:500]
        for nfe in NFES:
            x = draw(flow, asked, nfe, cell.seed)
            error = float((x[:, :1] - asked).abs().mean())
            values = {"w2_squared": wasserstein2_squared(x, points), "error": error}
            rows += rows_of(values, nfe=nfe, sampler="euler", condition=place)
    return rows


def _in_gap(cond: Tensor) -> Tensor:
    return (cond[:, 0] >= GAP[0]) & (cond[:, 0] <= GAP[1])


def add_noise(x: Tensor) -> Tensor:
    """Gaussian noise of standard deviation 0.5."""
    return x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def blur(x: Tensor) -> Tensor:
    """Mean of 3 × 3 pixels."""
    return functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


CORRUPTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "noise": add_noise,
    "blur": blur,
    "shifted": lambda x: 0.5 * x + 0.4,  # half the contrast, brighter
}


@DATA.register("digits-with-a-corrupted-prior")
def corrupted_prior(split: Any = "train", kind: str = "none") -> Data:
    """Digits on which networks are trained while their priors are fitted to corrupted ones."""
    data = digits.split(split)
    return data if split != "train" else digits.OtherPriorData(_corrupted(kind), f"digits-{kind}")


def train_on_clean(config: RunConfig, data: Data, out: Path | None = None) -> Flow:
    """``flowprior.train`` with a prior fitted to the ``prior_data`` of ``data``, where it has them."""
    prior = fit_prior(config.prior, getattr(data, "prior_data", data), config.training.seed)
    return train(data, prior=prior, config=config, out=out, resume=out is not None)


def corrupted(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """Of a flow whose prior saw clean digits: its values from priors that saw corrupted ones."""
    rows, own = [], flow.prior
    options: dict[str, Any] = {"nfe": NFES, "samples": digits.SAMPLES, "seed": SEED + cell.seed}
    options |= {"conditions": "balanced", "metrics": ["fid", "accuracy", "w2"]}
    options |= {"reference": digits.split("test"), "classifier": digits.classifier()}
    for kind in CORRUPTIONS if "kind=none" in cell.config.data else ():
        flow.prior = fit_prior(cell.config.prior, _corrupted(kind), cell.seed)
        found = evaluate(flow, digits.split("train"), **options)
        found = found.tagged(flow=f"{cell.variant.label}, started from {kind}", seed=cell.seed)
        rows += [row for row in found.rows if row["nfe"] is not None]
    flow.prior = own
    return rows


def _corrupted(kind: str) -> TensorData:
    data = digits.split("train")
    return digits.pictures(CORRUPTIONS[kind](data.x), labels_in(data.cond), f"digits-{kind}")


def densities(seed: int) -> list[Row]:
    """Area under the curve that tells corrupted from clean test digits by the prior's log-density."""
    test, labels = everything(digits.split("test"))
    is_clean, rows = [True] * len(test) + [False] * len(test), []
    for name, spec in SCORERS.items():
        prior = fit_prior(spec, digits.split("train"), seed)
        with torch.no_grad():
            scores = {kind: prior.log_prob(change(test), labels) for kind, change in CORRUPTIONS.items()}
        for kind, score in scores.items():
            density = float(score.double().mean()) / test[0].numel()
            auroc = float(roc_auc_score(is_clean, torch.cat([scores["none"], score])))
            values = {"auroc": auroc, "log_density": density}
            rows += rows_of(values, flow=name, seed=seed, nfe=0, condition=kind)
    return rows


@DATA.register("digits-coinciding")
def coinciding_digits(split: Any = "train") -> TensorData:
    """Digits whose second class is moved by the difference of two classes' means in the training split."""
    train, (x, labels) = digits.split("train"), everything(digits.split(split))
    first, second = (train.x[train.cond == label].mean(0) for label in PAIR)
    x = torch.where((labels == PAIR[1]).view(-1, 1, 1, 1), x + first - second, x)
    return TensorData(x, labels, name="digits-coinciding", classes=digits.CLASSES)


def coinciding(flow: Flow, cell: Any, data: Any) -> list[Row]:
    """W2² of the two classes whose means may coincide."""
    real, labels, rows = load_data(cell.config.data, "test"), torch.tensor(PAIR).repeat_interleave(200), []
    for nfe in NFES:
        each = wasserstein2_per_condition(draw(flow, labels, nfe, cell.seed), labels, *everything(real))
        pair = {"w2_squared": sum(each.values()) / len(each)}
        rows += rows_of(pair, nfe=nfe, sampler="euler", split="test")
    return rows


def main() -> None:
    """Write the cells of :func:`densities` that are not there yet."""
    for seed in range(2):
        path = RESULTS / "out-of-distribution" / f"density-seed{seed}.json"
        if not path.is_file():
            write_cell(path, {"label": None, "seed": seed, "part": "density"}, densities(seed))


if __name__ == "__main__":
    main()
