"""Conditions and inputs that the prior was not made for.

    python -m benchmarks.studies.out_of_distribution

- ``unseen``: digits without one class; then its label is asked for.
- ``gap``: moons whose condition is the target's own x coordinate; an interval of it is left out of training.
- ``density``: priors fitted to clean digits score corrupted ones: does the log-density tell?
- ``corrupted``: the prior is fitted to digits with noise, blur or shifted statistics; the network is trained
  on clean ones (``rows``), or a clean flow is started from the corrupted prior (``start``).
- ``coinciding``: two classes of digits are moved so that they share one mean, and are told apart by the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import typer
from torch import Tensor
from torch.nn import functional

from benchmarks.studies import digits
from benchmarks.studies.ensemble import Budget, Job, Member, fit_prior, run_jobs
from benchmarks.studies.sampling import draw_samples
from benchmarks.studies.settings import CONDOT, Setting
from benchmarks.studies.store import Cell, Store, use_threads
from benchmarks.studies.validation import everything
from flowprior.data import TensorData, load_data
from flowprior.errors import InputError
from flowprior.flow import Flow
from flowprior.metrics import wasserstein2_per_condition, wasserstein2_squared
from flowprior.priors import Prior

STORE = Store("out-of-distribution")
UNSEEN = 9
GAP = (0.0, 1.5)  # of the moons' x coordinate, which runs from -4 to 6
PAIR = (0, 1)
POOLED = "gmm:unseen=pooled,conditions=10"
DIAGONAL = "gmm:reg_covar=0.01"
LOWRANK = "gmm:covariance=lowrank,rank=8,reg_covar=0.01"
LEARNED = "learned-mean:sigma=scalar"
TOY = Budget(steps=600, batch_size=128)
SCORERS = {
    "gmm": DIAGONAL,
    "gmm, K = 4": "gmm:components=4,reg_covar=0.01",
    "lowrank8": LOWRANK,
    "full": "gmm:covariance=full,reg_covar=0.01",
    "latent-gmm": "latent-gmm:rank=8",
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


# -- a label that nobody has seen ---------------------------------------------------------------------------


def unseen_jobs(seed: int) -> list[Job]:
    """Leave one class out of prior and network, then ask for it."""
    train, _ = digits.splits()
    assert train.cond is not None
    seen = train.cond != UNSEEN
    data = digits.with_pictures(train.x[seen], train.cond[seen], "digits-without-nines")
    settings = {"gaussian+condot": CONDOT, "gmm+condot": Setting(POOLED), "gmm+ot": Setting(POOLED, "ot")}
    return [
        _job("unseen", "", name, Member(setting, data), seed, lambda flow: ask_for_unseen(flow, data, seed))
        for name, setting in settings.items()
    ]


def ask_for_unseen(flow: Flow, data: TensorData, seed: int) -> Cell:
    """What comes of the unseen label, and of a seen one."""
    rows = []
    for label in (UNSEEN, 0):
        labels = torch.full((digits.SAMPLES,), label)
        x = flow.sample(labels, nfe=15, generator=_generator(seed)).clamp(-1, 1)
        found = digits.judge().classifier(x).argmax(1)
        shares = found.bincount(minlength=digits.CLASSES) / len(found)
        rows.append({"label": label, "shares": shares.tolist(), **_nearness(x, data)})
    judge = digits.judge().identities
    return {"features": judge, "rows": rows, "without_fallback": _refusal(data)}


def _refusal(data: TensorData) -> str:
    """What the prior says of the unseen label where no fallback was asked for."""
    prior = Prior.create("gmm", conditions=10).fit(data.batches())
    try:
        prior.sample(torch.tensor([UNSEEN]))
    except InputError as error:
        return str(error)
    return "nothing"


def _nearness(x: Tensor, data: TensorData) -> dict[str, float]:
    """W2² of the samples to the class that was left out, and to all classes that were seen."""
    test, labels = everything(digits.splits()[1])
    assert labels is not None
    return {
        "w2_squared_unseen_class": wasserstein2_squared(x[:360], test[labels == UNSEEN]),
        "w2_squared_seen_classes": wasserstein2_squared(x[:360], data.x[:360]),
    }


# -- an interval of embeddings that nobody has seen ---------------------------------------------------------


def gap_jobs(seed: int) -> list[Job]:
    """Leave an interval of a continuous condition out of training."""
    x, cond = everything(load_data(f"8gaussians-to-moons-continuous:n=20000,seed={seed}"))
    assert cond is not None
    outside = (cond[:, 0] < GAP[0]) | (cond[:, 0] > GAP[1])
    data = TensorData(x[outside], cond[outside], name="moons-with-a-gap")
    settings = {
        "gaussian+condot": CONDOT,
        "learned+condot": Setting(LEARNED),
        "learned+ot": Setting(LEARNED, "ot"),
    }
    return [
        _job("gap", "", name, Member(setting, data), seed, lambda flow: ask_in_gap(flow, seed))
        for name, setting in settings.items()
    ]


def ask_in_gap(flow: Flow, seed: int) -> Cell:
    """W2² and mean error of the first coordinate, which the condition prescribes, in the gap and outside."""
    real, cond = everything(load_data(f"8gaussians-to-moons-continuous:n=10000,seed={seed}", "test"))
    assert cond is not None
    inside = (cond[:, 0] >= GAP[0]) & (cond[:, 0] <= GAP[1])
    rows: list[dict[str, Any]] = []
    for place, chosen in (("inside", inside), ("outside", ~inside)):
        points, asked = real[chosen][:500], cond[chosen][:500]
        for nfe in digits.NFES:
            found = draw_samples(flow, asked, nfe, generator=_generator(seed))
            error = float((found[:, :1] - asked).abs().mean())
            distance = wasserstein2_squared(found, points)
            rows.append({"place": place, "nfe": nfe, "w2_squared": distance, "error": error})
    return {"gap": GAP, "rows": rows}


# -- corrupted inputs ---------------------------------------------------------------------------------------


def add_noise(x: Tensor) -> Tensor:
    """Gaussian noise of standard deviation 0.5."""
    return x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def blur(x: Tensor) -> Tensor:
    """Mean of 3 × 3 pixels."""
    return functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def shift_statistics(x: Tensor) -> Tensor:
    """Half the contrast, brighter by 0.4."""
    return 0.5 * x + 0.4


CORRUPTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "noise": add_noise,
    "blur": blur,
    "shifted": shift_statistics,
}


def run_density(seed: int) -> Cell:
    """Area under the curve that tells corrupted from clean test digits by the prior's log-density."""
    train, test = digits.splits()
    rows = []
    for name, spec in SCORERS.items():
        prior = fit_prior(spec, train, seed)
        with torch.no_grad():
            scores = {kind: prior.log_prob(change(test.x), test.cond) for kind, change in CORRUPTIONS.items()}
        for kind, score in scores.items():
            rows.append(
                {"prior": name, "corruption": kind, "auroc": separation(scores["none"], score)}
                | {"log_density": float(score.double().mean()) / test.x[0].numel()}
            )
    return {"rows": rows}


def separation(clean: Tensor, corrupted: Tensor) -> float:
    """Probability that a clean example scores above a corrupted one; ties count half."""
    above = (clean[:, None] > corrupted).double() + 0.5 * (clean[:, None] == corrupted).double()
    return float(above.mean())


def corrupted_jobs(seed: int) -> list[Job]:
    """Fit the prior to corrupted digits, train with it on clean ones; start the clean flow from it."""
    train, _ = digits.splits()
    found = []
    for name, spec in (("gmm+ot", DIAGONAL), ("lowrank8+ot", LOWRANK)):
        priors = {
            kind: fit_prior(spec, digits.with_pictures(change(train.x), train.cond, f"digits-{kind}"), seed)
            for kind, change in CORRUPTIONS.items()
        }
        for kind, prior in priors.items():
            others = priors if kind == "none" else {}
            member = Member(Setting(spec, "ot"), train, prior)
            judge = lambda flow, others=others: judge_corrupted(flow, others, seed)  # noqa: E731
            found.append(_job("corrupted", kind, name, member, seed, judge))
    return found


def judge_corrupted(flow: Flow, others: dict[str, Prior], seed: int) -> Cell:
    """Figures from the prior it was trained with, and from other starts."""
    rows, own, start = digits.measure(flow, seed), flow.prior, {}
    for kind, prior in others.items():
        flow.prior = prior
        start[kind] = digits.measure(flow, seed)
    flow.prior = own
    judge = digits.judge().identities
    return {"features": judge, "rows": rows, "start": start, "floor": digits.floor()}


# -- a class whose mean lies on another's -------------------------------------------------------------------


def coinciding_jobs(seed: int) -> list[Job]:
    """Train where two classes have one mean (or not)."""
    train, _ = digits.splits()
    settings = {"gaussian+condot": CONDOT, "gmm+condot": Setting(DIAGONAL), "gmm+ot": Setting(DIAGONAL, "ot")}
    found = []
    for variant in ("apart", "moved"):
        reference = reference_of_pair(variant)
        data = move_onto(train, train) if variant == "moved" else train
        for name, setting in settings.items():
            judge = lambda flow, r=reference: judge_pair(flow, r, seed)  # noqa: E731
            found.append(_job("coinciding", variant, name, Member(setting, data), seed, judge))
    return found


def reference_of_pair(variant: str) -> TensorData:
    """The test split as the classes lie in ``variant``: "apart" or "moved"."""
    train, test = digits.splits()
    return move_onto(test, train) if variant == "moved" else test


def judge_pair(
    flow: Flow, reference: TensorData, seed: int, nfes: tuple[int, ...] = digits.NFES
) -> dict[str, list[dict[str, float]]]:
    """W2² of the two classes whose means may coincide."""
    labels = torch.tensor(PAIR).repeat_interleave(200)
    rows = []
    for nfe in nfes:
        x = draw_samples(flow, labels, nfe, generator=_generator(seed))
        each = wasserstein2_per_condition(x, labels, reference.x, reference.cond)
        rows.append({"nfe": nfe, "w2_squared": sum(each.values()) / len(each)})
    return {"rows": rows}


def move_onto(data: TensorData, measured: TensorData) -> TensorData:
    """``data`` with its second class moved by the difference of the two classes' means in ``measured``."""
    assert data.cond is not None
    assert measured.cond is not None
    first, second = (measured.x[measured.cond == label].mean(0) for label in PAIR)
    x = torch.where((data.cond == PAIR[1]).view(-1, 1, 1, 1), data.x + first - second, data.x)
    return TensorData(x, data.cond, name="digits-coinciding", classes=digits.CLASSES)


# -- the commands -------------------------------------------------------------------------------------------


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + seed)


def _job(part: str, variant: str, name: str, member: Member, seed: int, judge: Callable[[Flow], Cell]) -> Job:
    key = "-".join(filter(None, [part, variant, name, f"seed{seed}"]))
    return Job(key, member, judge, {"part": part, "variant": variant, "setting": name})


@app.command()
def main(seeds: int = 2, threads: int = 1) -> None:
    """Run every cell that has no result yet."""
    use_threads(threads)
    STORE.expect_judge(digits.judge().identities)
    for seed in range(seeds):
        STORE.run(f"density-seed{seed}", lambda s=seed: run_density(s), part="density", seed=seed)
        pictures = [*unseen_jobs(seed), *corrupted_jobs(seed), *coinciding_jobs(seed)]
        for cell in run_jobs(STORE, pictures, seed, digits.BUDGET) + run_jobs(
            STORE, gap_jobs(seed), seed, TOY
        ):
            shown = (cell["part"], cell["variant"], cell["setting"], f"seed {seed}")
            typer.echo(f"{' '.join(filter(None, shown))}: {cell['seconds']:.0f} s")


if __name__ == "__main__":
    app()
